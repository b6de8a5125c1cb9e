// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/tile_wgmma.cuh"

namespace torchao_cpp::cuda {

void launch_byte_wgmma(const CodeTilesView& weight, const WgmmaPlan& plan, const void* x_tiles,
                       std::int64_t rows, const Epilogue& epilogue, const EpilogueArgs& args,
                       void* stream) noexcept {
  with_byte_format(weight, [&]<typename Format>() {
    launch_wgmma<Format>(weight, plan, x_tiles, rows, epilogue, args, stream);
  });
}

}  // namespace torchao_cpp::cuda
