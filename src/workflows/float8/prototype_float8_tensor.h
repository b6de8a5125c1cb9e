// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "workflows/float8/float8_data.h"

namespace torchao_cpp {

/// torchao's PrototypeFloat8Tensor: a Float8Tensor whose activation scale may be fixed beforehand.
///
/// qdata and scale as Float8Tensor; act_quant_scale float32, one element ([1, 1]), optional;
/// output_act_quant_scale is kept but no linear here quantizes its output. torchao puts this class
/// into no safetensors file. Source: torchao 0.18
/// prototype/quantization/float8_static_quant/prototype_float8_tensor.py.
class PrototypeFloat8Tensor final : public WeightTensor {
 public:
  struct Data {
    Float8Data base;
    Tensor act_quant_scale;
    Tensor output_act_quant_scale;
    std::optional<QuantizeTensorToFloat8Kwargs> output_act_quant_kwargs;
  };

  /// `data` must fit together; from_parts and from_hp check.
  explicit PrototypeFloat8Tensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] float32, float16 or bfloat16 with one scale for the tensor. `act_quant_scale`
  /// holds one float32 element; undefined: dynamic. Throws ShapeError or UnsupportedError.
  static WeightTensorPtr from_hp(const Tensor& weight, DType float8_dtype,
                                 const Float8Attributes& attributes, const Tensor& act_quant_scale);

  std::string_view class_name() const noexcept override { return "PrototypeFloat8Tensor"; }
  Shape shape() const override { return data_.base.qdata.shape(); }
  DType dtype() const noexcept override { return data_.base.attributes.dtype; }
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

extern const WeightTensorType kPrototypeFloat8TensorType;

}  // namespace torchao_cpp
