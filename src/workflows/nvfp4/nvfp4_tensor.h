// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// How an NVFP4Tensor quantizes its activation.
/// Source: torchao 0.18 prototype/mx_formats/nvfp4_tensor.py, QuantizeTensorToNVFP4Kwargs.
struct QuantizeTensorToNVFP4Kwargs {
  std::int64_t block_size = 16;
  bool is_swizzled_scales = false;
  bool use_triton_kernel = false;
  bool use_dynamic_per_tensor_scale = false;
  friend bool operator==(const QuantizeTensorToNVFP4Kwargs&,
                         const QuantizeTensorToNVFP4Kwargs&) = default;
};

/// The attributes of an NVFP4Tensor; its block size is always 16.
struct NVFP4Attributes {
  bool is_swizzled_scales = false;
  bool use_triton_kernel = false;                               ///< A hint; no effect on the CPU.
  std::optional<QuantizeTensorToNVFP4Kwargs> act_quant_kwargs;  ///< Absent: weight-only.
  DType orig_dtype = DType::kBFloat16;
  friend bool operator==(const NVFP4Attributes&, const NVFP4Attributes&) = default;
};

/// torchao's NVFP4Tensor: fp4 codes with an e4m3 scale for each 16 along K and, with two levels,
/// one for the tensor.
///
/// qdata uint8 [N, K/2], even column in the low nibble; scale float8_e4m3fn [N, K/16], or swizzled
/// (core/blocked_scales.h); per_tensor_scale and act_per_tensor_scale float32, one element,
/// optional. w = e2m1 * (scale * per_tensor_scale), rounded once. Source: torchao 0.18
/// prototype/mx_formats/nvfp4_tensor.py.
class NVFP4Tensor final : public WeightTensor {
 public:
  struct Data {
    Tensor qdata;
    Tensor scale;
    Tensor per_tensor_scale;
    Tensor act_per_tensor_scale;
    NVFP4Attributes attributes;
  };

  /// `data` must fit together; from_parts and from_hp check.
  explicit NVFP4Tensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] float32 or bfloat16, K a multiple of 16; two levels or one.
  /// `act_per_tensor_scale` (float32, one element) fixes the activation's. Throws ShapeError or
  /// UnsupportedError.
  static WeightTensorPtr from_hp(const Tensor& weight, bool use_per_tensor_scale,
                                 NVFP4Attributes attributes,
                                 const Tensor& act_per_tensor_scale = {});

  std::string_view class_name() const noexcept override { return "NVFP4Tensor"; }
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
  std::int64_t k() const { return data_.qdata.shape()[1] * 2; }
  /// [N, K/16], whatever the stored order.
  Tensor plain_scale() const;
  /// The same weight with other codes and plain scales, which are swizzled again where this
  /// weight's are.
  WeightTensorPtr with(Tensor qdata, const Tensor& plain_scale) const;

  Data data_;
};

extern const WeightTensorType kNVFP4TensorType;

}  // namespace torchao_cpp
