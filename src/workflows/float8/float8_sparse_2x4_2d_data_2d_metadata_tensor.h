// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "workflows/float8/float8_data.h"

namespace torchao_cpp {

/// torchao's Float8Sparse2x4_2DData2DMetadataTensor: float8 rows of which at most two in each four
/// values are not zero, as CUTLASS packs them for sm90.
///
/// qdata float8_e4m3fn [N, K/2]: the two kept codes of each four columns. sparse_metadata uint8
/// [N64, K128/8], N64 and K128 being N and K rounded up to 64 and 128: a nibble for each four
/// columns, i0 | i1 << 2 with the positions of the two codes, low nibble first, in bytes
///
///     ((k / 128) * N64 + n) * 16 + (k % 128) / 8
///
/// scale float32 [N, 1]; w = float32(code) * scale, rounded once to dtype. torchao puts this class
/// into no safetensors file. Source: torchao 0.18
/// workflows/float8/float8_sparse_2x4_2d_data_2d_metadata_tensor.py; the layout was read off an
/// H100.
class Float8Sparse2x4_2DData2DMetadataTensor final : public WeightTensor {
 public:
  /// Codes as a dense float8 matrix, which is what everything but storage works on.
  /// `dense.qdata` must have at most two codes other than zero in each four (from_parts and from_hp
  /// check).
  explicit Float8Sparse2x4_2DData2DMetadataTensor(Float8Data dense) : dense_(std::move(dense)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] per row to float8_e4m3fn. Throws ShapeError for a K that is no multiple of 4
  /// or a weight that is not 2:4 sparse, naming the first group: pruning is not done here.
  static WeightTensorPtr from_hp(const Tensor& weight, const Float8Attributes& attributes);

  std::string_view class_name() const noexcept override;
  Shape shape() const override { return dense_.qdata.shape(); }
  DType dtype() const noexcept override { return dense_.attributes.dtype; }
  Tensor dequantize(std::optional<DType> output_dtype = std::nullopt) const override;
  TensorParts to_parts() const override;
  QuantizedWeight to_quantized_weight() const override;
  /// Columns are cut at multiples of 4.
  WeightTensorPtr slice(int dim, std::int64_t start, std::int64_t end) const override;
  WeightTensorPtr concat_rows(std::span<const WeightTensorPtr> parts) const override;
  std::string describe() const override;

 private:
  Float8Data dense_;
};

/// Throws ShapeError, naming the first group, where four columns of the float8 codes `qdata` [N, K]
/// (K a multiple of 4) hold more than two that are not zero. `name` is what asks for 2:4 sparsity.
void check_2x4_sparsity(const Tensor& qdata, std::string_view name);

extern const WeightTensorType kFloat8Sparse2x4_2DData2DMetadataTensorType;

}  // namespace torchao_cpp
