// SPDX-License-Identifier: Apache-2.0
#include "bench/machine.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <vector>

#include "base/parallel.h"

namespace torchao_cpp::bench {

std::int64_t last_level_cache_bytes() {
  const std::int64_t level3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return level3 > 0 ? level3 : std::int64_t{32} << 20;
}

double measure_read_bandwidth() {
  // Above 1 GiB a further size tells nothing new: shared caches of servers are larger than one
  // guest can use.
  const std::int64_t bytes =
      std::min<std::int64_t>(4 * last_level_cache_bytes(), std::int64_t{1} << 30);
  const std::vector<std::uint64_t> buffer(static_cast<std::size_t>(bytes / 8), 1);
  double best_seconds = 1e30;
  std::atomic<std::uint64_t> total{0};
  for (int pass = 0; pass < 5; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(static_cast<std::int64_t>(buffer.size()), 1 << 16,
                 [&](std::int64_t begin, std::int64_t end) {
                   // Eight sums, so that the adds do not wait for each other.
                   std::uint64_t sums[8] = {};
                   for (std::int64_t i = begin; i + 8 <= end; i += 8) {
                     for (int j = 0; j < 8; ++j) sums[j] += buffer[static_cast<std::size_t>(i + j)];
                   }
                   for (const std::uint64_t sum : sums) total += sum;
                 });
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best_seconds = std::min(best_seconds, elapsed.count());
  }
  return total.load() == 0 ? 0 : static_cast<double>(bytes) / best_seconds;
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace torchao_cpp::bench
