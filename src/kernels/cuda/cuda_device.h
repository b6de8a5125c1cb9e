// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "torchao_cpp/device.h"

/// GPUs and their memory, without a type of CUDA's. In a build without CUDA there are none, and
/// whatever would touch one throws UnsupportedError.
namespace torchao_cpp {

/// GPUs that the driver shows; 0 where there is no driver or the build has no CUDA.
int cuda_device_count() noexcept;

/// Why no kernel for CUDA runs on this machine; empty when they do.
std::string cuda_refusal();

/// "NVIDIA H100 80GB HBM3"; throws DeviceError for an index that does not exist.
std::string cuda_device_name(int index);

/// 10 * major + minor of the compute capability, 90 for an H100, or of the one that this build's
/// kernels for it were compiled for, where that is less. 0 for an index that does not exist.
int cuda_capability(int index) noexcept;

/// Whether kernels on the current device can start while those before them still run.
bool cuda_starts_early() noexcept;

/// Streaming multiprocessors. 0 for an index that does not exist.
int cuda_processor_count(int index) noexcept;

/// Makes a device the calling thread's current one for as long as this lives.
class CudaDeviceGuard {
 public:
  explicit CudaDeviceGuard(int index) noexcept;
  ~CudaDeviceGuard();
  CudaDeviceGuard(const CudaDeviceGuard&) = delete;
  CudaDeviceGuard& operator=(const CudaDeviceGuard&) = delete;

 private:
  [[maybe_unused]] int before_ = -1;  ///< -1: nothing to go back to.
};

/// Memory of a GPU. Throws DeviceError, with the bytes asked for and those free, when there is not
/// enough; the process can go on.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(std::int64_t bytes, int device);
  /// A copy of `bytes` bytes of host memory.
  DeviceBuffer(const void* host, std::int64_t bytes, int device);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;

  std::byte* data() const noexcept { return data_; }
  template <typename T>
  T* as() const noexcept {
    return reinterpret_cast<T*>(data_);
  }
  std::int64_t nbytes() const noexcept { return bytes_; }
  int device() const noexcept { return device_; }

  /// Host to device, through pinned memory in two halves, so that copying into one overlaps sending
  /// the other. Done when it returns.
  void upload(const void* host, std::int64_t bytes, std::int64_t offset = 0);
  /// Device to host, after all work on the device. Done when it returns.
  void download(void* host, std::int64_t bytes, std::int64_t offset = 0) const;

 private:
  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
  int device_ = 0;
};

/// Bytes a second that a GPU reads from its memory: the best of several passes over 1 GiB, or less
/// where there is less. Throws DeviceError.
double cuda_read_bandwidth(int device);

/// Waits for all work on the device; throws DeviceError for an error of any of it.
void cuda_synchronize(int device);

}  // namespace torchao_cpp
