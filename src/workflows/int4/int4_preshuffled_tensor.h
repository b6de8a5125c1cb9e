// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "core/affine.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// torchao's Int4PreshuffledTensor: groupwise int4 in the order of MSLK's kernels for sm90.
///
/// qdata int8 [N, K/2], N a multiple of 16, shuffled for the activation (shuffle_nibbles).
///
///   - bfloat16 activations, K a multiple of 16: group_scale and group_zero bfloat16 [K/g, N]; w =
///     q * group_scale + group_zero in float32, rounded once to bfloat16.
///   - float8 activations, K a multiple of 32: group_scale float8_e4m3fn [K/g, 8, N], in truth a
///     table [K/g, N, 8] of -8 to -1 times the scale, each rounded to float8; row_scale float32
///     [N]. w = float8 value * row_scale, where a positive code takes the negated value of its
///     opposite and 0 is 0. Every weight is therefore a float8 number times the scale of its row.
///
/// torchao puts this class into no safetensors file. Source: torchao 0.18
/// workflows/int4/int4_preshuffled_tensor.py; order, table and roundings were read off an H100 with
/// MSLK 1.1.0, whose bfloat16 kernel takes the scales of other groups where g < 64.
class Int4PreshuffledTensor final : public WeightTensor {
 public:
  struct Data {
    Tensor qdata;        ///< Codes in the order of Int4Tensor.
    Tensor group_scale;  ///< bfloat16 [K/g, N], or the table float8_e4m3fn [K/g, N, 8].
    Tensor group_zero;   ///< Defined for bfloat16 activations.
    Tensor row_scale;    ///< Defined for float8 activations.
    std::int64_t group_size = 0;
  };

  /// `data` must fit together; from_parts and from_hp check.
  explicit Int4PreshuffledTensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] float32, float16 or bfloat16 as a GPU does: min to max for bfloat16
  /// activations; for float8 ones first to float8 per row, then symmetric. Throws ShapeError where
  /// shape_problem tells one.
  static WeightTensorPtr from_hp(const Tensor& weight, std::int64_t group_size,
                                 DType activation_dtype);
  /// Why this class cannot hold a weight [N, K]; empty when it can.
  static std::string shape_problem(const Shape& shape, std::int64_t group_size,
                                   DType activation_dtype);

  std::string_view class_name() const noexcept override { return "Int4PreshuffledTensor"; }
  Shape shape() const override { return {data_.qdata.shape()[0], data_.qdata.shape()[1] * 2}; }
  DType dtype() const noexcept override { return DType::kBFloat16; }
  Tensor dequantize(std::optional<DType> output_dtype = std::nullopt) const override;
  TensorParts to_parts() const override;
  QuantizedWeight to_quantized_weight() const override;
  /// Rows are cut at multiples of 16, columns also at whole groups.
  WeightTensorPtr slice(int dim, std::int64_t start, std::int64_t end) const override;
  WeightTensorPtr concat_rows(std::span<const WeightTensorPtr> parts) const override;
  std::string describe() const override;

  const Data& data() const noexcept { return data_; }

 private:
  bool has_float8_activation() const noexcept { return data_.row_scale.defined(); }
  DType activation_dtype() const noexcept;
  /// The weight's float8 numbers [N, K], for float8 activations.
  Tensor float8_values() const;

  Data data_;
};

extern const WeightTensorType kInt4PreshuffledTensorType;

}  // namespace torchao_cpp
