// SPDX-License-Identifier: Apache-2.0
#include "kernels/onednn_gemm.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

namespace torchao_cpp {
namespace {

/// One thread for what oneDNN starts from this thread, while it lives. Inside a parallel region
/// oneDNN uses one anyway.
class SingleThread {
 public:
  SingleThread() noexcept : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~SingleThread() { omp_set_num_threads(before_); }
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  int before_;
};

}  // namespace

void onednn_sgemm(const GemmArgs<float, float>& g) noexcept {
  const SingleThread single;
  dnnl_sgemm('N', 'T', g.m, g.n, g.k, 1.0f, g.a, g.k, g.b, g.k, 0.0f, g.c, g.n);
}

void onednn_gemm_s8s8s32(const GemmArgs<std::int8_t, std::int32_t>& g) noexcept {
  const SingleThread single;
  const std::int32_t no_offset = 0;
  dnnl_gemm_s8s8s32('N', 'T', 'F', g.m, g.n, g.k, 1.0f, g.a, g.k, 0, g.b, g.k, 0, 0.0f, g.c, g.n,
                    &no_offset);
}

Support onednn_has_exact_int8() {
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_all:
    case dnnl_cpu_isa_sse41:
    case dnnl_cpu_isa_avx:
    case dnnl_cpu_isa_avx2:
    case dnnl_cpu_isa_avx512_mic:
    case dnnl_cpu_isa_avx512_mic_4ops:
    case dnnl_cpu_isa_avx512_core:
      return Support::no("needs VNNI (avx512_core_vnni or avx2_vnni), or int8 products saturate");
    default:
      return Support::yes();
  }
}

}  // namespace torchao_cpp
