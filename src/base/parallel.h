// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace torchao_cpp {

/// Threads that parallel_for uses: set_num_threads, else TORCHAO_CPP_NUM_THREADS, else OMP_NUM_THREADS, else the cores
/// this process may run on.
int num_threads() noexcept;
/// n >= 1. Throws Error otherwise.
void set_num_threads(int n);

/// Calls fn(begin, end) on disjoint ranges that cover [0, n), in parallel on the persistent thread pool. Ranges hold at least
/// `grain` indices. fn must not throw. Results must not depend on how the range is cut.
template <typename F>
void parallel_for(std::int64_t n, std::int64_t grain, const F& fn) noexcept {
  const std::int64_t max_chunks = grain > 0 ? (n + grain - 1) / grain : n;
  std::int64_t chunks = num_threads();
  if (chunks > max_chunks) chunks = max_chunks;
  if (chunks <= 1) {
    if (n > 0) fn(std::int64_t{0}, n);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(static_cast<int>(chunks))
  for (std::int64_t c = 0; c < chunks; ++c) {
    const std::int64_t begin = n * c / chunks;
    const std::int64_t end = n * (c + 1) / chunks;
    if (begin < end) fn(begin, end);
  }
}

}  // namespace torchao_cpp
