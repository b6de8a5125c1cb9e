// SPDX-License-Identifier: Apache-2.0
// Speed of linears on a GPU beside cuBLASLt and the memory: one table, everything in one run.
//   bench_cuda_linear [--configs A,B] [--shapes NxK,..] [--m 1,16,..]
// Weights rotate through more memory than the L2 cache holds; each time is of one replay of a graph
// of many linears.
#include <cuda_runtime.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/lt_gemm.h"
#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/linear.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kRotationBytes = 256 << 20;
constexpr int kLaunches = 40;  ///< In a graph.
constexpr int kReplays = 7;    ///< Of which the median counts.

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    out.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// Bytes drawn evenly, the same in every run; as bfloat16 with exponents of small numbers.
DeviceBuffer random_values(std::int64_t bytes, bool is_bfloat16) {
  std::vector<std::uint16_t> host(static_cast<std::size_t>((bytes + 1) / 2));
  std::mt19937 generator(7);
  for (std::uint16_t& v : host) {
    const auto bits = static_cast<std::uint16_t>(generator());
    v = is_bfloat16 ? static_cast<std::uint16_t>((bits & 0x80ff) | 0x3e00) : bits & 0xb7b7;
  }
  return {host.data(), bytes, 0};
}

/// Microseconds of one call of fn(i, stream), i counting up.
double time_of(const std::function<void(int, cudaStream_t)>& fn) {
  cudaStream_t stream = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  fn(0, stream);
  cuda_check(cudaStreamSynchronize(stream), "warm-up");
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replay = nullptr;
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < kLaunches; ++i) fn(i, stream);
  cuda_check(cudaStreamEndCapture(stream, &graph), "capture");
  cuda_check(cudaGraphInstantiate(&replay, graph, 0), "graph");
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  cuda_check(cudaEventCreate(&begin), "event");
  cuda_check(cudaEventCreate(&end), "event");
  std::vector<double> times;
  for (int i = 0; i < kReplays + 1; ++i) {
    cuda_check(cudaEventRecord(begin, stream), "event");
    cuda_check(cudaGraphLaunch(replay, stream), "replay");
    cuda_check(cudaEventRecord(end, stream), "event");
    cuda_check(cudaEventSynchronize(end), "replay");
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, begin, end), "event");
    if (i > 0) times.push_back(1000.0 * ms / kLaunches);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  std::nth_element(times.begin(), times.begin() + kReplays / 2, times.end());
  return times[kReplays / 2];
}

__global__ void read_all(const uint4* from, std::int64_t count, unsigned* out) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  unsigned sum = 0;
  std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {
    const uint4 a = from[i];
    const uint4 b = from[i + step];
    const uint4 c = from[i + 2 * step];
    const uint4 d = from[i + 3 * step];
    sum += a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^
           d.w;
  }
  for (; i < count; i += step) sum += from[i].x ^ from[i].w;
  if (sum == 0xdeadbeefu) *out = sum;
}

void report_memory() {
  constexpr std::int64_t kBytes = std::int64_t{1} << 30;
  const DeviceBuffer a(kBytes, 0);
  const DeviceBuffer b(kBytes, 0);
  cuda_check(cudaMemset(a.data(), 1, kBytes), "memset");
  const double copy = time_of([&](int, cudaStream_t stream) {
    cuda_check(cudaMemcpyAsync(b.data(), a.data(), kBytes, cudaMemcpyDeviceToDevice, stream),
               "copy");
  });
  const double read = time_of([&](int, cudaStream_t stream) {
    read_all<<<132 * 8, 512, 0, stream>>>(a.as<uint4>(), kBytes / 16, b.as<unsigned>());
  });
  std::printf("%s: copy %.2f TB/s (read and written), read %.2f TB/s\n",
              cuda_device_name(0).c_str(), 2e-6 * kBytes / copy, 1e-6 * kBytes / read);
}

/// Weights of one product by cuBLASLt, enough of them to rotate.
void report_lt(const char* name, DType operand, DType out, std::int64_t n, std::int64_t k,
               const std::vector<std::int64_t>& rows) {
  const std::int64_t bytes = n * k * dtype_size_bytes(operand);
  const std::int64_t copies = std::max<std::int64_t>(kRotationBytes / bytes, 1) + 1;
  const bool is_bf16 = operand == DType::kBFloat16;
  std::vector<DeviceBuffer> weights;
  for (std::int64_t i = 0; i < copies; ++i) weights.push_back(random_values(bytes, is_bf16));
  const cuda::LtGemm gemm(0);
  const DeviceBuffer workspace(cuda::LtGemm::kWorkspaceBytes, 0);
  std::printf("%-24s %6ldx%-6ld", name, static_cast<long>(n), static_cast<long>(k));
  for (const std::int64_t m : rows) {
    // int8 wants fours, float8 sixteens.
    const std::int64_t padded = is_bf16 ? m : (m + 15) / 16 * 16;
    const DeviceBuffer x = random_values(padded * k * dtype_size_bytes(operand), is_bf16);
    const DeviceBuffer y(padded * n * dtype_size_bytes(out), 0);
    const cuda::LtProduct product{operand, operand, out, padded, n, k, k, k, n};
    bool is_done = true;
    const double us = time_of([&](int i, cudaStream_t stream) {
      const DeviceBuffer& w = weights[static_cast<std::size_t>(i) % weights.size()];
      is_done =
          is_done && gemm.run(product, x.data(), w.data(), y.data(), workspace.data(), stream);
    });
    if (is_done) {
      std::printf(" %9.1f", us);
    } else {
      std::printf(" %9s", "-");
    }
    std::fflush(stdout);
  }
  std::printf("\n");
}

void report_linear(const std::string& config, const Tensor& plain,
                   const std::vector<std::int64_t>& rows) {
  LoadedWeight weight{plain, nullptr};
  if (config != "bf16") {
    QuantizedParam quantized = quantize_param_data(plain, *config_from_shorthand(config));
    if (!quantized.weight.quantized) throw UnsupportedError(quantized.reason);
    weight = quantized.weight;
  }
  std::vector<Linear> linears;
  std::int64_t bytes = 0;
  while (bytes < kRotationBytes) {
    linears.emplace_back(weight, DType::kBFloat16, "", Device::cuda(0));
    bytes += linears.back().packed_bytes();
  }
  const Linear& first = linears.front();
  const std::int64_t n = first.output_size();
  const std::int64_t k = first.input_size();
  std::printf("%-24s %6ldx%-6ld", config.c_str(), static_cast<long>(n), static_cast<long>(k));
  for (const std::int64_t m : rows) {
    const DeviceBuffer x = random_values(m * k * 2, true);
    const DeviceBuffer y(m * n * 2, 0);
    const DeviceBuffer workspace(first.workspace_bytes(m), 0);
    const double us = time_of([&](int i, cudaStream_t stream) {
      linears[static_cast<std::size_t>(i) % linears.size()].apply(x.data(), m, nullptr, y.data(), n,
                                                                  {workspace.data(), {stream}});
    });
    std::printf(" %9.1f", us);
    std::fflush(stdout);
  }
  std::printf("  %s, %.1f MB\n", std::string(first.kernel_name()).c_str(),
              1e-6 * static_cast<double>(first.packed_bytes()));
}

Tensor random_weight(std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kBFloat16, {n, k});
  std::mt19937 generator(3);
  for (std::uint16_t& v : t.mutable_span<std::uint16_t>())
    v = static_cast<std::uint16_t>((generator() & 0x80ff) | 0x3c00);
  return t;
}

int run(int argc, char** argv) {
  std::vector<std::string> configs = {"int4wo-128", "int8wo",    "fp8wo", "8da4w",
                                      "int8dq",     "fp8dq-row", "bf16"};
  std::vector<std::string> shapes = {"28672x4096", "4096x14336", "6144x4096", "4096x4096"};
  std::vector<std::int64_t> rows = {1, 16, 64, 128, 256, 2048};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view option = argv[i];
    if (option == "--configs") configs = split(argv[i + 1]);
    if (option == "--shapes") shapes = split(argv[i + 1]);
    if (option == "--m") {
      rows.clear();
      for (const std::string& m : split(argv[i + 1])) rows.push_back(number(m));
    }
  }
  if (const std::string refusal = cuda_refusal(); !refusal.empty()) {
    std::fprintf(stderr, "bench_cuda_linear: %s\n", refusal.c_str());
    return 1;
  }
  report_memory();
  std::printf("microseconds a linear, %-14s", "by rows of x:");
  for (const std::int64_t m : rows) std::printf(" %9ld", static_cast<long>(m));
  std::printf("\n");
  for (const std::string& shape : shapes) {
    const std::int64_t n = number(shape);
    const std::int64_t k = number(std::string_view(shape).substr(shape.find('x') + 1));
    const Tensor plain = random_weight(n, k);
    for (const std::string& config : configs) report_linear(config, plain, rows);
    report_lt("cuBLASLt bf16", DType::kBFloat16, DType::kBFloat16, n, k, rows);
    report_lt("cuBLASLt float8", DType::kFloat8E4M3FN, DType::kBFloat16, n, k, rows);
    report_lt("cuBLASLt int8 to int32", DType::kInt8, DType::kInt32, n, k, rows);
  }
  return 0;
}

}  // namespace
}  // namespace torchao_cpp

int main(int argc, char** argv) {
  try {
    return torchao_cpp::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench_cuda_linear: %s\n", e.what());
    return 1;
  }
}
