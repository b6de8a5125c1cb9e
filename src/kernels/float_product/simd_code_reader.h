// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rows of CodeRows as vectors of float32, for the instruction set of the Simd that was included
// before. Everything is in the including file's unnamed namespace; see simd/simd_avx512.h.

#include <cstring>

#include "kernels/float_product/code_rows.h"

namespace torchao_cpp {
namespace {

using Floats = Simd::Floats;
constexpr int kLanes = Simd::kLanes;
/// Vectors of one step of a row; sinks may keep a sum for each.
constexpr int kUnroll = 4;

// Sinks keep sums in registers, which only works when everything between them and the loop is
// inlined.
#define TORCHAO_CPP_ALWAYS_INLINE [[gnu::always_inline]] inline

constexpr std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
constexpr std::int64_t rounded_up(std::int64_t v, std::int64_t unit) {
  return (v + unit - 1) / unit * unit;
}

template <ValueRounding kRounding>
TORCHAO_CPP_ALWAYS_INLINE Floats rounded(Floats v) {
  if constexpr (kRounding == ValueRounding::kBFloat16) return Simd::round_bfloat16(v);
  if constexpr (kRounding == ValueRounding::kFloat16) return Simd::round_float16(v);
  return v;
}

TORCHAO_CPP_ALWAYS_INLINE Floats rounded(ValueRounding rounding, Floats v) {
  switch (rounding) {
    case ValueRounding::kBFloat16:
      return Simd::round_bfloat16(v);
    case ValueRounding::kFloat16:
      return Simd::round_float16(v);
    default:
      return v;
  }
}

/// Bytes of a code that is whole bytes.
template <CodeForm kForm>
constexpr std::int64_t code_bytes() {
  if (kForm == CodeForm::kFloat32) return 4;
  return kForm == CodeForm::kFloat16 || kForm == CodeForm::kBFloat16 ? 2 : 1;
}

/// kLanes codes of whole bytes. Small floats come times a power of two: see form_factor().
template <CodeForm kForm>
TORCHAO_CPP_ALWAYS_INLINE Floats load_codes(const void* p) {
  if constexpr (kForm == CodeForm::kFloat32) return Simd::load(static_cast<const float*>(p));
  if constexpr (kForm == CodeForm::kFloat16) return Simd::load_float16(p);
  if constexpr (kForm == CodeForm::kBFloat16) return Simd::load_bfloat16(p);
  if constexpr (kForm == CodeForm::kInt8) return Simd::load_int8(p);
  if constexpr (kForm == CodeForm::kFloat8E4M3) return Simd::load_float8_e4m3(p);
  if constexpr (kForm == CodeForm::kFloat8E5M2) return Simd::load_float8_e5m2(p);
  if constexpr (kForm == CodeForm::kFloat6E2M3) return Simd::load_float6(p, 3);
  if constexpr (kForm == CodeForm::kFloat6E3M2) return Simd::load_float6(p, 2);
}

/// What load_codes() must be multiplied with: 2^(15 - exponent bias).
template <CodeForm kForm>
constexpr float form_factor() {
  if (kForm == CodeForm::kFloat8E4M3) return 0x1p8f;
  if (kForm == CodeForm::kFloat6E2M3) return 0x1p14f;
  if (kForm == CodeForm::kFloat6E3M2) return 0x1p12f;
  return 1.0f;
}

template <CodeForm kForm>
TORCHAO_CPP_ALWAYS_INLINE Floats load_first_codes(const std::byte* p, std::int64_t count) {
  alignas(64) std::byte buffer[kLanes * 4] = {};
  std::memcpy(buffer, p, static_cast<std::size_t>(count * code_bytes<kForm>()));
  return load_codes<kForm>(buffer);
}

/// Scales (and zero points) of one weight row as float32.
struct RowScales {
  const float* scale;
  const float* zero;
};

/// Floats that read_scales() needs.
inline std::int64_t scale_floats(const CodeRows& w) {
  return w.is_scaled ? 2 * rounded_up(w.blocks_per_row, kLanes) : 0;
}

inline void widen_scales(const CodeRows& w, const void* from, std::int64_t first, float* out) {
  const std::int64_t count = w.blocks_per_row;
  std::int64_t i = 0;
  if (w.scale_form == ScaleForm::kByte) {
    const auto* bytes = static_cast<const std::uint8_t*>(from) + first;
    for (; i + kLanes <= count; i += kLanes)
      Simd::store(out + i, Simd::gather(w.byte_scales, bytes + i));
    for (; i < count; ++i) out[i] = w.byte_scales[bytes[i]];
    return;
  }
  const auto* words = static_cast<const std::uint16_t*>(from) + first;
  for (; i + kLanes <= count; i += kLanes) Simd::store(out + i, Simd::load_bfloat16(words + i));
  for (; i < count; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(words[i]) << 16;
    std::memcpy(out + i, &bits, sizeof(bits));
  }
}

inline RowScales read_scales(const CodeRows& w, std::int64_t n, float* scratch) {
  if (!w.is_scaled) return {nullptr, nullptr};
  const std::int64_t first = n / w.block_rows * w.blocks_per_row;
  const bool has_zero = w.zero_kind != CodeZero::kNone;
  if (w.scale_form == ScaleForm::kFloat32) {
    return {static_cast<const float*>(w.scale) + first,
            has_zero ? static_cast<const float*>(w.zero) + first : nullptr};
  }
  float* zeros = scratch + rounded_up(w.blocks_per_row, kLanes);
  widen_scales(w, w.scale, first, scratch);
  if (has_zero) {
    // Zero points beside byte scales do not exist.
    widen_scales(w, w.zero, first, zeros);
  }
  return {scratch, has_zero ? zeros : nullptr};
}

/// One scale and zero point, ready to use.
struct BlockScale {
  Floats scale;
  Floats zero;

  BlockScale(const RowScales& scales, std::int64_t block, float factor)
      : scale(Simd::set1(scales.scale[block] * factor)),
        zero(Simd::set1(scales.zero == nullptr ? 0.0f : scales.zero[block])) {}
};

TORCHAO_CPP_ALWAYS_INLINE Floats scaled(CodeZero kind, Floats code, const BlockScale& s) {
  switch (kind) {
    case CodeZero::kInt:
      return Simd::mul(Simd::sub(code, s.zero), s.scale);
    case CodeZero::kFloat:
      return Simd::add(Simd::mul(code, s.scale), s.zero);
    default:
      return Simd::mul(code, s.scale);
  }
}

/// Whole-byte codes. kIsScaled: w = (code - zero) * scale; other zero points are not offered.
template <CodeForm kForm, bool kIsScaled, ValueRounding kRounding>
struct WholeCodes {
  /// Calls sink.step<u>(k, v) for each kLanes columns from k, u < kUnroll, and sink.step_first(k, v, count) for fewer.
  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const RowScales& scales, std::int64_t n, std::int64_t begin,
                   std::int64_t end, Sink& sink) {
    constexpr std::int64_t kBytes = code_bytes<kForm>();
    const std::byte* row = w.codes + n * w.row_bytes;
    for (std::int64_t k = begin; k < end;) {
      std::int64_t stop = end;
      std::int64_t block = 0;
      if constexpr (kIsScaled) {
        block = w.blocks_per_row == 1 ? 0 : k / w.block_columns;
        stop = smaller(end, (block + 1) * w.block_columns);
      }
      const auto value = [&](Floats code) __attribute__((always_inline)) {
        if constexpr (!kIsScaled) {
          if constexpr (form_factor<kForm>() == 1.0f) return code;
          return Simd::mul(code, Simd::set1(form_factor<kForm>()));
        } else {
          const BlockScale s(scales, block, form_factor<kForm>());
          if constexpr (kForm == CodeForm::kInt8) code = Simd::sub(code, s.zero);
          return rounded<kRounding>(Simd::mul(code, s.scale));
        }
      };
      for (; k + kUnroll * kLanes <= stop; k += kUnroll * kLanes) {
        const std::byte* p = row + k * kBytes;
        sink.template step<0>(k, value(load_codes<kForm>(p)));
        sink.template step<1>(k + kLanes, value(load_codes<kForm>(p + kLanes * kBytes)));
        sink.template step<2>(k + 2 * kLanes, value(load_codes<kForm>(p + 2 * kLanes * kBytes)));
        sink.template step<3>(k + 3 * kLanes, value(load_codes<kForm>(p + 3 * kLanes * kBytes)));
      }
      for (; k + kLanes <= stop; k += kLanes)
        sink.template step<0>(k, value(load_codes<kForm>(row + k * kBytes)));
      if (k < stop) {
        sink.step_first(k, value(load_first_codes<kForm>(row + k * kBytes, stop - k)), stop - k);
        k = stop;
      }
    }
  }
};

constexpr int plane_bits(int bits, int width) { return (bits & width) != 0 ? width : 0; }

/// Bytes of a plane of fields of `width` bits.
inline std::int64_t plane_bytes(std::int64_t columns, int width) {
  const std::int64_t group_columns = kLanes * (32 / width);
  return (columns + group_columns - 1) / group_columns * kLanes * 4;
}

/// Packed fields. Blocks begin at multiples of kLanes columns, and so do ranges at multiples of
/// 8 * kLanes.
template <int kBits>
struct FieldCodes {
  static constexpr bool kHasTable = kBits <= 5;

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const RowScales& scales, std::int64_t n, std::int64_t begin,
                   std::int64_t end, Sink& sink) {
    const std::byte* row = w.codes + n * w.row_bytes;
    const std::byte* plane4 = row;
    const std::byte* plane2 = plane4 + ((kBits & 4) != 0 ? plane_bytes(w.columns, 4) : 0);
    const std::byte* plane1 = plane2 + ((kBits & 2) != 0 ? plane_bytes(w.columns, 2) : 0);
    Reader reader{w, scales, begin, {}, {}};
    constexpr std::int64_t kGroup = 8 * kLanes;
    for (std::int64_t k = begin; k < end; k += kGroup) {
      const std::int64_t u = k / kGroup;
      Fields fields;
      if constexpr ((kBits & 4) != 0) fields.four = Simd::load_words(plane4 + u * kLanes * 4);
      if constexpr ((kBits & 2) != 0) {
        fields.two = Simd::load_words(plane2 + u / 2 * kLanes * 4);
        if (u % 2 != 0) fields.two = Simd::shift_right(fields.two, 16);
      }
      if constexpr ((kBits & 1) != 0) {
        fields.one = Simd::load_words(plane1 + u / 4 * kLanes * 4);
        if (u % 4 != 0) fields.one = Simd::shift_right(fields.one, static_cast<int>(u % 4) * 8);
      }
      if (k >= reader.next_block) reader.start_block(k);
      if (k + kGroup <= end && reader.next_block >= k + kGroup) {
        whole_group(reader, fields, k, sink);
      } else {
        group(reader, fields, k, end, sink);
      }
    }
  }

 private:
  struct Fields {
    Simd::Words four, two, one;
  };

  struct Reader {
    const CodeRows& w;
    const RowScales& scales;
    std::int64_t next_block;  ///< First column of the block after the table's.
    Simd::Table table;
    Floats scale_and_zero[2];

    TORCHAO_CPP_ALWAYS_INLINE void start_block(std::int64_t k) {
      if (!w.is_scaled) {
        next_block = w.columns;
        if constexpr (kHasTable) {
          for (int i = 0; i < Simd::table_vectors(kBits); ++i)
            Simd::set_table(table, i, Simd::load(w.code_values + i * kLanes));
        }
        return;
      }
      const std::int64_t block = w.blocks_per_row == 1 ? 0 : k / w.block_columns;
      next_block = w.blocks_per_row == 1 ? w.columns : (block + 1) * w.block_columns;
      const BlockScale s(scales, block, 1.0f);
      if constexpr (kHasTable) {
        for (int i = 0; i < Simd::table_vectors(kBits); ++i) {
          const Floats code = Simd::load(w.code_values + i * kLanes);
          Simd::set_table(table, i, rounded(w.rounding, scaled(w.zero_kind, code, s)));
        }
      } else {
        scale_and_zero[0] = s.scale;
        scale_and_zero[1] = s.zero;
      }
    }

    TORCHAO_CPP_ALWAYS_INLINE Floats value(Simd::Words index) const {
      if constexpr (kHasTable) {
        return Simd::look_up<kBits>(table, index);
      } else {
        Floats code = Simd::sub(Simd::to_floats(index, (1 << kBits) - 1), Simd::set1(w.code_offset));
        if (!w.is_scaled) return code;
        if (w.zero_kind == CodeZero::kInt) code = Simd::sub(code, scale_and_zero[1]);
        Floats v = Simd::mul(code, scale_and_zero[0]);
        if (w.zero_kind == CodeZero::kFloat) v = Simd::add(v, scale_and_zero[1]);
        return rounded(w.rounding, v);
      }
    }
  };

  /// Codes of columns j * kLanes .. of a group in the low bits of the lanes; garbage above.
  template <int kJ>
  TORCHAO_CPP_ALWAYS_INLINE static Simd::Words index(const Fields& f) {
    Simd::Words out{};
    if constexpr ((kBits & 4) != 0) out = Simd::shift_right(f.four, 4 * kJ);
    if constexpr ((kBits & 2) != 0) {
      if constexpr ((kBits & 4) != 0) {
        // The two bits belong above the four.
        constexpr int kShift = 2 * kJ - 4;
        const Simd::Words two =
            kShift >= 0 ? Simd::shift_right(f.two, kShift) : Simd::shift_left(f.two, -kShift);
        out = Simd::select_bits(0xF, out, two);
      } else {
        out = Simd::shift_right(f.two, 2 * kJ);
      }
    }
    if constexpr ((kBits & 1) != 0) {
      constexpr int kAt = kBits & 6;  // Where the bit belongs.
      constexpr int kShift = kJ - kAt;
      const Simd::Words one =
          kShift >= 0 ? Simd::shift_right(f.one, kShift) : Simd::shift_left(f.one, -kShift);
      out = kAt == 0 ? one : Simd::select_bits((1 << kAt) - 1, out, one);
    }
    return out;
  }

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void whole_group(Reader& reader, const Fields& f, std::int64_t k, Sink& sink) {
    sink.template step<0>(k, reader.value(index<0>(f)));
    sink.template step<1>(k + kLanes, reader.value(index<1>(f)));
    sink.template step<2>(k + 2 * kLanes, reader.value(index<2>(f)));
    sink.template step<3>(k + 3 * kLanes, reader.value(index<3>(f)));
    sink.template step<0>(k + 4 * kLanes, reader.value(index<4>(f)));
    sink.template step<1>(k + 5 * kLanes, reader.value(index<5>(f)));
    sink.template step<2>(k + 6 * kLanes, reader.value(index<6>(f)));
    sink.template step<3>(k + 7 * kLanes, reader.value(index<7>(f)));
  }

  template <int kStep, typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void step(Reader& reader, const Fields& f, std::int64_t k,
                                             std::int64_t end, Sink& sink) {
    if (k >= reader.next_block) reader.start_block(k);
    const Floats v = reader.value(index<kStep>(f));
    if (k + kLanes <= end) {
      sink.template step<kStep>(k, v);
    } else {
      sink.step_first(k, v, end - k);
    }
  }

  /// Blocks may begin, and the row may end, at any step.
  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void group(Reader& reader, Fields f, std::int64_t k,
                                              std::int64_t end, Sink& sink) {
    const std::int64_t stop = smaller(end, k + 8 * kLanes);
    for (; k < stop; k += 2 * kLanes) {
      step<0>(reader, f, k, end, sink);
      if (k + kLanes < stop) step<1>(reader, f, k + kLanes, end, sink);
      if constexpr ((kBits & 4) != 0) f.four = Simd::shift_right(f.four, 8);
      if constexpr ((kBits & 2) != 0) f.two = Simd::shift_right(f.two, 4);
      if constexpr ((kBits & 1) != 0) f.one = Simd::shift_right(f.one, 2);
    }
  }
};

/// Calls fn.template operator()<Codes>() with the class that reads `w`.
template <typename F>
void with_codes(const CodeRows& w, const F& fn) {
  using Form = CodeForm;
  using Rounding = ValueRounding;
  const auto whole = [&]<Form kForm>() {
    if (!w.is_scaled) return fn.template operator()<WholeCodes<kForm, false, Rounding::kNone>>();
    switch (w.rounding) {
      case Rounding::kBFloat16:
        return fn.template operator()<WholeCodes<kForm, true, Rounding::kBFloat16>>();
      case Rounding::kFloat16:
        return fn.template operator()<WholeCodes<kForm, true, Rounding::kFloat16>>();
      default:
        return fn.template operator()<WholeCodes<kForm, true, Rounding::kNone>>();
    }
  };
  switch (w.form) {
    case Form::kFloat32:
      return fn.template operator()<WholeCodes<Form::kFloat32, false, Rounding::kNone>>();
    case Form::kFloat16:
      return fn.template operator()<WholeCodes<Form::kFloat16, false, Rounding::kNone>>();
    case Form::kBFloat16:
      return fn.template operator()<WholeCodes<Form::kBFloat16, false, Rounding::kNone>>();
    case Form::kInt8:
      return whole.template operator()<Form::kInt8>();
    case Form::kFloat8E4M3:
      return whole.template operator()<Form::kFloat8E4M3>();
    case Form::kFloat8E5M2:
      return whole.template operator()<Form::kFloat8E5M2>();
    case Form::kFloat6E2M3:
      return whole.template operator()<Form::kFloat6E2M3>();
    case Form::kFloat6E3M2:
      return whole.template operator()<Form::kFloat6E3M2>();
    case Form::kFields:
      break;
  }
  switch (w.bits) {
    case 1:
      return fn.template operator()<FieldCodes<1>>();
    case 2:
      return fn.template operator()<FieldCodes<2>>();
    case 3:
      return fn.template operator()<FieldCodes<3>>();
    case 4:
      return fn.template operator()<FieldCodes<4>>();
    case 5:
      return fn.template operator()<FieldCodes<5>>();
    case 6:
      return fn.template operator()<FieldCodes<6>>();
    default:
      return fn.template operator()<FieldCodes<7>>();
  }
}

}  // namespace
}  // namespace torchao_cpp
