// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/code_tiles.h"
#include "kernels/cuda/rounding.cuh"

#if __CUDA_ARCH__ < 800
#pragma nv_diag_suppress 177  // What those architectures have no use for.
#endif

/// Words of the tiles of code_tiles.h and their scales, for the files that take them apart.
namespace torchao_cpp::cuda {
namespace {

/// Two values of T in 32 bits, and how codes become such values.
template <typename T>
struct Pair;
template <>
struct Pair<__nv_bfloat16> {
  using Type = __nv_bfloat162;
  static constexpr bool kIsBFloat16 = true;
  static constexpr unsigned kMagic = 0x43004300u;   ///< 128 | a code of 4 bits: 128 plus the code.
  static constexpr float kOffset = 136.0f;          ///< Codes are stored plus 8.
  static constexpr float kFloat8Factor = 0x1p120f;  ///< Between the bits of float8_e4m3fn and T.
  static __device__ Type twice(__nv_bfloat16 v) { return __bfloat162bfloat162(v); }
  static __device__ Type of(float v) { return __float2bfloat162_rn(v); }
};
template <>
struct Pair<__half> {
  using Type = __half2;
  static constexpr bool kIsBFloat16 = false;
  static constexpr unsigned kMagic = 0x64006400u;  // 1024
  static constexpr float kOffset = 1032.0f;
  static constexpr float kFloat8Factor = 0x1p8f;
  static __device__ Type twice(__half v) { return __half2half2(v); }
  static __device__ Type of(float v) { return __float2half2_rn(v); }
};

template <typename Type>
__device__ unsigned bits_of(Type v) {
  return *reinterpret_cast<const unsigned*>(&v);
}
template <typename Type>
__device__ Type pair_of(unsigned bits) {
  return *reinterpret_cast<const Type*>(&bits);
}

/// What the instances of the kernels for tiles differ in. kGroups: groups have scales of their own.
template <typename Value, TileCode kTileCode, ZeroPointDomain kZeroKind, bool kHasGroups>
struct TileFormat {
  using T = Value;
  static constexpr TileCode kCode = kTileCode;
  static constexpr ZeroPointDomain kZero = kZeroKind;
  static constexpr bool kGroups = kHasGroups;
  /// 32-bit words of a lane for one left operand, and of a chunk of four of them.
  static constexpr int kWords = kTileCode == TileCode::kInt4 ? 1 : 2;
  static constexpr int kChunkWords = 4 * kWords;
  static constexpr int kChunkBytes = 128 * kChunkWords;
  /// Registers of 8 rows that a group has: scales and, where there are, zero points.
  static constexpr int kScaleWords = kHasGroups ? (kZeroKind == ZeroPointDomain::kNone ? 1 : 2) : 0;
  static constexpr int kGroupBytes = 32 * kScaleWords;
};

/// Scales and zero points of rows g and g + 8 in one group.
struct Scales {
  unsigned scale;
  unsigned zero;
};

/// Past the first-level cache, which holds x: of what is read once, from end to end.
__device__ inline unsigned read_once(const unsigned* from) {
  unsigned v;
  asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(from));
  return v;
}
__device__ inline uint4 read_once(const uint4* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

template <typename Format>
__device__ Scales read_scales(const CodeTilesView& w, std::int64_t tile, std::int64_t column,
                              int g) {
  Scales out{0, 0};
  if constexpr (Format::kGroups) {
    const std::int64_t group = tile * w.groups + (column >> w.group_shift);
    const auto* at = static_cast<const unsigned*>(w.scales) + group * 8 * Format::kScaleWords + g;
    out.scale = read_once(at);
    if constexpr (Format::kScaleWords == 2) out.zero = read_once(at + 8);
  }
  return out;
}

#if __CUDA_ARCH__ >= 800  // Older ones have no arithmetic of bfloat16; supports() keeps them away.

/// (bits & kMask) | with and (bits & kMask) ^ with in one instruction, which the compiler does not
/// find for two constants.
template <unsigned kMask>
__device__ unsigned and_or(unsigned bits, unsigned with) {
  unsigned out;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(out) : "r"(bits), "n"(kMask), "r"(with));
  return out;
}
template <unsigned kMask>
__device__ unsigned and_xor(unsigned bits, unsigned with) {
  unsigned out;
  asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(out) : "r"(bits), "n"(kMask), "r"(with));
  return out;
}

/// Codes of int8 in the low bytes of the halves of 32 bits (what lies above them is ignored).
template <typename T>
__device__ typename Pair<T>::Type int8_pair(unsigned codes) {
  using Type = typename Pair<T>::Type;
  if constexpr (Pair<T>::kIsBFloat16) {
    // 128 plus the low seven bits, minus 128 or, where the sign is set, 256.
    const unsigned low = and_or<0x007f007fu>(codes, 0x43004300u);
    const unsigned sign = and_or<0x00800080u>(codes, 0x43004300u);
    return __hsub2(pair_of<Type>(low), pair_of<Type>(sign));
  } else {
    // 1024 plus the code plus 128.
    return __hsub2(pair_of<Type>(and_xor<0x00ff00ffu>(codes, 0x64806480u)), Pair<T>::of(1152.0f));
  }
}

/// Codes of float8_e4m3fn in the high bytes of the halves of 32 bits: their values over
/// kFloat8Factor.
template <typename T>
__device__ typename Pair<T>::Type float8_pair(unsigned codes) {
  using Type = typename Pair<T>::Type;
  constexpr int kShift = Pair<T>::kIsBFloat16 ? 4 : 1;
  constexpr unsigned kMask = (0x7f007f00u >> kShift);
  return pair_of<Type>(and_or<kMask>(codes >> kShift, codes & 0x80008000u));
}

/// Register i of a left operand from its words: codes as values, int4 still with what makes values
/// of them (Pair::kMagic) and float8 without kFloat8Factor.
template <typename Format>
__device__ typename Pair<typename Format::T>::Type raw_pair(const unsigned* words, int i) {
  using T = typename Format::T;
  if constexpr (Format::kCode == TileCode::kInt4) {
    return pair_of<typename Pair<T>::Type>(
        and_or<0x000f000fu>(words[0] >> (4 * i), Pair<T>::kMagic));
  } else if constexpr (Format::kCode == TileCode::kInt8) {
    return int8_pair<T>(words[i / 2] >> (i % 2 * 8));
  } else {
    return float8_pair<T>(words[i / 2] << (8 - i % 2 * 8));
  }
}

/// The four registers of a left operand: bare codes, of which what is the same for all of a row
/// comes off later or, as an exact difference, here.
template <typename Format>
__device__ void bare_values(const unsigned* words, unsigned zeros, unsigned (&a)[4]) {
  using P = Pair<typename Format::T>;
  using Type = typename P::Type;
  const Type zero_pair = pair_of<Type>(zeros);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    Type v = raw_pair<Format>(words, i);
    if constexpr (Format::kCode == TileCode::kFloat8) v = __hmul2(v, P::of(P::kFloat8Factor));
    if constexpr (Format::kZero == ZeroPointDomain::kInt) {
      v = __hsub2(v, P::twice(i % 2 == 0 ? zero_pair.x : zero_pair.y));
    } else if constexpr (Format::kCode == TileCode::kInt4 &&
                         Format::kZero == ZeroPointDomain::kNone) {
      v = __hsub2(v, P::of(P::kOffset));
    }
    a[i] = bits_of(v);
  }
}

/// The factors of a group for dequantized_values(): rows g and g + 8, each twice.
template <typename Format>
struct GroupFactors {
  using P = Pair<typename Format::T>;
  using Type = typename P::Type;
  Type scale[2];
  Type zero[2];

  __device__ explicit GroupFactors(const Scales& s) {
    Type own = pair_of<Type>(s.scale);
    if constexpr (Format::kCode == TileCode::kFloat8) {
      own = Format::kGroups ? __hmul2(own, P::of(P::kFloat8Factor)) : P::of(P::kFloat8Factor);
    }
    const Type own_zero = pair_of<Type>(s.zero);
    scale[0] = P::twice(own.x), scale[1] = P::twice(own.y);
    zero[0] = P::twice(own_zero.x), zero[1] = P::twice(own_zero.y);
  }
};

/// The four registers of a left operand: values rounded as those of the dequantized weight are.
template <typename Format>
__device__ void dequantized_values(const unsigned* words, const GroupFactors<Format>& factors,
                                   unsigned (&a)[4]) {
  using P = Pair<typename Format::T>;
  using Type = typename P::Type;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    Type v = raw_pair<Format>(words, i);
    if constexpr (Format::kZero == ZeroPointDomain::kInt) {
      v = __hsub2(v, factors.zero[i % 2]);
    } else if constexpr (Format::kCode == TileCode::kInt4) {
      v = __hsub2(v, P::of(P::kOffset));
    }
    if constexpr (Format::kZero == ZeroPointDomain::kFloat) {
      v = __hfma2(v, factors.scale[i % 2], factors.zero[i % 2]);
    } else if constexpr (Format::kGroups || Format::kCode == TileCode::kFloat8) {
      v = __hmul2(v, factors.scale[i % 2]);
    }
    a[i] = bits_of(v);
  }
}

#endif

/// Calls fn.operator()<TileFormat>() with the format of a weight of int4 codes.
template <typename F>
void with_int4_format(const CodeTilesView& w, const F& fn) {
  const auto with_zero = [&]<typename T>(T) {
    switch (w.zero_kind) {
      case ZeroPointDomain::kNone:
        return fn
            .template operator()<TileFormat<T, TileCode::kInt4, ZeroPointDomain::kNone, true>>();
      case ZeroPointDomain::kInt:
        return fn
            .template operator()<TileFormat<T, TileCode::kInt4, ZeroPointDomain::kInt, true>>();
      case ZeroPointDomain::kFloat:
        return fn
            .template operator()<TileFormat<T, TileCode::kInt4, ZeroPointDomain::kFloat, true>>();
    }
  };
  if (w.dtype == DType::kBFloat16) {
    with_zero(__nv_bfloat16{});
  } else {
    with_zero(__half{});
  }
}

/// The same for codes of one byte.
template <typename F>
void with_byte_format(const CodeTilesView& w, const F& fn) {
  constexpr auto kNone = ZeroPointDomain::kNone;
  const auto with_type = [&]<typename T>(T) {
    if (w.code == TileCode::kFloat8) {
      if (w.groups > 0)
        return fn.template operator()<TileFormat<T, TileCode::kFloat8, kNone, true>>();
      return fn.template operator()<TileFormat<T, TileCode::kFloat8, kNone, false>>();
    }
    if (w.groups == 0)
      return fn.template operator()<TileFormat<T, TileCode::kInt8, kNone, false>>();
    if (w.zero_kind == kNone)
      return fn.template operator()<TileFormat<T, TileCode::kInt8, kNone, true>>();
    fn.template operator()<TileFormat<T, TileCode::kInt8, ZeroPointDomain::kInt, true>>();
  };
  if (w.dtype == DType::kBFloat16) {
    with_type(__nv_bfloat16{});
  } else {
    with_type(__half{});
  }
}

}  // namespace
}  // namespace torchao_cpp::cuda
