// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/affine.h"

namespace torchao_cpp {

/// Codes and scales of half-quadratic quantization without zero points.
struct HqqScaleOnly {
  Tensor qdata;  ///< int8 [N, K]
  Tensor scale;  ///< the weight's dtype, [N, K / group_size]
};

/// Fits one scale a group by at most 20 least-squares steps in float32, starting from max|w| /
/// max|code|; stops when no scale of the whole tensor moved by more than a relative 1e-5.
/// `group_size` divides K. Sums are formed in another order than torch's, so scales may differ by
/// 3e-7 relative before the cast to the weight's dtype. Source: torchao 0.18 quant_primitives.py,
/// _choose_qparams_and_quantize_scale_only_hqq.
HqqScaleOnly quantize_hqq_scale_only(const Tensor& weight, std::int64_t group_size,
                                     QuantRange range);

}  // namespace torchao_cpp
