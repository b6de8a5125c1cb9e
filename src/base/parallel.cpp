// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

#include "torchao_cpp/error.h"
#include "torchao_cpp/threads.h"

namespace torchao_cpp {
namespace {

std::atomic<int> g_num_threads{0};
std::atomic<ParallelRunner> g_runner{nullptr};

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

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Waits until `value` is no longer `old`: awake for as long as the next linear of a model is
// usually away, then asleep, so that threads without work leave the cores to others.
template <typename T>
void wait_while(const std::atomic<T>& value, T old) noexcept {
  constexpr auto kAwake = std::chrono::microseconds(100);
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < 64; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause();
    }
  } while (std::chrono::steady_clock::now() - start < kAwake);
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

/// Threads that live as long as the process. A job is cut into chunks that threads claim one by
/// one, so that a thread which the system has put aside holds up no chunk that it has not begun.
class ThreadPool {
 public:
  /// False when a job is under way; nothing has run then.
  bool try_run(std::int64_t chunks, void (*run)(const void*, std::int64_t),
               const void* context) noexcept {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    add_threads(chunks - 1);
    run_ = run;
    context_ = context;
    left_.store(static_cast<std::uint32_t>(chunks), std::memory_order_relaxed);
    const std::uint32_t job = ++job_;
    ticket_.store(make_ticket(job, static_cast<std::uint32_t>(chunks)), std::memory_order_release);
    posted_.store(job, std::memory_order_release);
    posted_.notify_all();
    work(job);
    for (std::uint32_t left; (left = left_.load(std::memory_order_acquire)) != 0;)
      wait_while(left_, left);
    return true;
  }

 private:
  // Job number and chunks not yet claimed: claiming one is a single exchange, which fails when the
  // job is over.
  static std::uint64_t make_ticket(std::uint32_t job, std::uint32_t unclaimed) noexcept {
    return static_cast<std::uint64_t>(job) << 32 | unclaimed;
  }

  void add_threads(std::int64_t count) noexcept {
    for (; threads_ < count; ++threads_) {
      try {
        std::thread([this, seen = job_] { serve(seen); }).detach();
      } catch (const std::system_error&) {
        return;  // No more threads: those there are do the work.
      }
    }
  }

  void serve(std::uint32_t seen) noexcept {
    for (;;) {
      wait_while(posted_, seen);
      seen = posted_.load(std::memory_order_acquire);
      work(seen);
    }
  }

  void work(std::uint32_t job) noexcept {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    for (;;) {
      const auto unclaimed = static_cast<std::uint32_t>(ticket);
      if (static_cast<std::uint32_t>(ticket >> 32) != job || unclaimed == 0) return;
      if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                         std::memory_order_acquire))
        continue;
      // Whoever holds a chunk keeps the job, and with it run_ and context_, alive.
      run_(context_, static_cast<std::int64_t>(unclaimed) - 1);
      ticket = ticket_.load(std::memory_order_acquire);
      if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) left_.notify_all();
    }
  }

  std::mutex mutex_;  ///< Held by the caller whose job runs.
  std::int64_t threads_ = 0;
  std::uint32_t job_ = 0;
  void (*run_)(const void*, std::int64_t) = nullptr;
  const void* context_ = nullptr;
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  alignas(64) std::atomic<std::uint32_t> posted_{0};
  alignas(64) std::atomic<std::uint32_t> left_{0};
};

}  // namespace

void detail::run_chunks(std::int64_t chunks, void (*run)(const void*, std::int64_t),
                        const void* context) noexcept {
  if (const ParallelRunner runner = g_runner.load(std::memory_order_acquire)) {
    runner(chunks, run, context);
    return;
  }
  // Never destroyed: its threads may outlive static objects.
  static ThreadPool* const pool = new ThreadPool;
  thread_local bool is_inside = false;  // A caller's own job holds the mutex: it must not try it.
  if (!is_inside) {
    is_inside = true;
    const bool done = pool->try_run(chunks, run, context);
    is_inside = false;
    if (done) return;
  }
  for (std::int64_t c = 0; c < chunks; ++c) run(context, c);
}

void set_parallel_runner(ParallelRunner runner) noexcept {
  g_runner.store(runner, std::memory_order_release);
}

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
