// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include "core/affine.h"
#include "core/parts_reader.h"
#include "torchao_cpp/weight_tensor.h"

/// What Float8Tensor and PrototypeFloat8Tensor share.
namespace torchao_cpp {

/// torchao's Float8MMConfig: hints for `_scaled_mm` on a GPU, of which use_fast_accum is taken
/// there; kept, and without effect on the CPU.
struct Float8MMConfig {
  bool emulate = false;
  bool use_fast_accum = false;
  bool pad_inner_dim = false;
  friend bool operator==(const Float8MMConfig&, const Float8MMConfig&) = default;
};

/// How a float8 weight quantizes its activation.
/// Source: torchao 0.18 workflows/float8/float8_tensor.py, QuantizeTensorToFloat8Kwargs.
struct QuantizeTensorToFloat8Kwargs {
  DType float8_dtype = DType::kFloat8E4M3FN;
  Granularity granularity =
      PerRow{};  ///< PerRow (dim -1: one scale a token), PerTensor or PerBlock{1, 128}.
  std::optional<Float8MMConfig> mm_config;
  std::optional<double> hp_value_lb;  ///< Bounds of max|x| before the scale is formed.
  std::optional<double> hp_value_ub;
  std::optional<std::string> kernel_preference = "AUTO";
  friend bool operator==(const QuantizeTensorToFloat8Kwargs&,
                         const QuantizeTensorToFloat8Kwargs&) = default;
};

/// The attributes of a float8 weight but for its block size.
struct Float8Attributes {
  std::optional<Float8MMConfig> mm_config;
  std::optional<QuantizeTensorToFloat8Kwargs> act_quant_kwargs;  ///< Absent: weight-only.
  std::optional<std::string> kernel_preference = "AUTO";
  DType dtype = DType::kBFloat16;
  friend bool operator==(const Float8Attributes&, const Float8Attributes&) = default;
};

/// Codes, scales and attributes of a float8 weight.
///
/// qdata float8_e4m3fn or float8_e5m2 [N, K]; scale float32 [N/bn, K/bk]; w = float32(qdata) *
/// scale, rounded once to dtype.
struct Float8Data {
  Tensor qdata;
  Tensor scale;
  BlockSize block_size{1, 1};
  Float8Attributes attributes;

  std::int64_t n() const { return qdata.shape()[0]; }
  std::int64_t k() const { return qdata.shape()[1]; }
  /// One scale for all of a weight of more than one row.
  bool is_per_tensor() const { return block_size[0] == n() && block_size[1] == k() && n() > 1; }
};

/// Reads qdata, scale and the attributes both classes have. A null block_size, as old files have
/// it, follows from the shapes.
Float8Data read_float8_data(const PartsReader& reader);
/// An attribute of kind QuantizeTensorToFloat8Kwargs; nullopt when absent or null.
std::optional<QuantizeTensorToFloat8Kwargs> read_float8_kwargs(const PartsReader& reader,
                                                               std::string_view name);

/// The attributes both classes have, in torchao's order.
Json float8_attributes(const Float8Data& data);
Json float8_kwargs_attribute(const std::optional<QuantizeTensorToFloat8Kwargs>& kwargs);

/// Quantizes [N, K] float32, float16 or bfloat16. Throws ShapeError or UnsupportedError, naming
/// `class_name`.
Float8Data quantize_float8_data(const Tensor& weight, DType float8_dtype,
                                const Granularity& granularity, Float8Attributes attributes,
                                std::string_view class_name);

/// Canonical form: codes and float32 scales as stored. Weight-only: dequantized weight, bias after
/// rounding. Dynamic: bias before the one rounding, but after it for block scales. Throws
/// UnsupportedError when weight and activation blocks do not meet in one product.
QuantizedWeight float8_quantized_weight(const Float8Data& data, std::string_view class_name);

/// Rows or columns start:end: whole blocks, or a part of one. Throws ShapeError.
Float8Data slice_float8_data(const Float8Data& data, int dim, std::int64_t start, std::int64_t end,
                             std::string_view class_name);
/// The parts stacked; nullopt where that would change a value.
std::optional<Float8Data> concat_float8_rows(std::span<const Float8Data* const> parts);

/// "float8_e4m3fn, block [1, 128], float8_e4m3fn dynamic activation PerRow(dim=-1)"
std::string describe_float8(const Float8Data& data, bool is_static);

}  // namespace torchao_cpp
