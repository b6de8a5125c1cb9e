// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_linear.h"
#include "kernels/cuda/tile_wgmma.h"
#include "kernels/cuda/tiled_weight.h"
#include "kernels/float_product/float_linear.h"
#include "kernels/workspace.h"

namespace torchao_cpp {
namespace {

using namespace cuda;

constexpr int kCapability = 80;

/// Rows of x up to which several passes over the codes beat a product with dequantized values.
constexpr std::int64_t kMostCodeRows = 128;
/// Rows of x up to which mma.sync is as fast as wgmma, which wants x in an order of its own first.
constexpr std::int64_t kMostProductRows = 16;
/// The same for int4 in groups of less than 128 columns, whose sums are scaled more often, where
/// wgmma keeps the whole GPU busy.
constexpr std::int64_t kMostSmallGroupRows = 8;
/// Rows of x that are brought into that order at a time.
constexpr std::int64_t kSlabRows = 2048;

Epilogue with_column_scale(Epilogue epilogue, const std::vector<float>& scale) {
  if (!scale.empty()) epilogue.column_scale = scale.data();
  return epilogue;
}

EpilogueArgs from_row(EpilogueArgs args, std::int64_t m0) noexcept {
  args.y = static_cast<std::byte*>(args.y) + m0 * args.y_stride * 2;
  if (args.row_scale != nullptr) args.row_scale += m0;
  return args;
}

OperandView some_rows(OperandView x, std::int64_t m0, std::int64_t most) noexcept {
  x.data = static_cast<const std::byte*>(x.data) + m0 * x.stride * 2;
  x.rows = std::min(most, x.rows - m0);
  return x;
}

/// Products of tiles: a few rows of x by mma.sync; more by wgmma where the GPU has it, else by
/// values of the codes and cuBLASLt.
class TileCudaLinear final : public PackedWeight {
 public:
  explicit TileCudaLinear(const LinearProblem& problem)
      : TileCudaLinear(problem, FloatLinear(problem)) {}

  std::int64_t nbytes() const noexcept override { return linear_.nbytes() + weight_.nbytes(); }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    return scratch(m, nullptr).total_bytes;
  }

  void run(const LinearArgs& args) const noexcept {
    if (args.m <= 0) return;
    const CudaDeviceGuard guard(linear_.device());
    const Scratch s = scratch(args.m, args.workspace);
    const OperandView x = linear_.prepare(args, s.linear);
    if (uses_wgmma(args.m)) return run_wgmma(args, x, s);
    if (args.m > kMostCodeRows &&
        run_by_values(linear_, args, x, s.linear, &weight_.view(), &read_rows))
      return;
    run_product(args, x, s);
  }

 private:
  struct Scratch {
    CudaLinear::Scratch linear;
    std::byte* x_tiles = nullptr;
    std::int64_t total_bytes = 0;
  };

  TileCudaLinear(const LinearProblem& problem, const FloatLinear& host)
      : weight_(problem, host),
        linear_(problem, make_activation_plan(problem, false),
                with_column_scale(host.epilogue(), column_scales_of_tiles(problem, host))),
        processors_(cuda_processor_count(problem.device.index)),
        wgmma_(wgmma_device(problem.device.index)) {
    const CodeTilesView& w = weight_.view();
    if (w.code == TileCode::kInt4 && w.group_shift < 7 && w.tiles >= 8 * processors_)
      most_product_rows_ = kMostSmallGroupRows;
  }

  bool uses_wgmma(std::int64_t m) const noexcept {
    return wgmma_.has_wgmma && m > most_product_rows_;
  }

  void run_product(const LinearArgs& args, const OperandView& x, const Scratch& s) const noexcept {
    const auto launch =
        weight_.view().code == TileCode::kInt4 ? launch_int4_product : launch_byte_product;
    for (std::int64_t m0 = 0; m0 < args.m; m0 += kTileProductRows) {
      launch(weight_.view(), some_rows(x, m0, kTileProductRows), linear_.epilogue(),
             from_row(linear_.epilogue_args(args, s.linear), m0), processors_, args.stream.handle);
    }
  }

  void run_wgmma(const LinearArgs& args, const OperandView& x, const Scratch& s) const noexcept {
    const auto launch =
        weight_.view().code == TileCode::kInt4 ? launch_int4_wgmma : launch_byte_wgmma;
    for (std::int64_t m0 = 0; m0 < args.m; m0 += kSlabRows) {
      const OperandView rows = some_rows(x, m0, kSlabRows);
      const WgmmaPlan plan = plan_wgmma(weight_.view(), rows.rows, wgmma_);
      launch_x_tiles(rows, weight_.view().k, plan, s.x_tiles, args.stream.handle);
      launch(weight_.view(), plan, s.x_tiles, rows.rows, linear_.epilogue(),
             from_row(linear_.epilogue_args(args, s.linear), m0), args.stream.handle);
    }
  }

  static void read_rows(const void* weight, std::int64_t n0, std::int64_t rows, DType,
                        std::int64_t stride, void* out, void* stream) noexcept {
    launch_tile_values(*static_cast<const CodeTilesView*>(weight), n0, rows, stride, out, stream);
  }

  Scratch scratch(std::int64_t m, std::byte* workspace) const noexcept {
    Scratch s;
    const bool has_lt = !wgmma_.has_wgmma && m > kMostCodeRows;
    s.linear = linear_.scratch(m, has_lt, linear_.plan().stride() * 2, workspace);
    s.total_bytes = s.linear.total_bytes;
    if (!uses_wgmma(m)) return s;
    // Behind the rest, aligned for copies in bulk.
    Workspace space(workspace);
    space.take<std::byte>(s.linear.total_bytes);
    s.x_tiles = space.take<std::byte>(x_tiles_bytes(std::min(m, kSlabRows), weight_.view().k));
    s.total_bytes = space.used_bytes();
    return s;
  }

  TiledWeight weight_;
  CudaLinear linear_;
  int processors_;
  WgmmaDevice wgmma_;
  std::int64_t most_product_rows_ = kMostProductRows;
};

}  // namespace

LinearKernel tile_product_cuda_sm80(LinearOperation operation) {
  LinearKernel kernel = make_linear_kernel<TileCudaLinear>(operation, "cuda_sm80");
  kernel.device = DeviceType::kCUDA;
  kernel.has_fewer_roundings = true;  // Of scaled codes.
  kernel.runs_here = cuda_runs_here;
  kernel.supports = [](const LinearProblem& problem) {
    const Support device = supports_device(problem, kCapability);
    return device.ok ? supports_tiles(problem) : device;
  };
  return kernel;
}

}  // namespace torchao_cpp
