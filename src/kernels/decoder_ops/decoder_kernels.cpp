// SPDX-License-Identifier: Apache-2.0
#include "kernels/decoder_ops/decoder_kernels.h"

#include "base/cpu_features.h"

namespace torchao_cpp {
namespace {

struct Choice {
  const AttentionKernels& (*attention)(DType dtype) noexcept = attention_kernels_baseline;
  const RowKernels& (*rows)(DType dtype) noexcept = row_kernels_baseline;
  const LogitKernels& (*logits)() noexcept = logit_kernels_baseline;
};

Choice choose() {
#if defined(__x86_64__)
  if (cpu_isa_refusal(CpuIsa::kAvx512Bf16).empty())
    return {attention_kernels_avx512_bf16, row_kernels_avx512, logit_kernels_avx512};
  if (cpu_isa_refusal(CpuIsa::kAvx512).empty())
    return {attention_kernels_avx512, row_kernels_avx512, logit_kernels_avx512};
  if (cpu_isa_refusal(CpuIsa::kAvx2).empty())
    return {attention_kernels_avx2, row_kernels_avx2, logit_kernels_avx2};
#endif
  return {};
}

const Choice& choice() {
  static const Choice chosen = choose();
  return chosen;
}

}  // namespace

const AttentionKernels& attention_kernels(DType dtype) { return choice().attention(dtype); }
const RowKernels& row_kernels(DType dtype) { return choice().rows(dtype); }
const LogitKernels& logit_kernels() { return choice().logits(); }

}  // namespace torchao_cpp
