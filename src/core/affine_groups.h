// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/affine.h"

/// Loops over neighbouring groups of one size, under the affine integer primitives. Nothing
/// allocates.
namespace torchao_cpp {

/// Groups that are looked at together, at most: what is known of them lies on the stack.
inline constexpr std::int64_t kGroupRun = 64;

/// Groups of `size` elements at a time for which the elements stay in the first cache.
inline std::int64_t groups_at_once(std::int64_t size) noexcept {
  constexpr std::int64_t kElements = 8192;
  return std::clamp<std::int64_t>(kElements / size, 1, kGroupRun);
}

/// Minimum and maximum that keep a NaN of either side, as torch.min/max of two tensors do.
inline float nan_min(float a, float b) noexcept {
  return a != a ? a : (b != b ? b : (b < a ? b : a));
}
inline float nan_max(float a, float b) noexcept {
  return a != a ? a : (b != b ? b : (b > a ? b : a));
}

/// How scales are chosen. `eps` is a value of `dtype`, the weight's.
struct ScaleChoice {
  MappingType mapping;
  QuantRange range;
  DType dtype;
  float eps;
};

/// Scales (values of the choice's dtype) and zero points of `count` groups with these ends.
void choose_scales(const ScaleChoice& choice, const float* lo, const float* hi, std::int64_t count,
                   float* scale, std::int8_t* zero_point) noexcept;

/// The ends of groups and their scales, which become the reciprocals of the stored scales.
struct ChosenScales {
  const float* lo;
  const float* hi;
  std::int64_t count;
  float* values;
  bool* has_nan;  ///< is set: whether a product of an element and the reciprocal may be NaN
};

/// Stores the scales as `dtype` from element `first` of `scales` on.
void store_scales(DType dtype, const ChosenScales& chosen, void* scales,
                  std::int64_t first) noexcept;

/// The rounded 1 / scale that codes are formed with.
float reciprocal_of_scale(DType scale_dtype, float scale) noexcept;

/// Groups and what their codes follow from.
struct AffineGroups {
  const void* weight;
  std::int64_t begin;  ///< first element
  std::int64_t groups;
  std::int64_t size;
  const float* reciprocal;
  const std::int8_t* zero_point;
  const bool* has_nan;  ///< as in ChosenScales; null: any may
  QuantRange range;
  std::int8_t* out;
};

/// Codes of groups of a weight of `dtype`. The products are formed in `dtype`, or in float32.
void quantize_groups(DType dtype, const AffineGroups& groups, bool product_is_float32) noexcept;

}  // namespace torchao_cpp
