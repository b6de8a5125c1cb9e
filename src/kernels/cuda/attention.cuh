// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/decoder_steps.h"
#include "kernels/cuda/rounding.cuh"

namespace torchao_cpp::cuda {

/// Where no key was seen: less than every score, and finite, so that differences are numbers.
inline constexpr float kNoScore = -1e30f;

// kPrefill and kDecode for one dtype each.
void launch_attention_bfloat16(AttentionKernel kernel, const AttentionArgs& args,
                               void* stream) noexcept;
void launch_attention_float16(AttentionKernel kernel, const AttentionArgs& args,
                              void* stream) noexcept;

}  // namespace torchao_cpp::cuda
