// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "base/parallel.h"
#include "core/float_formats.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_linear.h"
#include "kernels/cuda/int4_tiles.h"
#include "kernels/float_product/float_linear.h"
#include "kernels/scaled_activation.h"

namespace torchao_cpp {
namespace {

using namespace cuda;

constexpr int kCapability = 80;
constexpr std::int64_t kSmallestGroup = 32;
/// Zero points of int4 codes, for which a difference of codes is exact.
constexpr int kLowestZero = -8;
constexpr int kHighestZero = 7;

/// Rows of x up to which several passes over the codes beat a product with dequantized values.
constexpr std::int64_t kMostCodeRows = 128;

using Tiles = Int4TilesView;

int code_of(const QuantizedWeight& w, std::int64_t n, std::int64_t k) noexcept {
  const auto* bytes = w.qdata.data<std::uint8_t>();
  if (w.codes_per_byte == 1) return bytes[n * w.input_size + k] & 15;
  return bytes[(n * w.input_size + k) / 2] >> (k % 2 * 4) & 15;
}

// Bytes of one tile, as int4_tiles.h draws them.
void pack_tile(const QuantizedWeight& w, std::int64_t tile, std::int64_t chunks,
               std::uint32_t* out) noexcept {
  for (std::int64_t word = 0; word < chunks * 128; ++word) {
    const std::int64_t lane = word / 4 % 32;
    const std::int64_t first = word / 128 * 64 + word / 2 % 2 * 32 + lane % 4 * 8 + word % 2 * 4;
    std::uint32_t bits = 0;
    for (int i = 0; i < 8; ++i) {
      const std::int64_t n = tile * 16 + lane / 4 + i % 2 * 8;
      const std::int64_t k = first + i / 2 % 2 * 2 + i / 4;
      // Two's complement plus 8 flips the sign bit.
      const int code = n < w.output_size && k < w.input_size ? code_of(w, n, k) ^ 8 : 8;
      bits |= static_cast<std::uint32_t>(code) << (4 * i);
    }
    out[word] = bits;
  }
}

/// The tiles of a weight in a GPU's memory.
class Int4Tiles {
 public:
  Int4Tiles(const QuantizedWeight& w, DType dtype, int device) {
    view_.n = w.output_size;
    view_.k = w.input_size;
    view_.tiles = (view_.n + Tiles::kRows - 1) / Tiles::kRows;
    view_.chunks = (view_.k + Tiles::kColumns - 1) / Tiles::kColumns;
    view_.group_shift = std::countr_zero(static_cast<std::uint64_t>(w.block_size[1]));
    const std::int64_t columns = view_.chunks * Tiles::kColumns;
    view_.groups = ((columns - 1) >> view_.group_shift) + 1;
    view_.dtype = dtype;
    view_.zero_kind = w.zero_point_domain;
    std::vector<std::uint32_t> codes(
        static_cast<std::size_t>(view_.tiles * view_.chunks * Tiles::kChunkBytes / 4));
    parallel_for(view_.tiles, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t)
        pack_tile(w, t, view_.chunks, codes.data() + t * view_.chunks * Tiles::kChunkBytes / 4);
    });
    codes_ = DeviceBuffer(codes.data(), static_cast<std::int64_t>(codes.size() * 4), device);
    view_.codes = codes_.as<std::uint8_t>();
    scale_ = per_row(w, w.scale, 0.0f, device);
    view_.scale = scale_.data();
    if (w.zero_point_domain == ZeroPointDomain::kNone) return;
    const float stored_with = dtype == DType::kBFloat16 ? 136.0f : 1032.0f;
    zero_ = per_row(w, w.zero_point,
                    w.zero_point_domain == ZeroPointDomain::kInt ? stored_with : 0.0f, device);
    view_.zero = zero_.data();
  }

  const Tiles& view() const noexcept { return view_; }
  std::int64_t nbytes() const noexcept {
    return codes_.nbytes() + scale_.nbytes() + zero_.nbytes();
  }

 private:
  // Values [N, K / group] plus `offset`, in the order of the tiles.
  DeviceBuffer per_row(const QuantizedWeight& w, const Tensor& values, float offset,
                       int device) const {
    const std::int64_t stored_groups = w.input_size / w.block_size[1];
    std::vector<std::uint16_t> out(static_cast<std::size_t>(view_.tiles * view_.groups * 16));
    for (std::int64_t n = 0; n < w.output_size; ++n) {
      for (std::int64_t g = 0; g < stored_groups; ++g) {
        const std::int64_t at = n * stored_groups + g;
        const float value = values.dtype() == DType::kInt8
                                ? static_cast<float>(values.data<std::int8_t>()[at])
                                : load_float(values.dtype(), values.bytes(), at);
        const std::int64_t to = (n / 16 * view_.groups + g) * 16 + n % 8 * 2 + n % 16 / 8;
        store_float(view_.dtype, out.data(), to, value + offset);
      }
    }
    return {out.data(), static_cast<std::int64_t>(out.size() * 2), device};
  }

  Tiles view_;
  DeviceBuffer codes_;
  DeviceBuffer scale_;
  DeviceBuffer zero_;
};

class Int4CudaLinear final : public PackedWeight {
 public:
  explicit Int4CudaLinear(const LinearProblem& problem)
      : linear_(problem, make_activation_plan(problem, false), FloatLinear(problem).epilogue()),
        tiles_(*problem.quantized, problem.activation_dtype, problem.device.index),
        processors_(cuda_processor_count(problem.device.index)) {}

  std::int64_t nbytes() const noexcept override { return linear_.nbytes() + tiles_.nbytes(); }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    return scratch(m, nullptr).total_bytes;
  }

  void run(const LinearArgs& args) const noexcept {
    if (args.m <= 0) return;
    const CudaDeviceGuard guard(linear_.device());
    const CudaLinear::Scratch s = scratch(args.m, args.workspace);
    const OperandView x = linear_.prepare(args, s);
    if (args.m > kMostCodeRows && run_by_values(linear_, args, x, s, &tiles_.view(), &read_rows))
      return;
    for (std::int64_t m0 = 0; m0 < args.m; m0 += kInt4Rows) {
      OperandView rows = x;
      rows.rows = std::min(kInt4Rows, args.m - m0);
      rows.data = static_cast<const std::byte*>(x.data) + m0 * x.stride * 2;
      EpilogueArgs of_rows = linear_.epilogue_args(args, s);
      of_rows.y = static_cast<std::byte*>(args.y) + m0 * args.y_stride * 2;
      launch_int4(tiles_.view(), rows, linear_.epilogue(), of_rows, processors_,
                  args.stream.handle);
    }
  }

 private:
  static void read_rows(const void* weight, std::int64_t n0, std::int64_t rows, DType,
                        std::int64_t stride, void* out, void* stream) noexcept {
    launch_int4_dequantize(*static_cast<const Tiles*>(weight), n0, rows, stride, out, stream);
  }

  CudaLinear::Scratch scratch(std::int64_t m, std::byte* workspace) const noexcept {
    return linear_.scratch(m, m > kMostCodeRows, linear_.plan().stride() * 2, workspace);
  }

  CudaLinear linear_;
  Int4Tiles tiles_;
  int processors_;
};

bool has_small_zero_points(const Tensor& zero_point) noexcept {
  const auto values = zero_point.span<std::int8_t>();
  return std::all_of(values.begin(), values.end(),
                     [](int z) { return z >= kLowestZero && z <= kHighestZero; });
}

Support supports(const LinearProblem& problem) {
  const QuantizedWeight& w = *problem.quantized;
  const DType dtype = problem.activation_dtype;
  if (Support device = supports_device(problem, kCapability); !device.ok) return device;
  if (w.weight_dtype != DType::kInt4)
    return Support::no(fmt::format("the codes are {}; expected int4", dtype_name(w.weight_dtype)));
  const std::int64_t group = w.block_size[1];
  if (w.block_size[0] != 1 || group < kSmallestGroup ||
      !std::has_single_bit(static_cast<std::uint64_t>(group))) {
    return Support::no(fmt::format(
        "blocks of {} rows and {} columns; expected one row and 32, 64, 128, ... columns",
        w.block_size[0], group));
  }
  if (dtype == DType::kFloat32 || w.dtype != dtype || w.scale.dtype() != dtype ||
      linear_compute_dtype(problem) != dtype) {
    return Support::no("weight, scales and activation are not all bfloat16 or all float16");
  }
  if (w.zero_point_domain == ZeroPointDomain::kFloat && w.zero_point.dtype() != dtype)
    return Support::no("the zero points are of another dtype than the scales");
  if (w.zero_point_domain == ZeroPointDomain::kInt &&
      (w.zero_point.dtype() != DType::kInt8 || !has_small_zero_points(w.zero_point)))
    return Support::no("the zero points are not within -8 to 7");
  return Support::yes();
}

}  // namespace

LinearKernel int4_cuda_sm80(LinearOperation operation) {
  LinearKernel kernel = make_linear_kernel<Int4CudaLinear>(operation, "cuda_sm80");
  kernel.device = DeviceType::kCUDA;
  kernel.has_fewer_roundings = true;  // Of scaled codes, with few rows.
  kernel.runs_here = cuda_runs_here;
  kernel.supports = supports;
  return kernel;
}

}  // namespace torchao_cpp
