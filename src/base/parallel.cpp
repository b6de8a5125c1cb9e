// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include <sched.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

std::atomic<int> g_num_threads{0};

int from_environment(const char* name) noexcept {
  const char* text = std::getenv(name);
  if (text == nullptr) return 0;
  const long value = std::strtol(text, nullptr, 10);
  return value >= 1 && value <= 4096 ? static_cast<int>(value) : 0;
}

int default_num_threads() noexcept {
  for (const char* name : {"TORCHAO_CPP_NUM_THREADS", "OMP_NUM_THREADS"}) {
    if (const int n = from_environment(name); n > 0) return n;
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    if (const int n = CPU_COUNT(&set); n > 0) return n;
  }
  return 1;
}

}  // namespace

int num_threads() noexcept {
  int n = g_num_threads.load(std::memory_order_relaxed);
  if (n == 0) {
    n = default_num_threads();
    g_num_threads.store(n, std::memory_order_relaxed);
  }
  return n;
}

void set_num_threads(int n) {
  if (n < 1) throw Error("threads: got " + std::to_string(n) + "; expected 1 or more");
  g_num_threads.store(n, std::memory_order_relaxed);
}

}  // namespace torchao_cpp
