// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "core/affine.h"
#include "torchao_cpp/quant_types.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// What from_hp needs besides the weight.
struct Int4TilePackedOptions {
  std::int64_t group_size = 0;
  Int4ChooseQParamsAlgorithm algorithm = Int4ChooseQParamsAlgorithm::kTinygemm;
  std::int64_t ntile_size = 8;  ///< Rows are padded to a multiple of it: 8 or 16.
};

/// torchao's Int4TilePackedTo4dTensor: the tinygemm layout of groupwise int4, bfloat16 only.
///
/// With Np = N rounded up to the row tile and Kp = K rounded up to 1024: qdata int32 [Np/8, Kp/128,
/// 32, 4] (pack_tiles), codes 0..15; scale_and_zero bfloat16 [Kp/g, Np, 2]; act_pre_scale [K]
/// optional. Padding holds quantized zeros. w = (q - 8) * scale + zero in float32, rounded once,
/// cut to [N, K]. Source: torchao 0.18 workflows/int4/int4_tile_packed_to_4d_tensor.py.
class Int4TilePackedTo4dTensor final : public WeightTensor {
 public:
  struct Data {
    Tensor qdata;
    Tensor scale_and_zero;
    Tensor act_pre_scale;
    std::int64_t group_size = 0;
    std::int64_t n = 0;
    std::int64_t k = 0;
  };

  /// `data` must fit together; from_parts and from_hp check.
  explicit Int4TilePackedTo4dTensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes bfloat16 [N, K]. Throws UnsupportedError ("Only bfloat16 is supported") for another
  /// dtype and ShapeError unless group_size divides K and the padded K.
  static WeightTensorPtr from_hp(const Tensor& weight, const Int4TilePackedOptions& options);

  std::string_view class_name() const noexcept override { return "Int4TilePackedTo4dTensor"; }
  Shape shape() const override { return {data_.n, data_.k}; }
  DType dtype() const noexcept override { return DType::kBFloat16; }
  Tensor dequantize(std::optional<DType> output_dtype = std::nullopt) const override;
  TensorParts to_parts() const override;
  QuantizedWeight to_quantized_weight() const override;
  WeightTensorPtr slice(int dim, std::int64_t start, std::int64_t end) const override;
  WeightTensorPtr concat_rows(std::span<const WeightTensorPtr> parts) const override;
  std::string describe() const override;

  const Data& data() const noexcept { return data_; }

 private:
  std::int64_t padded_n() const noexcept { return data_.qdata.shape()[0] * 8; }
  std::int64_t padded_k() const noexcept { return data_.qdata.shape()[1] * 128; }
  /// scale (which 0) or zero (1) as [rows, groups] of the leading rows and groups.
  Tensor group_values(int which, std::int64_t rows, std::int64_t groups) const;

  Data data_;
};

extern const WeightTensorType kInt4TilePackedTo4dTensorType;

}  // namespace torchao_cpp
