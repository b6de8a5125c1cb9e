// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "core/affine.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// torchao's Int4PlainInt32Tensor (XPU, NPU): parsed, kept and written back. The order of the
/// nibbles belongs to the device's own packing operator, so nothing here computes with it.
///
/// qdata int32 [N, K/8]; scale [K/g, N] in the model's dtype; zero_point [K/g, N] int8 (XPU) or the
/// model's dtype (NPU); act_pre_scale [K] optional. Source: torchao 0.18
/// workflows/int4/int4_plain_int32_tensor.py.
class Int4PlainInt32Tensor final : public WeightTensor {
 public:
  struct Data {
    Tensor qdata;
    Tensor scale;
    Tensor zero_point;
    Tensor act_pre_scale;
    std::int64_t group_size = 0;
  };

  /// `data` must fit together; from_parts checks.
  explicit Int4PlainInt32Tensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);

  std::string_view class_name() const noexcept override { return "Int4PlainInt32Tensor"; }
  Shape shape() const override { return {data_.qdata.shape()[0], data_.qdata.shape()[1] * 8}; }
  DType dtype() const noexcept override { return data_.scale.dtype(); }
  /// Throws UnsupportedError.
  Tensor dequantize(std::optional<DType> output_dtype = std::nullopt) const override;
  TensorParts to_parts() const override;
  /// Throws UnsupportedError.
  QuantizedWeight to_quantized_weight() const override;
  /// The whole only: throws ShapeError otherwise, as no other cut is known to be exact.
  WeightTensorPtr slice(int dim, std::int64_t start, std::int64_t end) const override;
  WeightTensorPtr concat_rows(std::span<const WeightTensorPtr> parts) const override;
  std::string describe() const override;

 private:
  Data data_;
};

extern const WeightTensorType kInt4PlainInt32TensorType;

}  // namespace torchao_cpp
