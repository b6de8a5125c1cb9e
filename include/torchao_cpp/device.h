// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace torchao_cpp {

enum class DeviceType : std::uint8_t { kCPU, kCUDA };

/// Where a tensor lives or a linear runs.
struct Device {
  DeviceType type = DeviceType::kCPU;
  int index = 0;

  static Device cpu() { return {}; }
  static Device cuda(int index) { return {DeviceType::kCUDA, index}; }

  friend bool operator==(const Device&, const Device&) = default;
};

/// The caller's queue of work on a device: a cudaStream_t on CUDA, unused (null) on the CPU.
struct Stream {
  void* handle = nullptr;
};

}  // namespace torchao_cpp
