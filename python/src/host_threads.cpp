// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <atomic>

#include "bindings.h"
#include "torchao_cpp/threads.h"

/// Parallel work on the OpenMP threads that torch uses in the same process.
namespace torchao_cpp::python {
namespace {

// The entry that compilers call for "#pragma omp parallel", in libgomp and in libiomp5.
using GompParallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);
GompParallel g_gomp_parallel = nullptr;

struct Job {
  std::int64_t chunks;
  void (*run)(const void*, std::int64_t);
  const void* context;
  std::atomic<std::int64_t> next{0};
};

// One thread's part: chunks that no other has begun.
void work(void* opaque) {
  Job& job = *static_cast<Job*>(opaque);
  for (;;) {
    const std::int64_t chunk = job.next.fetch_add(1, std::memory_order_relaxed);
    if (chunk >= job.chunks) return;
    job.run(job.context, chunk);
  }
}

void run_on_openmp(std::int64_t chunks, void (*run)(const void*, std::int64_t),
                   const void* context) {
  Job job{chunks, run, context, {}};
  g_gomp_parallel(work, &job, static_cast<unsigned>(chunks), 0);
}

bool use_openmp_threads(bool is_used) {
  if (!is_used) {
    set_parallel_runner(nullptr);
    return true;
  }
  g_gomp_parallel = reinterpret_cast<GompParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  if (g_gomp_parallel == nullptr) return false;
  set_parallel_runner(run_on_openmp);
  return true;
}

}  // namespace

void bind_host_threads(nb::module_& m) {
  m.def("use_openmp_threads", &use_openmp_threads, nb::arg("is_used") = true,
        "Runs parallel work on the OpenMP threads of this process (torch's, once it is imported)\n"
        "instead of a pool of our own; False goes back. Returns whether there are such threads.");
}

}  // namespace torchao_cpp::python
