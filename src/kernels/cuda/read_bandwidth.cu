// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/cuda_device.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr const char* kWhat = "measuring a GPU's memory";
constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
constexpr int kThreads = 512;
constexpr int kLoads = 8;  ///< Of a thread, on their way at the same time.
constexpr int kPasses = 10;

__global__ void __launch_bounds__(kThreads)
    read_all(const uint4* from, std::int64_t count, unsigned* sink) {
  unsigned sum = 0;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
       i + (kLoads - 1) * step < count; i += kLoads * step) {
    uint4 v[kLoads];
#pragma unroll
    for (int j = 0; j < kLoads; ++j) v[j] = from[i + j * step];
#pragma unroll
    for (int j = 0; j < kLoads; ++j) sum += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 0x12345678u) *sink = sum;  // So that nothing is left out.
}

}  // namespace

double cuda_read_bandwidth(int device) {
  const CudaDeviceGuard guard(device);
  std::size_t free = 0;
  std::size_t total = 0;
  cuda_check(cudaMemGetInfo(&free, &total), kWhat);
  // Whole rounds of all threads, so that every byte that counts is read.
  const int blocks = 4 * cuda_processor_count(device);
  const std::int64_t round = static_cast<std::int64_t>(blocks) * kThreads * kLoads * 16;
  const std::int64_t bytes =
      std::min(kMostBytes, static_cast<std::int64_t>(free) / 2) / round * round;
  if (bytes == 0) throw DeviceError("measuring a GPU's memory: hardly any of it is free");
  const DeviceBuffer buffer(bytes, device);
  cuda_check(cudaMemset(buffer.data(), 0x5a, static_cast<std::size_t>(bytes)), kWhat);
  const DeviceBuffer sink(4, device);
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  cuda_check(cudaEventCreate(&start), kWhat);
  cuda_check(cudaEventCreate(&end), kWhat);
  float best = 1e30f;
  for (int pass = 0; pass < kPasses; ++pass) {
    cuda_check(cudaEventRecord(start, cudaStreamPerThread), kWhat);
    read_all<<<static_cast<unsigned>(blocks), kThreads, 0, cudaStreamPerThread>>>(
        buffer.as<uint4>(), bytes / 16, sink.as<unsigned>());
    cuda_check(cudaEventRecord(end, cudaStreamPerThread), kWhat);
    cuda_check(cudaEventSynchronize(end), kWhat);
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, start, end), kWhat);
    best = std::min(best, ms);
  }
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  return static_cast<double>(bytes) / (static_cast<double>(best) * 1e-3);
}

}  // namespace torchao_cpp
