// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_stream.h"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/cuda_device.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp::cuda {
namespace {

cudaStream_t stream_of(const CudaStream& stream) noexcept {
  return static_cast<cudaStream_t>(stream.handle());
}

}  // namespace

CudaStream::CudaStream(int device) : device_(device) {
  const CudaDeviceGuard guard(device);
  cudaStream_t stream = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream of a GPU");
  handle_ = stream;
}

CudaStream::~CudaStream() {
  const CudaDeviceGuard guard(device_);
  cudaStreamSynchronize(stream_of(*this));
  cudaStreamDestroy(stream_of(*this));
}

void CudaStream::note(int error) noexcept {
  if (error_ == cudaSuccess) error_ = error;
}

void CudaStream::copy_to_device(void* to, const void* from, std::int64_t bytes) noexcept {
  note(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice,
                       stream_of(*this)));
}

void CudaStream::copy_to_host(void* to, const void* from, std::int64_t bytes) noexcept {
  note(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost,
                       stream_of(*this)));
}

void CudaStream::clear(void* to, std::int64_t bytes) noexcept {
  note(cudaMemsetAsync(to, 0, static_cast<std::size_t>(bytes), stream_of(*this)));
}

void CudaStream::note_errors() noexcept { note(cudaGetLastError()); }

void CudaStream::check(const char* what) {
  note(cudaGetLastError());
  note(cudaStreamSynchronize(stream_of(*this)));
  const auto error = static_cast<cudaError_t>(std::exchange(error_, 0));
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw DeviceError(fmt::format("GPU {}: {}: {}", device_, what, cudaGetErrorString(error)));
}

PinnedBuffer::PinnedBuffer(std::int64_t bytes, int device) : bytes_(bytes), device_(device) {
  const CudaDeviceGuard guard(device);
  cudaEvent_t event = nullptr;
  cuda_check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "pinned memory");
  event_ = event;
  void* data = nullptr;
  const cudaError_t error = cudaMallocHost(&data, static_cast<std::size_t>(bytes));
  if (error != cudaSuccess) cudaEventDestroy(event);
  cuda_check(error, "pinned memory");
  data_ = static_cast<std::byte*>(data);
}

PinnedBuffer::~PinnedBuffer() {
  const CudaDeviceGuard guard(device_);
  wait();
  cudaEventDestroy(static_cast<cudaEvent_t>(event_));
  cudaFreeHost(data_);
}

void PinnedBuffer::mark(const CudaStream& stream) noexcept {
  cudaEventRecord(static_cast<cudaEvent_t>(event_), stream_of(stream));
}

void PinnedBuffer::wait() noexcept { cudaEventSynchronize(static_cast<cudaEvent_t>(event_)); }

CudaGraph::~CudaGraph() {
  if (graph_ != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph_));
}

// Relaxed: kernels are loaded when they are first queued, which the other modes do not allow.
bool CudaGraph::begin(const CudaStream& stream) noexcept {
  return cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeRelaxed) == cudaSuccess;
}

bool CudaGraph::end(const CudaStream& stream) noexcept {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  const bool is_made = cudaStreamEndCapture(stream_of(stream), &graph) == cudaSuccess &&
                       cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess;
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (!is_made) {
    cudaGetLastError();
    return false;
  }
  graph_ = executable;
  return true;
}

bool CudaGraph::launch(const CudaStream& stream) const noexcept {
  return cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph_), stream_of(stream)) == cudaSuccess;
}

}  // namespace torchao_cpp::cuda
