// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/lt_gemm.h"

#include <cublasLt.h>
#include <fmt/format.h>

#include <array>
#include <map>
#include <mutex>

#include "kernels/cuda/cuda_device.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp::cuda {
namespace {

cudaDataType_t data_type(DType dtype) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      return CUDA_R_16BF;
    case DType::kFloat16:
      return CUDA_R_16F;
    case DType::kFloat8E4M3FN:
      return CUDA_R_8F_E4M3;
    case DType::kFloat8E5M2:
      return CUDA_R_8F_E5M2;
    case DType::kInt8:
      return CUDA_R_8I;
    case DType::kInt32:
      return CUDA_R_32I;
    default:
      return CUDA_R_32F;
  }
}

// One handle a device, for the life of the process.
cublasLtHandle_t handle_of(int device) {
  static std::mutex mutex;
  static std::map<int, cublasLtHandle_t> handles;
  const std::scoped_lock lock(mutex);
  cublasLtHandle_t& handle = handles[device];
  if (handle != nullptr) return handle;
  const CudaDeviceGuard guard(device);
  if (const cublasStatus_t status = cublasLtCreate(&handle); status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(fmt::format("GPU {}: cuBLASLt: {}", device, cublasLtGetStatusString(status)));
  return handle;
}

/// What cuBLASLt wants to know of a product. Its words are of columns: it computes outᵀ = W xᵀ.
struct Descriptors {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t weight, x, out;
};

// One scale a row of each side.
bool describe_scales(const LtScales& scales, Descriptors& d) noexcept {
#if CUBLAS_VERSION >= 120900
  const cublasLtMatmulMatrixScale_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    return cublasLtMatmulDescSetAttribute(&d.product, attribute, &value, sizeof(value)) ==
           CUBLAS_STATUS_SUCCESS;
  };
  return set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, mode) &&
         set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, mode) &&
         set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, scales.weight) &&
         set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, scales.x);
#else
  static_cast<void>(scales);
  static_cast<void>(d);
  return false;
#endif
}

bool describe(const LtProduct& p, Descriptors& d) noexcept {
  const bool is_int = p.operand == DType::kInt8;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  // As torchao's Float8MMConfig has it by default; it matters to float8 alone.
  const std::int8_t fast = p.is_scaled ? 1 : 0;
  const auto n = static_cast<std::uint64_t>(p.n);
  const auto m = static_cast<std::uint64_t>(p.m);
  const auto k = static_cast<std::uint64_t>(p.k);
  return cublasLtMatmulDescInit(&d.product, is_int ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F,
                                is_int ? CUDA_R_32I : CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatmulDescSetAttribute(&d.product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                        sizeof(transposed)) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatmulDescSetAttribute(&d.product, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast,
                                        sizeof(fast)) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutInit(&d.weight, data_type(p.weight), k, n, p.weight_stride) ==
             CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutInit(&d.x, data_type(p.operand), k, m, p.x_stride) ==
             CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutInit(&d.out, data_type(p.out), n, m, p.out_stride) ==
             CUBLAS_STATUS_SUCCESS;
}

}  // namespace

struct LtGemm::Impl {
  struct Entry {
    LtProduct product;
    bool is_found = false;
    cublasLtMatmulAlgo_t algorithm{};
  };

  // The algorithm for a product: a known one or cuBLASLt's first proposal.
  bool find(const LtProduct& product, const Descriptors& d, cublasLtMatmulAlgo_t& out) noexcept {
    const std::scoped_lock lock(mutex);
    for (const Entry& entry : entries) {
      if (entry.product != product) continue;
      out = entry.algorithm;
      return entry.is_found;
    }
    Entry& entry = entries[next];
    next = (next + 1) % entries.size();
    entry = {product, propose(d, entry.algorithm), entry.algorithm};
    out = entry.algorithm;
    return entry.is_found;
  }

  bool propose(const Descriptors& d, cublasLtMatmulAlgo_t& out) const noexcept {
    cublasLtMatmulPreferenceOpaque_t preference;
    const std::uint64_t workspace = kWorkspaceBytes;
    if (cublasLtMatmulPreferenceInit(&preference) != CUBLAS_STATUS_SUCCESS ||
        cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &workspace,
                                             sizeof(workspace)) != CUBLAS_STATUS_SUCCESS)
      return false;
    // The rest of the scratch and the caller's memory.
    const std::uint32_t alignment = 16;
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      if (cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &alignment,
                                               sizeof(alignment)) != CUBLAS_STATUS_SUCCESS)
        return false;
    }
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    auto* product = const_cast<cublasLtMatmulDescOpaque_t*>(&d.product);
    auto* weight = const_cast<cublasLtMatrixLayoutOpaque_t*>(&d.weight);
    auto* x = const_cast<cublasLtMatrixLayoutOpaque_t*>(&d.x);
    auto* y = const_cast<cublasLtMatrixLayoutOpaque_t*>(&d.out);
    if (cublasLtMatmulAlgoGetHeuristic(handle, product, weight, x, y, y, &preference, 1, &result,
                                       &count) != CUBLAS_STATUS_SUCCESS ||
        count == 0)
      return false;
    out = result.algo;
    return true;
  }

  cublasLtHandle_t handle = nullptr;
  std::mutex mutex;
  std::array<Entry, 32> entries;
  std::size_t next = 0;
};

LtGemm::LtGemm(int device) : impl_(std::make_unique<Impl>()) { impl_->handle = handle_of(device); }
LtGemm::~LtGemm() = default;

bool LtGemm::run(const LtProduct& product, const void* x, const void* weight, void* out,
                 std::byte* workspace, void* stream, const LtScales& scales) const noexcept {
  Descriptors d;
  cublasLtMatmulAlgo_t algorithm;
  if (!describe(product, d) || (product.is_scaled && !describe_scales(scales, d)) ||
      !impl_->find(product, d, algorithm))
    return false;
  const float one = 1.0f;
  const float zero = 0.0f;
  const std::int32_t int_one = 1;
  const std::int32_t int_zero = 0;
  const bool is_int = product.operand == DType::kInt8;
  const void* alpha = is_int ? static_cast<const void*>(&int_one) : &one;
  const void* beta = is_int ? static_cast<const void*>(&int_zero) : &zero;
  return cublasLtMatmul(impl_->handle, &d.product, alpha, weight, &d.weight, x, &d.x, beta, out,
                        &d.out, out, &d.out, &algorithm, workspace, kWorkspaceBytes,
                        static_cast<cudaStream_t>(stream)) == CUBLAS_STATUS_SUCCESS;
}

}  // namespace torchao_cpp::cuda
