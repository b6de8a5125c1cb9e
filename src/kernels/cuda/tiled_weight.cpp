// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/tiled_weight.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "core/float_formats.h"
#include "kernels/scaled_activation.h"

namespace torchao_cpp::cuda {
namespace {

using View = CodeTilesView;

constexpr std::int64_t kSmallestGroup = 32;
/// Columns that a weight must have a whole multiple of: half a chunk.
constexpr std::int64_t kColumnUnit = 32;
/// Zero points of int4 codes, for which a difference of codes is exact.
constexpr int kLowestZero = -8;
constexpr int kHighestZero = 7;
/// Scales of float8 codes below this can be multiplied with what lies between the bits of
/// float8_e4m3fn and those of values.
constexpr float kFloat8ScaleLimit = 255.0f;
constexpr std::uint8_t kFloat8NaN = 0x7f;

bool is_row_scaled(const QuantizedWeight& w) noexcept { return w.block_size[1] == w.input_size; }

bool is_power_of_two(std::int64_t v) noexcept {
  return std::has_single_bit(static_cast<std::uint64_t>(v));
}

// Codes of up to four bits need groups, for which powers of two do.
TileCode tile_code(const QuantizedWeight& w) noexcept {
  const auto bits = signed_int_bits(w.weight_dtype);
  if (!bits) return TileCode::kFloat8;
  const bool has_groups = is_power_of_two(w.block_size[1]) && !w.scale_after_product;
  return *bits <= 4 && has_groups ? TileCode::kInt4 : TileCode::kInt8;
}

bool has_groups(const QuantizedWeight& w) noexcept {
  return tile_code(w) == TileCode::kInt4 || !is_row_scaled(w);
}

bool has_zero_points(const QuantizedWeight& w) noexcept {
  if (w.zero_point_domain != ZeroPointDomain::kInt)
    return w.zero_point_domain == ZeroPointDomain::kFloat;
  const auto values = w.zero_point.span<std::int8_t>();
  return std::any_of(values.begin(), values.end(), [](int z) { return z != 0; });
}

int code_of(const QuantizedWeight& w, std::int64_t n, std::int64_t k) noexcept {
  const auto* bytes = w.qdata.data<std::uint8_t>();
  if (w.codes_per_byte == 1) return bytes[n * w.input_size + k];
  return bytes[(n * w.input_size + k) / 2] >> (k % 2 * 4) & 15;
}

// Of two's complement in four bits or eight.
std::uint32_t stored_code(const QuantizedWeight& w, TileCode code, std::int64_t n,
                          std::int64_t k) noexcept {
  const bool is_inside = n < w.output_size && k < w.input_size;
  const int value = is_inside ? code_of(w, n, k) : 0;
  if (code == TileCode::kInt4) return static_cast<std::uint32_t>((value & 15) ^ 8);
  if (code == TileCode::kFloat8 && (value & kFloat8NaN) == kFloat8NaN) return 0;
  if (code == TileCode::kInt8 && w.codes_per_byte == 2)
    return static_cast<std::uint32_t>((value ^ 8) - 8) & 255;
  return static_cast<std::uint32_t>(value);
}

// Word `word` of a tile, as code_tiles.h draws it.
std::uint32_t int4_word(const QuantizedWeight& w, std::int64_t tile, std::int64_t word) noexcept {
  const std::int64_t lane = word / 4 % 32;
  const std::int64_t first = word / 128 * 64 + word / 2 % 2 * 32 + lane % 4 * 8 + word % 2 * 4;
  std::uint32_t bits = 0;
  for (int i = 0; i < 8; ++i) {
    const std::int64_t n = tile * 16 + lane / 4 + i % 2 * 8;
    const std::int64_t k = first + i / 2 % 2 * 2 + i / 4;
    bits |= stored_code(w, TileCode::kInt4, n, k) << (4 * i);
  }
  return bits;
}

std::uint32_t byte_word(const QuantizedWeight& w, TileCode code, std::int64_t tile,
                        std::int64_t word) noexcept {
  const std::int64_t lane = word / 4 % 32;
  const std::int64_t first = word / 128 * 32 + lane % 4 * 8 + word % 4 * 2;
  std::uint32_t bits = 0;
  for (int i = 0; i < 4; ++i)
    bits |= stored_code(w, code, tile * 16 + lane / 4 + i % 2 * 8, first + i / 2) << (8 * i);
  return bits;
}

std::int64_t block_of(const QuantizedWeight& w, std::int64_t n, std::int64_t group) noexcept {
  return n / w.block_size[0] * (w.input_size / w.block_size[1]) + group;
}

// A block with NaN among its codes has no number for a sum.
float block_scale(const QuantizedWeight& w, const FloatLinear& host, std::int64_t n,
                  std::int64_t group) noexcept {
  if (tile_code(w) == TileCode::kFloat8) {
    const auto* codes = w.qdata.data<std::uint8_t>() + n * w.input_size;
    const std::int64_t begin = group * w.block_size[1];
    if (std::any_of(codes + begin, codes + begin + w.block_size[1],
                    [](int code) { return (code & kFloat8NaN) == kFloat8NaN; }))
      return std::numeric_limits<float>::quiet_NaN();
  }
  return host.block_scale(block_of(w, n, group));
}

Support supports_scales(const LinearProblem& problem, const FloatLinear& host) {
  const QuantizedWeight& w = *problem.quantized;
  if (!has_groups(w)) return Support::yes();
  const DType dtype = problem.activation_dtype;
  const bool is_float8 = tile_code(w) == TileCode::kFloat8;
  for (std::int64_t i = 0; i < w.scale.numel(); ++i) {
    const float scale = host.block_scale(i);
    const bool fits = std::isnan(scale) || (round_to(dtype, scale) == scale &&
                                            (!is_float8 || std::fabs(scale) <= kFloat8ScaleLimit));
    if (!fits)
      return Support::no(fmt::format("a scale is {}, which is no {}", scale, dtype_name(dtype)));
  }
  return Support::yes();
}

Support supports_codes(const QuantizedWeight& w) {
  const auto bits = signed_int_bits(w.weight_dtype);
  if (w.codebook.defined() || (!bits && w.weight_dtype != DType::kFloat8E4M3FN)) {
    return Support::no(
        fmt::format("the codes are {}; expected int1 to int8 or float8_e4m3fn",
                    w.codebook.defined() ? "places in a table" : dtype_name(w.weight_dtype)));
  }
  if (w.input_size % kColumnUnit != 0) {
    return Support::no(fmt::format("the weight has {} columns; expected a multiple of {}",
                                   w.input_size, kColumnUnit));
  }
  const std::int64_t group = w.block_size[1];
  if (has_groups(w) && (group < kSmallestGroup || !is_power_of_two(group))) {
    return Support::no(
        fmt::format("blocks of {} columns; expected 32, 64, 128, ... or all", group));
  }
  return Support::yes();
}

Support supports_zero_points(const QuantizedWeight& w, DType dtype) {
  if (!has_zero_points(w)) return Support::yes();
  if (!has_groups(w)) return Support::no("rows have zero points; expected groups to have them");
  if (w.zero_point_domain == ZeroPointDomain::kFloat) {
    if (tile_code(w) != TileCode::kInt4)
      return Support::no("zero points are floats; expected integers for codes of a byte");
    if (w.zero_point.dtype() != dtype)
      return Support::no("the zero points are of another dtype than the activation");
    return Support::yes();
  }
  const auto values = w.zero_point.span<std::int8_t>();
  const bool is_small = std::all_of(values.begin(), values.end(),
                                    [](int z) { return z >= kLowestZero && z <= kHighestZero; });
  if (tile_code(w) == TileCode::kInt4 && !is_small)
    return Support::no("the zero points are not within -8 to 7");
  return Support::yes();
}

}  // namespace

Support supports_tiles(const LinearProblem& problem) {
  const QuantizedWeight& w = *problem.quantized;
  const DType dtype = problem.activation_dtype;
  if (Support codes = supports_codes(w); !codes.ok) return codes;
  if (dtype == DType::kFloat32 || linear_compute_dtype(problem) != dtype ||
      (w.dtype != dtype && !w.scale_after_product)) {
    return Support::no("weight and activation are not both bfloat16 or both float16");
  }
  if (w.zero_point_domain == ZeroPointDomain::kInt && w.zero_point.dtype() != DType::kInt8)
    return Support::no("the zero points are not int8");
  if (Support zero_points = supports_zero_points(w, dtype); !zero_points.ok) return zero_points;
  return supports_scales(problem, FloatLinear(problem));
}

TiledWeight::TiledWeight(const LinearProblem& problem, const FloatLinear& host) {
  const QuantizedWeight& w = *problem.quantized;
  view_.n = w.output_size;
  view_.k = w.input_size;
  view_.tiles = (view_.n + View::kRows - 1) / View::kRows;
  view_.chunks = (view_.k + View::kColumns - 1) / View::kColumns;
  view_.dtype = problem.activation_dtype;
  view_.code = tile_code(w);
  take_codes(w, problem.device.index);
  if (has_groups(w)) take_scales(w, host, problem.device.index);
}

void TiledWeight::take_codes(const QuantizedWeight& w, int device) {
  const std::int64_t words = view_.chunks * view_.chunk_bytes() / 4;  // Of a tile.
  std::vector<std::uint32_t> codes(static_cast<std::size_t>(view_.tiles * words));
  parallel_for(view_.tiles, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t tile = begin; tile < end; ++tile) {
      std::uint32_t* out = codes.data() + tile * words;
      for (std::int64_t i = 0; i < words; ++i) {
        out[i] = view_.code == TileCode::kInt4 ? int4_word(w, tile, i)
                                               : byte_word(w, view_.code, tile, i);
      }
    }
  });
  codes_ = DeviceBuffer(codes.data(), static_cast<std::int64_t>(codes.size() * 4), device);
  view_.codes = codes_.as<std::uint8_t>();
}

void TiledWeight::take_scales(const QuantizedWeight& w, const FloatLinear& host, int device) {
  const std::int64_t columns = view_.chunks * View::kColumns;
  view_.group_shift = std::countr_zero(static_cast<std::uint64_t>(w.block_size[1]));
  view_.groups = ((columns - 1) >> view_.group_shift) + 1;
  if (has_zero_points(w)) view_.zero_kind = w.zero_point_domain;
  const bool has_zeros = view_.zero_kind != ZeroPointDomain::kNone;
  const std::int64_t values = has_zeros ? 32 : 16;  // Of a group of a tile.
  float stored_with = 0;                            // What kernels find codes plus.
  if (view_.code == TileCode::kInt4 && view_.zero_kind == ZeroPointDomain::kInt)
    stored_with = view_.dtype == DType::kBFloat16 ? 136.0f : 1032.0f;
  std::vector<std::uint16_t> out(static_cast<std::size_t>(view_.tiles * view_.groups * values));
  const std::int64_t stored_groups = w.input_size / w.block_size[1];
  parallel_for(w.output_size, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      for (std::int64_t g = 0; g < stored_groups; ++g) {
        const std::int64_t to = (n / 16 * view_.groups + g) * values + n % 8 * 2 + n % 16 / 8;
        store_float(view_.dtype, out.data(), to, block_scale(w, host, n, g));
        if (has_zeros) {
          store_float(view_.dtype, out.data(), to + 16,
                      host.block_zero_point(block_of(w, n, g)) + stored_with);
        }
      }
    }
  });
  scales_ = DeviceBuffer(out.data(), static_cast<std::int64_t>(out.size() * 2), device);
  view_.scales = scales_.data();
}

std::vector<float> column_scales_of_tiles(const LinearProblem& problem, const FloatLinear& host) {
  const QuantizedWeight& w = *problem.quantized;
  if (has_groups(w) || host.multiplies_codes()) return {};
  std::vector<float> scales(static_cast<std::size_t>(w.output_size));
  for (std::int64_t n = 0; n < w.output_size; ++n)
    scales[static_cast<std::size_t>(n)] = block_scale(w, host, n, 0);
  return scales;
}

}  // namespace torchao_cpp::cuda
