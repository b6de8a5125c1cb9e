// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/tile_product.cuh"

namespace torchao_cpp::cuda {

void launch_int4_product(const CodeTilesView& weight, const OperandView& x,
                         const Epilogue& epilogue, const EpilogueArgs& args, int processors,
                         void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  with_int4_format(weight, [&]<typename Format>() {
    if (weight.group_shift == 5) {
      launch_product<Format, 32>(weight, x, epilogue, args, processors, on);
    } else if (weight.group_shift == 6) {
      launch_product<Format, 64>(weight, x, epilogue, args, processors, on);
    } else {
      launch_product<Format, 128>(weight, x, epilogue, args, processors, on);
    }
  });
}

}  // namespace torchao_cpp::cuda
