// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/embedding.h"
#include "torchao_cpp/error.h"

/// cuda_device.h and embedding.h for builds without CUDA.
namespace torchao_cpp {
namespace {

constexpr const char* kRefusal = "the library was built without CUDA (TORCHAO_CPP_CUDA)";

}  // namespace

int cuda_device_count() noexcept { return 0; }
std::string cuda_refusal() { return kRefusal; }
std::string cuda_device_name(int) { throw UnsupportedError(kRefusal); }
int cuda_capability(int) noexcept { return 0; }
bool cuda_starts_early() noexcept { return false; }
int cuda_processor_count(int) noexcept { return 0; }

CudaDeviceGuard::CudaDeviceGuard(int) noexcept {}
CudaDeviceGuard::~CudaDeviceGuard() = default;

DeviceBuffer::DeviceBuffer(std::int64_t, int) { throw UnsupportedError(kRefusal); }
DeviceBuffer::DeviceBuffer(const void*, std::int64_t, int) { throw UnsupportedError(kRefusal); }
DeviceBuffer::~DeviceBuffer() = default;
DeviceBuffer::DeviceBuffer(DeviceBuffer&&) noexcept = default;
DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&&) noexcept = default;
void DeviceBuffer::upload(const void*, std::int64_t, std::int64_t) {
  throw UnsupportedError(kRefusal);
}
void DeviceBuffer::download(void*, std::int64_t, std::int64_t) const {
  throw UnsupportedError(kRefusal);
}

void cuda_synchronize(int) { throw UnsupportedError(kRefusal); }
double cuda_read_bandwidth(int) { throw UnsupportedError(kRefusal); }

namespace cuda {

std::unique_ptr<const DeviceEmbedding> make_embedding(const LinearProblem&, const FloatLinear&) {
  throw UnsupportedError(kRefusal);
}

}  // namespace cuda

}  // namespace torchao_cpp
