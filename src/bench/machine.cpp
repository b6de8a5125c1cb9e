// SPDX-License-Identifier: Apache-2.0
#include "bench/machine.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>

#include "base/parallel.h"
#include "kernels/cuda/cuda_device.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

std::int64_t last_level_cache_bytes() {
  const std::int64_t level3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return level3 > 0 ? level3 : std::int64_t{32} << 20;
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace

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

BenchMachine measure_machine(Device device) {
  if (device.type == DeviceType::kCUDA) {
    return {cuda_device_name(device.index),
            cpu_name(),
            num_threads(),
            cuda_read_bandwidth(device.index),
            {}};
  }
  return {"", cpu_name(), num_threads(), measure_read_bandwidth(), measure_peaks()};
}

Tensor random_weight(const WeightShape& shape, unsigned seed) {
  Tensor weight = Tensor::empty(DType::kFloat32, {shape.output_size, shape.input_size});
  // A multiplicative generator by hand: the standard ones take seconds for a large weight.
  std::uint64_t state = 0x9E3779B97F4A7C15u + seed;
  for (float& value : weight.mutable_span<float>()) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = static_cast<float>(static_cast<std::int32_t>(state >> 32)) * (0.05f / 2147483648.0f);
  }
  return weight.to(DType::kBFloat16);
}

ConfigPtr bench_config(const std::string& name) {
  ConfigPtr config = config_from_shorthand(name);
  if (!config) {
    throw Error(
        fmt::format("config '{}' is no shorthand; 'torchao configs' lists them, and '{}' is an "
                    "unquantized weight",
                    name, kPlainConfig),
        "validation");
  }
  return config;
}

void check_shapes(const std::vector<WeightShape>& shapes) {
  if (shapes.empty()) throw Error("no shapes are given; expected at least one", "validation");
  for (const WeightShape& shape : shapes) {
    if (shape.output_size < 1 || shape.input_size < 1) {
      throw Error(fmt::format("shape {}x{}: expected sizes of at least 1", shape.output_size,
                              shape.input_size),
                  "validation");
    }
  }
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace torchao_cpp
