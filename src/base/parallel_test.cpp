// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

#include "torchao_cpp/error.h"
#include "torchao_cpp/threads.h"

namespace torchao_cpp {
namespace {

/// Restores the number of threads.
class ParallelTest : public ::testing::Test {
 protected:
  ~ParallelTest() override { set_num_threads(before_); }
  int before_ = num_threads();
};

TEST_F(ParallelTest, EveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    for (const std::int64_t n : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
      parallel_for(n, 3, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
      });
      for (const auto& count : seen) EXPECT_EQ(count, 1);
    }
  }
}

TEST_F(ParallelTest, RangesHoldAtLeastTheGrain) {
  set_num_threads(8);
  std::atomic<int> ranges{0};
  parallel_for(10, 4, [&](std::int64_t begin, std::int64_t end) {
    EXPECT_GE(end - begin, 3);  // 10 in 3 ranges
    ++ranges;
  });
  EXPECT_EQ(ranges, 3);
}

TEST_F(ParallelTest, WorksOnSeveralThreads) {
  set_num_threads(2);
  // Each range waits for the other: on one thread this would not end.
  std::atomic<int> arrived{0};
  parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

TEST_F(ParallelTest, ManyShortJobs) {
  set_num_threads(4);
  std::int64_t total = 0;
  for (int job = 0; job < 20000; ++job) {
    std::atomic<std::int64_t> sum{0};
    parallel_for(4, 1, [&](std::int64_t begin, std::int64_t end) { sum += end - begin; });
    total += sum;
  }
  EXPECT_EQ(total, 80000);
}

TEST_F(ParallelTest, InsideItself) {
  set_num_threads(4);
  std::atomic<int> calls{0};
  parallel_for(4, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      parallel_for(5, 1, [&](std::int64_t b, std::int64_t e) { calls += static_cast<int>(e - b); });
  });
  EXPECT_EQ(calls, 20);
}

TEST_F(ParallelTest, FromSeveralThreadsAtOnce) {
  set_num_threads(3);
  std::vector<std::thread> callers;
  std::vector<std::int64_t> sums(4);
  for (std::size_t c = 0; c < sums.size(); ++c) {
    callers.emplace_back([&, c] {
      for (int job = 0; job < 500; ++job) {
        std::vector<std::int64_t> values(50);
        parallel_for(50, 1, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) values[static_cast<std::size_t>(i)] = i;
        });
        sums[c] += std::accumulate(values.begin(), values.end(), std::int64_t{0});
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::int64_t sum : sums) EXPECT_EQ(sum, 500 * 1225);
}

std::atomic<int> g_jobs_of_host{0};

void run_backwards(std::int64_t chunks, void (*run)(const void*, std::int64_t),
                   const void* context) {
  ++g_jobs_of_host;
  while (chunks > 0) run(context, --chunks);
}

TEST_F(ParallelTest, RunsOnTheHostsThreads) {
  set_num_threads(2);
  const auto sum_of_1000 = [] {
    std::atomic<std::int64_t> sum{0};
    parallel_for(1000, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) sum += i;
    });
    return sum.load();
  };
  g_jobs_of_host = 0;
  set_parallel_runner(&run_backwards);
  EXPECT_EQ(sum_of_1000(), 499500);
  EXPECT_EQ(g_jobs_of_host, 1);
  set_parallel_runner(nullptr);
  EXPECT_EQ(sum_of_1000(), 499500);
  EXPECT_EQ(g_jobs_of_host, 1);
}

TEST_F(ParallelTest, RefusesZeroThreads) { EXPECT_THROW(set_num_threads(0), Error); }

}  // namespace
}  // namespace torchao_cpp
