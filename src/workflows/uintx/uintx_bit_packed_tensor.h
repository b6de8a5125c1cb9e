// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>

#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// What from_hp needs besides the weight.
struct UIntxOptions {
  int bit_width = 4;                             ///< 4 or 8
  std::optional<std::int64_t> group_size;        ///< Along K; absent: a whole row. 8 bits: absent.
  std::optional<std::int64_t> packing_bitwidth;  ///< 8, 16 or 32; absent: 32. Of 4-bit codes.
  bool is_dynamic = false;                       ///< Activations are quantized at run time.
};

/// torchao's `gemlite_kwargs`: how gemlite laid the weight out and how it multiplies with it.
struct GemliteKwargs {
  /// Positions in meta_args, gemlite's GemLiteLinearTriton.get_meta_args.
  enum MetaArg : std::size_t {
    kScaledActivations,
    kWeightBits,
    kGroupSize,
    kUnpackMask,
    kElementsPerSample,
    kInputDType,
    kOutputDType,
    kAccumulatorDType,
    kMetaDType,
    kChannelScaleMode,
    kWeightGroupMode,
    kDataContiguous,
    kMetaArgCount,
  };

  std::int64_t in_features = 0;   ///< K
  std::int64_t out_features = 0;  ///< N
  std::optional<std::int64_t> packing_bitwidth;
  bool data_contiguous = true;
  std::int64_t elements_per_sample = 8;  ///< Codes in one element of qdata.
  std::int64_t weight_group_mode = 4;    ///< How a code becomes a weight; see UIntxBitPackedTensor.
  std::array<std::int64_t, kMetaArgCount> meta_args{};
};

/// torchao's UIntxBitPackedTensor: weights in gemlite's packing, 4 bits in groups or 8 bits in
/// rows.
///
/// Everything is stored transposed. 4 bits: qdata uint8, int16 or int32 [K / e, N], e codes 0..15
/// an element along K, the first in the lowest bits; scale and zero_point a float dtype [K / g, N].
/// 8 bits: qdata int8 [K, N], scale [1, N], zero_point empty.
/// The group mode says what a weight is: 4: q * scale + zero_point; 3 and 1: (q - zero_point) *
/// scale; 2 and 0: q * scale. gemlite computes it in the dtype of the scales, which for 4 bits is
/// float16 whatever the weight's. dequantize() goes torchao's own way and turns mode 4 back into an
/// integer-like zero point, so that it differs from what the product uses by that rounding.
/// Source: torchao 0.18 prototype/quantization/uintx/uintx_bit_packed_tensor.py, gemlite 0.5.1.
class UIntxBitPackedTensor final : public WeightTensor {
 public:
  struct Data {
    Tensor qdata;
    Tensor scale;
    Tensor zero_point;  ///< No elements when symmetric.
    GemliteKwargs gemlite;
    int bit_width = 4;
    std::int64_t group_size = 0;
    DType dtype = DType::kFloat16;
  };

  /// `data` must fit together; from_parts and from_hp check.
  explicit UIntxBitPackedTensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] float16 or bfloat16, K a multiple of 32 and of the group. 4 bits: HQQ. 8
  /// bits: symmetric, one scale a row. Throws ShapeError or UnsupportedError.
  static WeightTensorPtr from_hp(const Tensor& weight, const UIntxOptions& options);

  std::string_view class_name() const noexcept override;
  Shape shape() const override { return {data_.gemlite.out_features, data_.gemlite.in_features}; }
  DType dtype() const noexcept override { return data_.dtype; }
  Tensor dequantize(std::optional<DType> output_dtype = std::nullopt) const override;
  TensorParts to_parts() const override;
  QuantizedWeight to_quantized_weight() const override;
  WeightTensorPtr slice(int dim, std::int64_t start, std::int64_t end) const override;
  WeightTensorPtr concat_rows(std::span<const WeightTensorPtr> parts) const override;
  std::string describe() const override;

 private:
  Data data_;
};

extern const WeightTensorType kUIntxBitPackedTensorType;

}  // namespace torchao_cpp
