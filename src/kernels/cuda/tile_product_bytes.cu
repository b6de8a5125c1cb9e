// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/tile_product.cuh"

namespace torchao_cpp::cuda {

// Groups of all sizes go by 32 columns: fewer instances, and bytes leave time for it.
void launch_byte_product(const CodeTilesView& weight, const OperandView& x,
                         const Epilogue& epilogue, const EpilogueArgs& args, int processors,
                         void* stream) noexcept {
  with_byte_format(weight, [&]<typename Format>() {
    launch_product<Format, 32>(weight, x, epilogue, args, processors,
                               static_cast<cudaStream_t>(stream));
  });
}

}  // namespace torchao_cpp::cuda
