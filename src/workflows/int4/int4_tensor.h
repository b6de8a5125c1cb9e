// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "core/affine.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// torchao's Int4Tensor: groupwise int4 with float zero points, for bfloat16 or float8 activations.
///
/// qdata int8 [N, K/2], two's complement codes, column 2j in the low nibble; scale and zero_point
/// [K/g, N] (transposed), the weight's dtype; act_pre_scale [K] optional. w = q * scale +
/// zero_point in float32, rounded once. Source: torchao 0.18 workflows/int4/int4_tensor.py.
class Int4Tensor final : public WeightTensor {
 public:
  struct Data {
    Tensor qdata;
    Tensor scale;
    Tensor zero_point;
    Tensor act_pre_scale;
    std::int64_t group_size = 0;
    DType activation_dtype =
        DType::kBFloat16;  ///< bfloat16, or float8_e4m3fn: activations quantized per row.
  };

  /// `data` must fit together; from_parts and from_hp check.
  explicit Int4Tensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] float32, float16 or bfloat16: min to max for bfloat16 activations, symmetric
  /// for float8 ones. Throws ShapeError unless group_size > 1 divides K and K is even.
  static WeightTensorPtr from_hp(const Tensor& weight, std::int64_t group_size,
                                 DType activation_dtype);

  std::string_view class_name() const noexcept override { return "Int4Tensor"; }
  Shape shape() const override { return {data_.qdata.shape()[0], data_.qdata.shape()[1] * 2}; }
  DType dtype() const noexcept override { return data_.scale.dtype(); }
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

extern const WeightTensorType kInt4TensorType;

}  // namespace torchao_cpp
