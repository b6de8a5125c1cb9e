// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_choose_qparams.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "base/vector_clones.h"
#include "core/affine.h"
#include "core/float_formats.h"
#include "core/hqq_quant.h"

namespace torchao_cpp {
namespace {

// Smallest range of a group, so that constant groups keep a finite step.
constexpr float kMinRange = 1e-6f;

struct Ends {
  float lo;
  float hi;
};

// A NaN anywhere makes both ends NaN, as torch's amin and amax do.
Ends min_max(const float* w, std::int64_t count) noexcept {
  Ends e{};
  block_min_max(DType::kFloat32, w, 0, count, e.lo, e.hi);
  return e;
}

TORCHAO_CPP_VECTOR_CLONES void quantize_from(const float* w, std::int64_t count, float lo, float s,
                                             std::int8_t* codes) noexcept {
  for (std::int64_t i = 0; i < count; ++i)
    codes[i] = code_from_float(clamp_round((w[i] - lo) / s, 0.0f, 15.0f) - 8.0f);
}

TORCHAO_CPP_VECTOR_CLONES void quantize_symmetric(const float* w, std::int64_t count, float s,
                                                  std::int8_t* codes) noexcept {
  for (std::int64_t i = 0; i < count; ++i)
    codes[i] = code_from_float(clamp_round(w[i] / s, -8.0f, 7.0f));
}

float at_least(float v, float bound) noexcept { return v < bound ? bound : v; }

// The weight in float32 and room for the result; groups are numbered along rows.
struct Work {
  Work(const Tensor& weight, std::int64_t group)
      : w32(weight.to(DType::kFloat32)),
        w(w32.data<float>()),
        group_size(group),
        dtype(weight.dtype()) {
    const std::int64_t n = weight.shape()[0];
    const std::int64_t k = weight.shape()[1];
    groups = n * (k / group);
    out = {Tensor::empty(DType::kInt8, {n, k}), Tensor::empty(dtype, {n, k / group}),
           Tensor::empty(dtype, {n, k / group})};
    codes = out.codes.mutable_data<std::int8_t>();
    scale = out.scale.mutable_bytes();
    zero_point = out.zero_point.mutable_bytes();
  }

  template <typename F>
  void for_groups(const F& fn) const {
    parallel_for(groups, std::max<std::int64_t>(1, 16384 / group_size),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t g = begin; g < end; ++g) fn(g);
                 });
  }
  void store(std::int64_t g, float s, float z) const noexcept {
    store_float(dtype, scale, g, s);
    store_float(dtype, zero_point, g, z);
  }

  Tensor w32;
  const float* w;
  std::int64_t group_size;
  DType dtype;
  std::int64_t groups = 0;
  Int4Groups out;
  std::int8_t* codes = nullptr;
  std::byte* scale = nullptr;
  std::byte* zero_point = nullptr;
};

}  // namespace

Int4Groups quantize_int4_row_zp(const Tensor& weight, std::int64_t group_size) {
  const Work work(weight, group_size);
  work.for_groups([&work](std::int64_t g) {
    const float* w = work.w + g * work.group_size;
    const Ends e = min_max(w, work.group_size);
    const float s = at_least(e.hi - e.lo, kMinRange) / 15.0f;
    const float offset = s * 8.0f;
    work.store(g, s, e.lo + offset);
    quantize_from(w, work.group_size, e.lo, s, work.codes + g * work.group_size);
  });
  return work.out;
}

Int4Groups quantize_int4_row_symmetric(const Tensor& weight, std::int64_t group_size) {
  const Work work(weight, group_size);
  work.for_groups([&work](std::int64_t g) {
    const float* w = work.w + g * work.group_size;
    const Ends e = min_max(w, work.group_size);
    const float amax = -e.lo > e.hi ? -e.lo : e.hi;
    const float s = at_least(std::fabs(amax), kMinRange) / 8.0f;
    work.store(g, s, 0.0f);
    quantize_symmetric(w, work.group_size, s, work.codes + g * work.group_size);
  });
  return work.out;
}

Int4Groups quantize_int4_tinygemm(const Tensor& weight, std::int64_t group_size) {
  const Work work(weight, group_size);
  const auto rnd = [dtype = work.dtype](float v) { return round_to(dtype, v); };
  const float eps = work.dtype == DType::kFloat16 ? 0x1p-14f : 0x1p-126f;
  work.for_groups([&work, rnd, eps](std::int64_t g) {
    const float* w = work.w + g * work.group_size;
    const Ends e = min_max(w, work.group_size);
    const float s = at_least(rnd(rnd(e.hi - e.lo) / 15.0f), eps);
    const float offset = rnd(s * 8.0f);
    const float z = rnd(e.lo + offset);
    const float lo = rnd(z - offset);
    work.store(g, s, z);
    for (std::int64_t i = 0; i < work.group_size; ++i) {
      work.codes[g * work.group_size + i] =
          code_from_float(clamp_round(rnd(rnd(w[i] - lo) / s), 0.0f, 15.0f));
    }
  });
  return work.out;
}

Int4Groups quantize_int4_hqq(const Tensor& weight, std::int64_t group_size) {
  const HqqGroups hqq = quantize_hqq(weight, group_size);
  Int4Groups out{hqq.codes, Tensor::empty(weight.dtype(), hqq.scale.shape()),
                 Tensor::empty(weight.dtype(), hqq.scale.shape())};
  std::byte* scale = out.scale.mutable_bytes();
  std::byte* zero_point = out.zero_point.mutable_bytes();
  for (std::int64_t g = 0; g < hqq.scale.numel(); ++g) {
    const float s = hqq.scale.data<float>()[g];
    store_float(weight.dtype(), scale, g, s);
    store_float(weight.dtype(), zero_point, g, (8.0f - hqq.zero.data<float>()[g]) * s);
  }
  return out;
}

}  // namespace torchao_cpp
