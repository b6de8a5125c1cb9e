// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include "core/affine.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// What from_hp needs besides the weight.
struct IntxOptions {
  DType target_dtype = DType::kInt8;  ///< int1..int8
  std::int64_t group_size = 0;        ///< Along K; divides K.
  MappingType mapping_type = MappingType::kSymmetric;
  IntxChooseQParamsAlgorithm algorithm = IntxChooseQParamsAlgorithm::kAffine;
  std::optional<DType>
      scale_dtype;  ///< Cast scales to this dtype and recompute the codes; absent: the weight's.
  bool int8_asym_per_token =
      false;  ///< Activations go through int8, asymmetric, one scale a token.
};

/// torchao's IntxUnpackedToInt8Tensor: intB codes (B = 1..8), one a byte.
///
/// qdata int8 [N, K] in the range of target_dtype; scale a float dtype [N/bn, K/bk]; zero_point
/// int8 or a float dtype, same shape. w = rne(rne(qdata - zero_point) * scale) in `dtype`. Source:
/// torchao 0.18 workflows/intx/intx_unpacked_to_int8_tensor.py.
class IntxUnpackedToInt8Tensor final : public WeightTensor {
 public:
  struct Data {
    Tensor qdata;
    Tensor scale;
    Tensor zero_point;
    DType target_dtype = DType::kInt8;
    BlockSize block_size{1, 1};
    DType dtype = DType::kBFloat16;
    bool int8_asym_per_token = false;
  };

  /// `data` must fit together; from_parts and from_hp check.
  explicit IntxUnpackedToInt8Tensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] float32, float16 or bfloat16. Throws ShapeError ("divisible by block_size")
  /// or UnsupportedError.
  static WeightTensorPtr from_hp(const Tensor& weight, const IntxOptions& options);

  std::string_view class_name() const noexcept override { return "IntxUnpackedToInt8Tensor"; }
  Shape shape() const override { return data_.qdata.shape(); }
  DType dtype() const noexcept override { return data_.dtype; }
  Tensor dequantize(std::optional<DType> output_dtype = std::nullopt) const override;
  TensorParts to_parts() const override;
  QuantizedWeight to_quantized_weight() const override;
  WeightTensorPtr slice(int dim, std::int64_t start, std::int64_t end) const override;
  WeightTensorPtr concat_rows(std::span<const WeightTensorPtr> parts) const override;
  std::string describe() const override;

  const Data& data() const noexcept { return data_; }

 private:
  Data data_;
};

extern const WeightTensorType kIntxUnpackedToInt8TensorType;

}  // namespace torchao_cpp
