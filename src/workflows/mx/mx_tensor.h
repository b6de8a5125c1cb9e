// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "core/mx_quant.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// How an MXTensor quantizes its activation.
/// Source: torchao 0.18 prototype/mx_formats/mx_tensor.py, QuantizeTensorToMXKwargs.
struct QuantizeTensorToMXKwargs {
  DType elem_dtype = DType::kFloat8E4M3FN;
  std::int64_t block_size = 32;
  ScaleCalculationMode scaling_mode = ScaleCalculationMode::kFloor;
  std::optional<std::string> kernel_preference = "EMULATED";
  bool is_swizzled_scales = false;
  friend bool operator==(const QuantizeTensorToMXKwargs&,
                         const QuantizeTensorToMXKwargs&) = default;
};

/// The attributes of an MXTensor.
struct MXAttributes {
  DType elem_dtype = DType::kFloat8E4M3FN;  ///< float8_e4m3fn, float8_e5m2, fp6_e2m3, fp6_e3m2 or
                                            ///< float4_e2m1fn_x2.
  std::int64_t block_size = 32;             ///< Along K.
  DType orig_dtype = DType::kBFloat16;
  std::optional<std::string> kernel_preference = "EMULATED";
  std::optional<QuantizeTensorToMXKwargs> act_quant_kwargs;  ///< Absent: weight-only.
  bool is_swizzled_scales = false;
  friend bool operator==(const MXAttributes&, const MXAttributes&) = default;
};

/// torchao's MXTensor: blocks along K of a narrow float format with a power-of-two scale each.
///
/// qdata float8 [N, K], uint8 [N, K] (fp6, one code a byte) or uint8 [N, K/2] (fp4, even column in
/// the low nibble); scale float8_e8m0fnu [N, K/block_size], or swizzled (core/blocked_scales.h).
/// Source: torchao 0.18 prototype/mx_formats/mx_tensor.py.
class MXTensor final : public WeightTensor {
 public:
  struct Data {
    Tensor qdata;
    Tensor scale;
    MXAttributes attributes;
  };

  /// `data` must fit together; from_parts and from_hp check.
  explicit MXTensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] float32 or bfloat16 (orig_dtype is taken from it). Throws ShapeError ("must
  /// be divisible by block_size") or UnsupportedError.
  static WeightTensorPtr from_hp(const Tensor& weight, MXAttributes attributes,
                                 ScaleCalculationMode scaling_mode);

  std::string_view class_name() const noexcept override { return "MXTensor"; }
  Shape shape() const override { return {n(), k()}; }
  DType dtype() const noexcept override { return data_.attributes.orig_dtype; }
  Tensor dequantize(std::optional<DType> output_dtype = std::nullopt) const override;
  TensorParts to_parts() const override;
  QuantizedWeight to_quantized_weight() const override;
  WeightTensorPtr slice(int dim, std::int64_t start, std::int64_t end) const override;
  WeightTensorPtr concat_rows(std::span<const WeightTensorPtr> parts) const override;
  std::string describe() const override;

  const Data& data() const noexcept { return data_; }

 private:
  std::int64_t n() const { return data_.qdata.shape()[0]; }
  std::int64_t k() const;
  /// [N, K/block_size], whatever the stored order.
  Tensor plain_scale() const;
  /// The same weight with other codes and plain scales, which are swizzled again where this
  /// weight's are.
  WeightTensorPtr with(Tensor qdata, const Tensor& plain_scale) const;

  Data data_;
};

extern const WeightTensorType kMXTensorType;

}  // namespace torchao_cpp
