// SPDX-License-Identifier: Apache-2.0
#pragma once

// Small functions for files compiled for one instruction set, in whose unnamed namespace they live.

#include <cstdint>

namespace torchao_cpp {
namespace {

// Loops keep sums in registers, which only works when everything inside them is inlined.
#define TORCHAO_CPP_ALWAYS_INLINE [[gnu::always_inline]] inline

// Before a loop of a fixed count: arrays of registers stay in registers only when it is unrolled.
#ifdef __clang__
#define TORCHAO_CPP_UNROLL _Pragma("unroll")
#else
#define TORCHAO_CPP_UNROLL _Pragma("GCC unroll 32")
#endif

constexpr std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
constexpr std::int64_t rounded_up(std::int64_t v, std::int64_t unit) {
  return (v + unit - 1) / unit * unit;
}
/// Into the second-level cache. Not inlined first, GCC takes it for a function without effects and
/// drops its calls.
[[gnu::always_inline]] inline void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }

/// How many bytes before its use a dot product asks for a weight, into the second-level cache: fewer
/// are late, and in the first-level cache they would push out x.
constexpr std::int64_t kDotAhead = 16384;

}  // namespace
}  // namespace torchao_cpp
