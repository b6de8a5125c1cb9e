// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/attention_mma.cuh"

namespace torchao_cpp::cuda {

void launch_attention_bfloat16(AttentionKernel kernel, const AttentionArgs& args,
                               void* stream) noexcept {
  launch_for<__nv_bfloat16>(kernel, args, stream);
}

}  // namespace torchao_cpp::cuda
