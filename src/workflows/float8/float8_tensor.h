// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "workflows/float8/float8_data.h"

namespace torchao_cpp {

/// What Float8Tensor::from_hp needs besides the weight.
struct Float8Options {
  DType float8_dtype = DType::kFloat8E4M3FN;  ///< float8_e4m3fn or float8_e5m2.
  Granularity granularity = PerRow{};  ///< Of the weight: PerTensor, PerRow, PerGroup or PerBlock.
  Float8Attributes attributes;         ///< Its dtype is taken from the weight.
};

/// torchao's Float8Tensor: float8 codes with one float32 scale a block; weight-only or with float8
/// activations.
///
/// qdata float8_e4m3fn or float8_e5m2 [N, K]; scale float32 [N/bn, K/bk]. w = float32(qdata) *
/// scale, rounded once to dtype. Source: torchao 0.18 workflows/float8/float8_tensor.py.
class Float8Tensor final : public WeightTensor {
 public:
  /// `data` must fit together; from_parts and from_hp check.
  explicit Float8Tensor(Float8Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] float32, float16 or bfloat16. An all-zero block gets scale 0 and NaN codes,
  /// as torchao's. Throws ShapeError ("not divisible by group size") or UnsupportedError.
  static WeightTensorPtr from_hp(const Tensor& weight, const Float8Options& options);

  std::string_view class_name() const noexcept override { return "Float8Tensor"; }
  Shape shape() const override { return data_.qdata.shape(); }
  DType dtype() const noexcept override { return data_.attributes.dtype; }
  Tensor dequantize(std::optional<DType> output_dtype = std::nullopt) const override;
  TensorParts to_parts() const override;
  QuantizedWeight to_quantized_weight() const override;
  WeightTensorPtr slice(int dim, std::int64_t start, std::int64_t end) const override;
  WeightTensorPtr concat_rows(std::span<const WeightTensorPtr> parts) const override;
  std::string describe() const override;

  const Float8Data& data() const noexcept { return data_; }

 private:
  Float8Data data_;
};

extern const WeightTensorType kFloat8TensorType;

}  // namespace torchao_cpp
