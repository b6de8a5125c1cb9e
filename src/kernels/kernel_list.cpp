// SPDX-License-Identifier: Apache-2.0
#include "kernels/float_product/float_product_kernels.h"
#include "kernels/int8_product/int8_product_kernels.h"
#include "kernels/linear_kernel.h"

namespace torchao_cpp {

std::span<const LinearKernel> kernel_list() noexcept {
  using Op = LinearOperation;
  static const LinearKernel kKernels[] = {
#if defined(__x86_64__)
      float_product_avx512(Op::kUnquantized),
      float_product_avx512(Op::kInt8WeightOnly),
      float_product_avx512(Op::kInt4WeightOnly),
      float_product_avx512(Op::kIntxWeightOnly),
      float_product_avx512(Op::kFloat8WeightOnly),
      float_product_avx512(Op::kMXWeightOnly),
      float_product_avx512(Op::kNVFP4WeightOnly),
      float_product_avx512(Op::kNF4WeightOnly),
      float_product_avx512(Op::kInt8DynamicActivationIntxWeight),
      float_product_avx512(Op::kFloat8DynamicActivationFloat8Weight),
      float_product_avx512(Op::kFloat8StaticActivationFloat8Weight),
      float_product_avx512(Op::kFloat8DynamicActivationInt4Weight),
      float_product_avx512(Op::kMXDynamicActivationMXWeight),
      float_product_avx512(Op::kNVFP4DynamicActivationNVFP4Weight),
      float_product_avx2(Op::kUnquantized),
      float_product_avx2(Op::kInt8WeightOnly),
      float_product_avx2(Op::kInt4WeightOnly),
      float_product_avx2(Op::kIntxWeightOnly),
      float_product_avx2(Op::kFloat8WeightOnly),
      float_product_avx2(Op::kMXWeightOnly),
      float_product_avx2(Op::kNVFP4WeightOnly),
      float_product_avx2(Op::kNF4WeightOnly),
      float_product_avx2(Op::kInt8DynamicActivationIntxWeight),
      float_product_avx2(Op::kFloat8DynamicActivationFloat8Weight),
      float_product_avx2(Op::kFloat8StaticActivationFloat8Weight),
      float_product_avx2(Op::kFloat8DynamicActivationInt4Weight),
      float_product_avx2(Op::kMXDynamicActivationMXWeight),
      float_product_avx2(Op::kNVFP4DynamicActivationNVFP4Weight),
#elif defined(__aarch64__)
      int8_product_neon_i8mm(Op::kInt8DynamicActivationInt8Weight),
      int8_product_neon_i8mm(Op::kInt8StaticActivationInt8Weight),
      int8_product_neon_dotprod(Op::kInt8DynamicActivationInt8Weight),
      int8_product_neon_dotprod(Op::kInt8StaticActivationInt8Weight),
      int8_product_neon(Op::kInt8DynamicActivationInt8Weight),
      int8_product_neon(Op::kInt8StaticActivationInt8Weight),
      float_product_neon(Op::kUnquantized),
      float_product_neon(Op::kInt8WeightOnly),
      float_product_neon(Op::kInt4WeightOnly),
      float_product_neon(Op::kIntxWeightOnly),
      float_product_neon(Op::kFloat8WeightOnly),
      float_product_neon(Op::kMXWeightOnly),
      float_product_neon(Op::kNVFP4WeightOnly),
      float_product_neon(Op::kNF4WeightOnly),
      float_product_neon(Op::kInt8DynamicActivationIntxWeight),
      float_product_neon(Op::kFloat8DynamicActivationFloat8Weight),
      float_product_neon(Op::kFloat8StaticActivationFloat8Weight),
      float_product_neon(Op::kFloat8DynamicActivationInt4Weight),
      float_product_neon(Op::kMXDynamicActivationMXWeight),
      float_product_neon(Op::kNVFP4DynamicActivationNVFP4Weight),
#endif
#ifdef TORCHAO_CPP_HAS_ONEDNN
      float_product_onednn(Op::kUnquantized),
      float_product_onednn(Op::kInt8WeightOnly),
      float_product_onednn(Op::kInt4WeightOnly),
      float_product_onednn(Op::kIntxWeightOnly),
      float_product_onednn(Op::kFloat8WeightOnly),
      float_product_onednn(Op::kMXWeightOnly),
      float_product_onednn(Op::kNVFP4WeightOnly),
      float_product_onednn(Op::kNF4WeightOnly),
      int8_product_onednn(Op::kInt8DynamicActivationInt8Weight),
      int8_product_onednn(Op::kInt8StaticActivationInt8Weight),
      float_product_onednn(Op::kInt8DynamicActivationIntxWeight),
      float_product_onednn(Op::kFloat8DynamicActivationFloat8Weight),
      float_product_onednn(Op::kFloat8StaticActivationFloat8Weight),
      float_product_onednn(Op::kFloat8DynamicActivationInt4Weight),
      float_product_onednn(Op::kMXDynamicActivationMXWeight),
      float_product_onednn(Op::kNVFP4DynamicActivationNVFP4Weight),
#endif
      float_product_ref(Op::kUnquantized),
      float_product_ref(Op::kInt8WeightOnly),
      float_product_ref(Op::kInt4WeightOnly),
      float_product_ref(Op::kIntxWeightOnly),
      float_product_ref(Op::kFloat8WeightOnly),
      float_product_ref(Op::kMXWeightOnly),
      float_product_ref(Op::kNVFP4WeightOnly),
      float_product_ref(Op::kNF4WeightOnly),
      int8_product_ref(Op::kInt8DynamicActivationInt8Weight),
      int8_product_ref(Op::kInt8StaticActivationInt8Weight),
      float_product_ref(Op::kInt8DynamicActivationIntxWeight),
      float_product_ref(Op::kFloat8DynamicActivationFloat8Weight),
      float_product_ref(Op::kFloat8StaticActivationFloat8Weight),
      float_product_ref(Op::kFloat8DynamicActivationInt4Weight),
      float_product_ref(Op::kMXDynamicActivationMXWeight),
      float_product_ref(Op::kNVFP4DynamicActivationNVFP4Weight),
  };
  return kKernels;
}

}  // namespace torchao_cpp
