// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace torchao_cpp {

/// Cuts a caller's workspace into arrays that start at multiples of 64 bytes. With a null base it
/// only counts, so that one function gives both the size and the pointers.
class Workspace {
 public:
  explicit Workspace(std::byte* base) noexcept : base_(base) {}

  template <typename T>
  T* take(std::int64_t count) noexcept {
    std::byte* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (count * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }

  std::int64_t used_bytes() const noexcept { return used_; }

 private:
  std::byte* base_;
  std::int64_t used_ = 0;
};

}  // namespace torchao_cpp
