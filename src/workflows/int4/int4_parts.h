// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/parts_reader.h"

/// What the parts of groupwise int4 tensors have in common.
namespace torchao_cpp {

/// A groupwise weight [N, K].
struct Int4Layout {
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t group_size = 0;
};

/// From qdata [N, K / codes_per_element] and the attributes shape [N, K] and block_size
/// [1, group_size]. Fails with "ao.shape_mismatch" where they disagree, after checking that qdata is
/// `dtype`.
Int4Layout read_int4_layout(const PartsReader& reader, DType dtype, std::int64_t codes_per_element);

/// Stacks along the N of [K / group_size, N] or [K / group_size, N, items].
Tensor concat_columns(std::span<const Tensor> parts);

}  // namespace torchao_cpp
