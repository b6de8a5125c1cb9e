// SPDX-License-Identifier: Apache-2.0
#pragma once

// NEON of every ARMv8-A machine. See simd_avx512.h.

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace torchao_cpp {
namespace {

struct Simd {
  static constexpr int kLanes = 4;
  static constexpr int kDotSums = 16;
  static constexpr int kGemmRows = 12;

  using Floats = float32x4_t;
  using Words = uint32x4_t;

  static Floats zero() { return vdupq_n_f32(0.0f); }
  static Floats set1(float v) { return vdupq_n_f32(v); }
  static Floats load(const float* p) { return vld1q_f32(p); }
  static Floats load_first(const float* p, std::int64_t count) {
    if (count == kLanes) return load(p);
    float lanes[kLanes] = {};
    for (std::int64_t i = 0; i < count; ++i) lanes[i] = p[i];
    return load(lanes);
  }
  static void store(float* p, Floats v) { vst1q_f32(p, v); }
  static void store_first(float* p, Floats v, std::int64_t count) {
    if (count == kLanes) return store(p, v);
    float lanes[kLanes];
    store(lanes, v);
    for (std::int64_t i = 0; i < count; ++i) p[i] = lanes[i];
  }
  static Floats add(Floats a, Floats b) { return vaddq_f32(a, b); }
  static Floats sub(Floats a, Floats b) { return vsubq_f32(a, b); }
  static Floats mul(Floats a, Floats b) { return vmulq_f32(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
  static float sum(Floats v) { return vaddvq_f32(v); }

  static Floats load_float16(const void* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(load_as<uint16x4_t>(p)));
  }
  static Floats load_bfloat16(const void* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(load_as<uint16x4_t>(p), 16));
  }
  static Floats load_int8(const void* p) {
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load4(p))))));
  }

  // As in simd_avx512.h.
  static Floats load_float8_e4m3(const void* p) {
    const uint16x4_t b = vreinterpret_u16_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load4(p)))));
    const uint16x4_t magnitude = vand_u16(b, vdup_n_u16(0x7F));
    const uint16x4_t nan = vceq_u16(magnitude, vdup_n_u16(0x7F));
    const uint16x4_t half = vand_u16(vshl_n_u16(b, 7), vdup_n_u16(0xBFFF));
    return widen_float16(vbsl_u16(nan, vdup_n_u16(0x7E00), half));
  }
  static Floats load_float8_e5m2(const void* p) {
    return widen_float16(vget_low_u16(vshll_n_u8(load4(p), 8)));
  }
  static Floats load_float6(const void* p, int fraction_bits) {
    const uint16x4_t b = vget_low_u16(vmovl_u8(load4(p)));
    const uint16x4_t sign = vshl_n_u16(vand_u16(b, vdup_n_u16(0x20)), 10);
    const uint16x4_t magnitude = vand_u16(b, vdup_n_u16(0x1F));
    return widen_float16(vorr_u16(sign, magnitude << (10 - fraction_bits)));
  }

  static Floats round_bfloat16(Floats v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, odd), vdupq_n_u32(0x7FFF));
    return vreinterpretq_f32_u32(vandq_u32(rounded, vdupq_n_u32(0xFFFF0000)));
  }
  static Floats round_float16(Floats v) { return vcvt_f32_f16(vcvt_f16_f32(v)); }
  static Floats quiet(Floats v) {
    return vbslq_f32(vceqq_f32(v, v), v, vreinterpretq_f32_u32(vdupq_n_u32(0x7FC00000)));
  }
  static void store_bfloat16(void* p, Floats v) {
    const uint16x4_t high = vshrn_n_u32(vreinterpretq_u32_f32(round_bfloat16(v)), 16);
    std::memcpy(p, &high, sizeof(high));
  }
  static void store_float16(void* p, Floats v) {
    const float16x4_t half = vcvt_f16_f32(v);
    std::memcpy(p, &half, sizeof(half));
  }

  static Words to_words(Floats v) { return vreinterpretq_u32_f32(v); }
  static Floats from_ints(Words v) { return vcvtq_f32_s32(vreinterpretq_s32_u32(v)); }
  static Words subtract_product(Words a, Words b, std::int32_t c) {
    return vmlsq_u32(a, b, vdupq_n_u32(static_cast<std::uint32_t>(c)));
  }
  static Words load_words(const void* p) { return load_as<uint32x4_t>(p); }
  static Words shift_right(Words v, int count) { return v >> count; }
  static Words shift_left(Words v, int count) { return v << count; }
  static Words select_bits(int mask, Words a, Words b) {
    return vbslq_u32(vdupq_n_u32(static_cast<std::uint32_t>(mask)), a, b);
  }
  static Floats to_floats(Words v, int mask) {
    return vcvtq_f32_u32(vandq_u32(v, vdupq_n_u32(static_cast<std::uint32_t>(mask))));
  }

  /// 32 values: a look-up instruction takes the bytes of 16 at most.
  struct Table {
    uint8x16x4_t part[2];
  };
  static constexpr int table_vectors(int bits) {
    return bits == 5 ? 8 : bits == 4 ? 4 : bits == 3 ? 2 : 1;
  }
  static void set_table(Table& table, int vector, Floats v) {
    table.part[vector / 4].val[vector % 4] = vreinterpretq_u8_f32(v);
  }
  /// Bytes 4i .. 4i + 3 of the table are value i. Out of its reach, vqtbl gives 0 and vqtbx what it
  /// was given.
  template <int kBits>
  static Floats look_up(const Table& table, Words index) {
    constexpr std::uint32_t kMask = kBits <= 2 ? 3 : (1u << kBits) - 1;
    const uint32x4_t value = vandq_u32(index, vdupq_n_u32(kMask));
    const uint8x16_t bytes =
        vreinterpretq_u8_u32(vmlaq_u32(vdupq_n_u32(0x03020100), value, vdupq_n_u32(0x04040404)));
    if constexpr (kBits <= 2) {
      return vreinterpretq_f32_u8(vqtbl1q_u8(table.part[0].val[0], bytes));
    } else if constexpr (kBits == 3) {
      return vreinterpretq_f32_u8(
          vqtbl2q_u8({{table.part[0].val[0], table.part[0].val[1]}}, bytes));
    } else if constexpr (kBits == 4) {
      return vreinterpretq_f32_u8(vqtbl4q_u8(table.part[0], bytes));
    } else {
      const uint8x16_t first16 = vqtbl4q_u8(table.part[0], bytes);
      return vreinterpretq_f32_u8(
          vqtbx4q_u8(first16, table.part[1], vsubq_u8(bytes, vdupq_n_u8(64))));
    }
  }

  static Floats gather(const float* table, const std::uint8_t* indices) {
    const float lanes[kLanes] = {table[indices[0]], table[indices[1]], table[indices[2]],
                                 table[indices[3]]};
    return load(lanes);
  }

  static void transpose(Floats (&v)[4]) {
    const float64x2_t t0 = vreinterpretq_f64_f32(vtrn1q_f32(v[0], v[1]));
    const float64x2_t t1 = vreinterpretq_f64_f32(vtrn2q_f32(v[0], v[1]));
    const float64x2_t t2 = vreinterpretq_f64_f32(vtrn1q_f32(v[2], v[3]));
    const float64x2_t t3 = vreinterpretq_f64_f32(vtrn2q_f32(v[2], v[3]));
    v[0] = vreinterpretq_f32_f64(vtrn1q_f64(t0, t2));
    v[1] = vreinterpretq_f32_f64(vtrn1q_f64(t1, t3));
    v[2] = vreinterpretq_f32_f64(vtrn2q_f64(t0, t2));
    v[3] = vreinterpretq_f32_f64(vtrn2q_f64(t1, t3));
  }

 private:
  template <typename V>
  static V load_as(const void* p) {
    V v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  // Four bytes; the other four are 0.
  static uint8x8_t load4(const void* p) { return vcreate_u8(load_as<std::uint32_t>(p)); }
  static Floats widen_float16(uint16x4_t v) { return vcvt_f32_f16(vreinterpret_f16_u16(v)); }
};

}  // namespace
}  // namespace torchao_cpp
