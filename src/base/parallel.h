// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace torchao_cpp {

/// Threads that parallel_for uses: set_num_threads, else TORCHAO_CPP_NUM_THREADS, else OMP_NUM_THREADS, else the cores
/// this process may run on.
int num_threads() noexcept;
/// n >= 1. Throws Error otherwise.
void set_num_threads(int n);

namespace detail {
/// Calls run(context, c) once for each c in [0, chunks), on this thread and those of the pool, and returns when all have.
void run_chunks(std::int64_t chunks, void (*run)(const void* context, std::int64_t chunk), const void* context) noexcept;
}  // namespace detail

/// Calls fn(begin, end) on disjoint ranges that cover [0, n), in parallel on the persistent thread pool. Ranges hold at least
/// `grain` indices. fn must not throw. Results must not depend on how the range is cut.
///
/// May be called from any thread and from within fn; while the pool is at work for another caller, the ranges run here, one
/// after the other.
template <typename F>
void parallel_for(std::int64_t n, std::int64_t grain, const F& fn) noexcept {
  const std::int64_t max_chunks = grain > 0 ? (n + grain - 1) / grain : n;
  std::int64_t chunks = num_threads();
  if (chunks > max_chunks) chunks = max_chunks;
  if (chunks <= 1) {
    if (n > 0) fn(std::int64_t{0}, n);
    return;
  }
  struct Context {
    const F& fn;
    std::int64_t n;
    std::int64_t chunks;
  };
  const Context context{fn, n, chunks};
  detail::run_chunks(
      chunks,
      [](const void* opaque, std::int64_t chunk) {
        const auto& c = *static_cast<const Context*>(opaque);
        const std::int64_t begin = c.n * chunk / c.chunks;
        const std::int64_t end = c.n * (chunk + 1) / c.chunks;
        if (begin < end) c.fn(begin, end);
      },
      &context);
}

}  // namespace torchao_cpp
