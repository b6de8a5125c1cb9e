// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/tensor.h"

/// The swizzled ("blocked") order in which MX and NVFP4 store their one-byte block scales.
///
/// A scale matrix [R, C] is padded with zeros to multiples of (128, 4) and cut into tiles of 128 x
/// 4, stored one after the other along C. Inside a tile of 512 bytes:
///
///     byte = (row % 32) * 16 + (row % 128) / 32 * 4 + column % 4
///
/// so 16 bytes hold rows r, r+32, r+64 and r+96 with their four columns each.
/// Source: torchao 0.18 prototype/mx_formats/utils.py, to_blocked and from_blocked.
namespace torchao_cpp {

/// Shape torchao gives the stored scales: [32 * ceil(R / 128), 16 * ceil(C / 4)].
Shape blocked_scale_shape(std::int64_t rows, std::int64_t columns);

/// [R, C] of a one-byte dtype -> the stored form.
Tensor to_blocked(const Tensor& scale);

/// The stored form -> [rows, columns]. Throws ShapeError unless `blocked` has
/// blocked_scale_shape(rows, columns).
Tensor from_blocked(const Tensor& blocked, std::int64_t rows, std::int64_t columns);

}  // namespace torchao_cpp
