// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "torchao_cpp/device.h"

/// Queues of work on a GPU, without a type of CUDA's. For builds with CUDA alone.
namespace torchao_cpp::cuda {

/// A stream of its own that waits for no other.
class CudaStream {
 public:
  /// Throws DeviceError.
  explicit CudaStream(int device);
  ~CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  Stream stream() const noexcept { return {handle_}; }
  void* handle() const noexcept { return handle_; }
  int device() const noexcept { return device_; }

  /// Host memory must be pinned for these to return at once. Errors are kept for check().
  void copy_to_device(void* to, const void* from, std::int64_t bytes) noexcept;
  void copy_to_host(void* to, const void* from, std::int64_t bytes) noexcept;
  void clear(void* to, std::int64_t bytes) noexcept;

  /// Notes the first error of what was queued from this thread since the last check().
  void note_errors() noexcept;
  /// Waits for all that is queued; throws DeviceError for an error of any of it, `what` first.
  void check(const char* what);

 private:
  void note(int error) noexcept;

  int device_;
  void* handle_ = nullptr;
  int error_ = 0;
};

/// Host memory that a GPU copies from and to by itself, and a mark for when it has done so.
class PinnedBuffer {
 public:
  /// Throws DeviceError.
  PinnedBuffer(std::int64_t bytes, int device);
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

  std::byte* data() const noexcept { return data_; }
  std::int64_t nbytes() const noexcept { return bytes_; }
  /// Sets the mark behind what is queued on the stream.
  void mark(const CudaStream& stream) noexcept;
  /// Waits for the mark, if one was set.
  void wait() noexcept;

 private:
  std::byte* data_ = nullptr;
  std::int64_t bytes_;
  int device_;
  void* event_ = nullptr;
};

/// Work that was queued once, to be queued again by one call.
class CudaGraph {
 public:
  CudaGraph() = default;
  ~CudaGraph();
  CudaGraph(CudaGraph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  CudaGraph& operator=(CudaGraph&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }

  /// Calls fn(), whose work on the stream becomes the graph without being done. False, and no
  /// graph, where that is not possible.
  template <typename F>
  bool capture(const CudaStream& stream, const F& fn) noexcept {
    if (!begin(stream)) return false;
    fn();
    return end(stream);
  }
  bool exists() const noexcept { return graph_ != nullptr; }
  bool launch(const CudaStream& stream) const noexcept;

 private:
  static bool begin(const CudaStream& stream) noexcept;
  bool end(const CudaStream& stream) noexcept;

  void* graph_ = nullptr;
};

}  // namespace torchao_cpp::cuda
