// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include "core/affine.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// How an Int8Tensor quantizes its activation to int8.
/// Source: torchao 0.18 workflows/int8/int8_tensor.py, QuantizeTensorToInt8Kwargs.
struct QuantizeTensorToInt8Kwargs {
  Granularity granularity = PerRow{};  ///< PerRow (dim -1: one scale a token) or PerTensor.
  MappingType mapping_type = MappingType::kSymmetric;
  bool reduce_range = false;  ///< Codes in [-64, 63].
  friend bool operator==(const QuantizeTensorToInt8Kwargs&,
                         const QuantizeTensorToInt8Kwargs&) = default;
};

/// What from_hp needs besides the weight.
struct Int8Options {
  Granularity granularity = PerRow{};  ///< Of the weight: PerTensor, PerRow or PerGroup.
  std::optional<QuantizeTensorToInt8Kwargs> act_quant_kwargs;  ///< Absent: weight-only.
  Tensor act_quant_scale;  ///< Static activation scale, float32, one element; undefined: dynamic.
  Tensor act_quant_zero_point;  ///< int8, shape of act_quant_scale; undefined: 0.
  bool reduce_range = false;    ///< Weight codes in [-64, 63].
};

/// torchao's Int8Tensor: int8 codes with one scale a block; weight-only, dynamic or static int8
/// activations.
///
/// qdata int8 [N, K]; scale float32 [N/bn, K/bk] (the model's dtype in files of torchao 0.15 and
/// 0.16); zero_point int8, same shape, absent in old files; act_quant_scale, act_quant_zero_point,
/// act_pre_scale [K] optional. w = (qdata - zero_point) * scale, the product in float32, rounded
/// once to dtype. Source: torchao 0.18 workflows/int8/int8_tensor.py.
class Int8Tensor final : public WeightTensor {
 public:
  struct Data {
    Tensor qdata;
    Tensor scale;
    Tensor zero_point;
    Tensor act_quant_scale;
    Tensor act_quant_zero_point;
    Tensor act_pre_scale;
    BlockSize block_size{1, 1};
    DType dtype = DType::kBFloat16;
    std::optional<QuantizeTensorToInt8Kwargs> act_quant_kwargs;
    bool reduce_range = false;
  };

  /// `data` must fit together; from_parts and from_hp check.
  explicit Int8Tensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] float32, float16 or bfloat16: symmetric, scale bounded by 2^-23, chosen in
  /// the weight's dtype and stored as float32. Throws ShapeError ("not divisible by group size") or
  /// UnsupportedError.
  static WeightTensorPtr from_hp(const Tensor& weight, const Int8Options& options);

  std::string_view class_name() const noexcept override { return "Int8Tensor"; }
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

extern const WeightTensorType kInt8TensorType;

}  // namespace torchao_cpp
