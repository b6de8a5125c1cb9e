// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_device.h"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/parallel.h"
#include "kernels/cuda/code_capability.h"
#include "kernels/cuda/cuda_check.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr int kOldestCapability = 75;

int attribute(cudaDeviceAttr which, int index) noexcept {
  int value = 0;
  if (cudaDeviceGetAttribute(&value, which, index) == cudaSuccess) return value;
  cudaGetLastError();
  return 0;
}

/// When a copy out of pinned memory is done.
class Event {
 public:
  Event() {
    cuda_check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "upload to a GPU");
  }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record() { cuda_check(cudaEventRecord(event_, cudaStreamPerThread), "upload to a GPU"); }
  void wait() { cuda_check(cudaEventSynchronize(event_), "upload to a GPU"); }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Two halves of pinned memory that uploads go through, one upload at a time; kept for the life of
/// the process.
class Staging {
 public:
  static constexpr std::int64_t kHalf = 8 << 20;

  static Staging& instance() {
    static Staging staging;
    return staging;
  }

  void upload(std::byte* to, const std::byte* from, std::int64_t bytes) {
    const std::scoped_lock lock(mutex_);
    for (void*& half : halves_) {
      if (half == nullptr) cuda_check(cudaMallocHost(&half, kHalf), "pinned memory for uploads");
    }
    std::array<Event, 2> sent;
    for (std::int64_t done = 0, i = 0; done < bytes; done += kHalf, ++i) {
      const auto half = static_cast<std::size_t>(i % 2);
      const auto count = static_cast<std::size_t>(std::min(kHalf, bytes - done));
      if (i >= 2) sent[half].wait();
      copy(static_cast<std::byte*>(halves_[half]), from + done, static_cast<std::int64_t>(count));
      cuda_check(cudaMemcpyAsync(to + done, halves_[half], count, cudaMemcpyHostToDevice,
                                 cudaStreamPerThread),
                 "upload to a GPU");
      sent[half].record();
    }
    cuda_check(cudaStreamSynchronize(cudaStreamPerThread), "upload to a GPU");
  }

 private:
  // One thread reads less than what goes over PCI Express.
  static void copy(std::byte* to, const std::byte* from, std::int64_t bytes) noexcept {
    constexpr std::int64_t kGrain = 1 << 20;
    parallel_for(bytes, kGrain, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin));
    });
  }

  std::mutex mutex_;
  std::array<void*, 2> halves_{};
};

int device_capability(int index) noexcept {
  return 10 * attribute(cudaDevAttrComputeCapabilityMajor, index) +
         attribute(cudaDevAttrComputeCapabilityMinor, index);
}

}  // namespace

void cuda_check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw DeviceError(fmt::format("{}: {}", what, cudaGetErrorString(error)));
}

int cuda_device_count() noexcept {
  static const int kCount = [] {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    cudaGetLastError();
    return 0;
  }();
  return kCount;
}

std::string cuda_refusal() {
  const int count = cuda_device_count();
  if (count == 0) return "the machine has no NVIDIA GPU or no driver for CUDA";
  for (int i = 0; i < count; ++i) {
    if (cuda_capability(i) >= kOldestCapability) return {};
  }
  const int has = device_capability(0);
  if (has >= kOldestCapability)
    return fmt::format("this build has no kernels for the GPU's compute capability {:.1f}",
                       has / 10.0);
  return fmt::format("the GPU has compute capability {:.1f}; expected {:.1f} or newer", has / 10.0,
                     kOldestCapability / 10.0);
}

std::string cuda_device_name(int index) {
  cudaDeviceProp properties{};
  cuda_check(cudaGetDeviceProperties(&properties, index), "properties of a GPU");
  return properties.name;
}

int cuda_capability(int index) noexcept {
  // Asked for often: known ones are kept, as 1 + answer.
  static std::array<std::atomic<int>, 64> known{};
  if (index < 0 || index >= std::min<int>(cuda_device_count(), known.size())) return 0;
  std::atomic<int>& answer = known[static_cast<std::size_t>(index)];
  if (answer.load(std::memory_order_relaxed) == 0)
    answer = 1 + std::min(device_capability(index), cuda_code_capability(index));
  return answer.load(std::memory_order_relaxed) - 1;
}

bool cuda_starts_early() noexcept {
  int index = 0;
  return cudaGetDevice(&index) == cudaSuccess && cuda_capability(index) >= 90;
}

int cuda_processor_count(int index) noexcept {
  return attribute(cudaDevAttrMultiProcessorCount, index);
}

CudaDeviceGuard::CudaDeviceGuard(int index) noexcept {
  int current = 0;
  if (cudaGetDevice(&current) != cudaSuccess || current == index) return;
  before_ = current;
  cudaSetDevice(index);
}

CudaDeviceGuard::~CudaDeviceGuard() {
  if (before_ >= 0) cudaSetDevice(before_);
}

DeviceBuffer::DeviceBuffer(std::int64_t bytes, int device) : bytes_(bytes), device_(device) {
  if (bytes == 0) return;
  const CudaDeviceGuard guard(device);
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, static_cast<std::size_t>(bytes));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0;
    std::size_t total = 0;
    cuda_check(cudaMemGetInfo(&free, &total), "memory of a GPU");
    throw DeviceError(fmt::format("GPU {}: out of memory: {} bytes are needed, {} of {} are free",
                                  device, bytes, free, total));
  }
  cuda_check(error, "memory of a GPU");
  data_ = static_cast<std::byte*>(memory);
}

DeviceBuffer::DeviceBuffer(const void* host, std::int64_t bytes, int device)
    : DeviceBuffer(bytes, device) {
  upload(host, bytes);
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ == nullptr) return;
  const CudaDeviceGuard guard(device_);
  cudaFree(data_);
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      device_(other.device_) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  return *this;
}

void DeviceBuffer::upload(const void* host, std::int64_t bytes, std::int64_t offset) {
  if (bytes == 0) return;
  const CudaDeviceGuard guard(device_);
  Staging::instance().upload(data_ + offset, static_cast<const std::byte*>(host), bytes);
}

void DeviceBuffer::download(void* host, std::int64_t bytes, std::int64_t offset) const {
  if (bytes == 0) return;
  cuda_synchronize(device_);
  const CudaDeviceGuard guard(device_);
  cuda_check(
      cudaMemcpy(host, data_ + offset, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost),
      "download from a GPU");
}

void cuda_synchronize(int device) {
  const CudaDeviceGuard guard(device);
  cuda_check(cudaDeviceSynchronize(), "work on a GPU");
}

}  // namespace torchao_cpp
