// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rows of CodeRows as vectors of float32, for the instruction set of the Simd that was included
// before. Everything is in the including file's unnamed namespace; see simd/simd_avx512.h.

#include <cstring>

#include "kernels/float_product/code_rows.h"
#include "kernels/simd/simd_epilogue.h"

namespace torchao_cpp {
namespace {

/// kDotAhead for `columns` columns of one row after the other: whole rows.
inline std::int64_t dot_bytes_ahead(const CodeRows& w, std::int64_t columns) {
  if (w.columns <= columns) return kDotAhead;
  const std::int64_t bytes = w.row_bytes * columns / w.columns;
  return (kDotAhead + bytes - 1) / bytes * w.row_bytes;
}

/// log2 of the columns that 64 bytes of a row hold; -1: they lie in several planes.
inline int line_shift(const CodeRows& w) {
  switch (w.form) {
    case CodeForm::kFloat32:
      return 4;
    case CodeForm::kFloat16:
    case CodeForm::kBFloat16:
      return 5;
    case CodeForm::kFields:
      return w.bits == 4 ? 7 : w.bits == 2 ? 8 : w.bits == 1 ? 9 : -1;
    default:
      return 6;
  }
}

using Floats = Simd::Floats;
constexpr int kLanes = Simd::kLanes;
/// Vectors of one step of a row; sinks may keep a sum for each.
constexpr int kUnroll = 4;

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

/// Scales (and zero points) of one weight row as float32.
struct RowScales {
  const float* scale;
  const float* zero;
};

/// Floats that read_scales() needs.
inline std::int64_t scale_floats(const CodeRows& w) {
  return w.is_scaled ? 2 * rounded_up(w.blocks_per_row, kLanes) : 0;
}

inline void widen_scales(const CodeRows& w, const void* from, std::int64_t first,
                         std::int64_t count, float* out) {
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

/// Of columns begin .. end of row n; block b of the row is at [b].
inline RowScales read_scales(const CodeRows& w, std::int64_t n, std::int64_t begin,
                             std::int64_t end, float* scratch) {
  if (!w.is_scaled) return {nullptr, nullptr};
  const bool has_zero = w.zero_kind != CodeZero::kNone;
  const std::int64_t row = n / w.block_rows * w.blocks_per_row;
  if (w.scale_form == ScaleForm::kFloat32) {
    return {static_cast<const float*>(w.scale) + row,
            has_zero ? static_cast<const float*>(w.zero) + row : nullptr};
  }
  const bool is_one = w.blocks_per_row == 1;
  const std::int64_t first = is_one ? 0 : begin / w.block_columns;
  const std::int64_t count = (is_one ? 1 : (end - 1) / w.block_columns + 1) - first;
  float* zeros = scratch + rounded_up(w.blocks_per_row, kLanes);
  widen_scales(w, w.scale, row + first, count, scratch + first);
  if (has_zero) widen_scales(w, w.zero, row + first, count, zeros + first);
  return {scratch, has_zero ? zeros : nullptr};
}

/// Bytes of a plane of fields of `width` bits.
inline std::int64_t plane_bytes(std::int64_t columns, int width) {
  const std::int64_t group_columns = kLanes * (32 / width);
  return (columns + group_columns - 1) / group_columns * kLanes * 4;
}

/// One value, in plain code: for the columns at the end of a row that fill no vector.
[[maybe_unused, gnu::noinline]] float value_at(const CodeRows& w, const RowScales& scales,
                                               std::int64_t n, std::int64_t k) {
  const std::byte* row = w.codes + n * w.row_bytes;
  alignas(64) float buffer[kLanes] = {};
  float v = 0.0f;
  const auto whole = [&]<CodeForm kForm>() {
    constexpr std::int64_t kBytes = code_bytes<kForm>();
    alignas(64) std::byte code[kLanes * 4] = {};
    std::memcpy(code, row + k * kBytes, static_cast<std::size_t>(kBytes));
    Simd::store(buffer, load_codes<kForm>(code));
    v = buffer[0] * form_factor<kForm>();
  };
  switch (w.form) {
    case CodeForm::kFloat32:
      whole.template operator()<CodeForm::kFloat32>();
      break;
    case CodeForm::kFloat16:
      whole.template operator()<CodeForm::kFloat16>();
      break;
    case CodeForm::kBFloat16:
      whole.template operator()<CodeForm::kBFloat16>();
      break;
    case CodeForm::kInt8:
      whole.template operator()<CodeForm::kInt8>();
      break;
    case CodeForm::kFloat8E4M3:
      whole.template operator()<CodeForm::kFloat8E4M3>();
      break;
    case CodeForm::kFloat8E5M2:
      whole.template operator()<CodeForm::kFloat8E5M2>();
      break;
    case CodeForm::kFloat6E2M3:
      whole.template operator()<CodeForm::kFloat6E2M3>();
      break;
    case CodeForm::kFloat6E3M2:
      whole.template operator()<CodeForm::kFloat6E3M2>();
      break;
    case CodeForm::kFields: {
      int code = 0;
      int at = 0;
      for (int width = 4; width > 0; width /= 2) {
        if ((w.bits & width) == 0) continue;
        const std::int64_t fields = 32 / width;
        const std::int64_t word = k / (fields * kLanes) * kLanes + k % kLanes;
        std::uint32_t bits = 0;
        std::memcpy(&bits, row + word * 4, sizeof(bits));
        bits >>= static_cast<int>(k / kLanes % fields) * width;
        code |= static_cast<int>(bits & ((1u << width) - 1u)) << at;
        at += width;
        row += plane_bytes(w.columns, width);
      }
      v = w.bits <= 5 ? w.code_values[code] : static_cast<float>(code) - w.code_offset;
      break;
    }
  }
  if (!w.is_scaled) return v;
  const std::int64_t block = w.blocks_per_row == 1 ? 0 : k / w.block_columns;
  const float zero = scales.zero == nullptr ? 0.0f : scales.zero[block];
  v = w.zero_kind == CodeZero::kFloat ? v * scales.scale[block] + zero
                                      : (v - zero) * scales.scale[block];
  Simd::store(buffer, rounded(w.rounding, Simd::set1(v)));
  return buffer[0];
}

/// Hands columns k .. end, fewer than a reader takes at a time, to the sink.
template <typename Sink>
TORCHAO_CPP_ALWAYS_INLINE void read_rest(const CodeRows& w, const RowScales& scales, std::int64_t n,
                                         std::int64_t k, std::int64_t end, Sink& sink) {
  while (k < end) {
    const std::int64_t count = smaller(kLanes, end - k);
    alignas(64) float values[kLanes] = {};
    for (std::int64_t i = 0; i < count; ++i) values[i] = value_at(w, scales, n, k + i);
    sink.step_first(k, Simd::load(values), count);
    k += count;
  }
}

/// Whole-byte codes. Scaled ones are (code - zero) * scale; other zero points are not offered.
/// kIsBFloat16: the rounding of a scaled value is known to be that one.
template <CodeForm kForm, bool kIsScaled, bool kIsBFloat16>
struct WholeCodes {
  /// Calls sink.step<u>(k, v) for each kLanes columns from k, u < kUnroll, and
  /// sink.step_first(k, v, count) for fewer. `ahead`: bytes from what is read to what will be.
  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const RowScales& scales,
                                             std::int64_t n, std::int64_t begin, std::int64_t end,
                                             std::int64_t ahead, Sink& sink) {
    constexpr std::int64_t kBytes = code_bytes<kForm>();
    const std::byte* row = w.codes + n * w.row_bytes;
    for (std::int64_t k = begin; k < end;) {
      std::int64_t stop = end;
      Floats scale{}, zero{};
      if constexpr (kIsScaled) {
        const std::int64_t block = w.blocks_per_row == 1 ? 0 : k / w.block_columns;
        stop = w.blocks_per_row == 1 ? end : smaller(end, (block + 1) * w.block_columns);
        scale = Simd::set1(scales.scale[block] * form_factor<kForm>());
        if constexpr (kForm == CodeForm::kInt8)
          zero = Simd::set1(scales.zero == nullptr ? 0.0f : scales.zero[block]);
      }
      const auto value = [&](std::int64_t column) __attribute__((always_inline)) {
        Floats code = load_codes<kForm>(row + column * kBytes);
        if constexpr (!kIsScaled) {
          if constexpr (form_factor<kForm>() == 1.0f) return code;
          return Simd::mul(code, Simd::set1(form_factor<kForm>()));
        } else {
          if constexpr (kForm == CodeForm::kInt8) code = Simd::sub(code, zero);
          return rounded(kIsBFloat16 ? ValueRounding::kBFloat16 : w.rounding,
                         Simd::mul(code, scale));
        }
      };
      for (; k + kUnroll * kLanes <= stop; k += kUnroll * kLanes) {
        for (std::int64_t line = 0; line < kUnroll * kLanes * kBytes; line += 64)
          prefetch_far(row + k * kBytes + ahead + line);
        sink.template step<0>(k, value(k));
        sink.template step<1>(k + kLanes, value(k + kLanes));
        sink.template step<2>(k + 2 * kLanes, value(k + 2 * kLanes));
        sink.template step<3>(k + 3 * kLanes, value(k + 3 * kLanes));
      }
      for (; k + kLanes <= stop; k += kLanes) sink.template step<0>(k, value(k));
      read_rest(w, scales, n, k, stop, sink);
      k = stop;
    }
  }
};

/// Packed fields. Blocks begin at multiples of kLanes columns, and so do ranges at multiples of
/// 8 * kLanes. kSteps vectors (1, 2 or 8) lie in one block.
template <int kBits, int kSteps>
struct FieldCodes {
  static constexpr bool kHasTable = kBits <= 5;

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const RowScales& scales,
                                             std::int64_t n, std::int64_t begin, std::int64_t end,
                                             std::int64_t ahead, Sink& sink) {
    const std::byte* row = w.codes + n * w.row_bytes;
    const std::byte* plane4 = row;
    const std::byte* plane2 = plane4 + ((kBits & 4) != 0 ? plane_bytes(w.columns, 4) : 0);
    const std::byte* plane1 = plane2 + ((kBits & 2) != 0 ? plane_bytes(w.columns, 2) : 0);
    Reader reader(w, scales, begin);
    constexpr std::int64_t kGroup = 8 * kLanes;
    constexpr std::int64_t kWordBytes = kLanes * 4;
    std::int64_t k = begin;
    for (; k + kGroup <= end; k += kGroup) {
      const std::int64_t u = k / kGroup;
      Fields fields;
      if constexpr ((kBits & 4) != 0) {
        fields.four = Simd::load_words(plane4 + u * kWordBytes);
        prefetch_far(plane4 + u * kWordBytes + ahead);
      }
      if constexpr ((kBits & 2) != 0) {
        fields.two = Simd::load_words(plane2 + u / 2 * kWordBytes);
        prefetch_far(plane2 + u / 2 * kWordBytes + ahead);
        if (u % 2 != 0) fields.two = Simd::shift_right(fields.two, 16);
      }
      if constexpr ((kBits & 1) != 0) {
        fields.one = Simd::load_words(plane1 + u / 4 * kWordBytes);
        prefetch_far(plane1 + u / 4 * kWordBytes + ahead);
        if (u % 4 != 0) fields.one = Simd::shift_right(fields.one, static_cast<int>(u % 4) * 8);
      }
      steps<0>(reader, fields, k, sink);
    }
    read_rest(w, scales, n, k, end, sink);
  }

 private:
  struct Fields {
    Simd::Words four, two, one;
  };

  struct Reader {
    const float* scale;
    const float* zero;
    Floats codes[kHasTable ? Simd::table_vectors(kBits) : 1];
    ValueRounding rounding;
    bool is_zero_float;
    bool is_scaled;
    int per_block;  ///< Runs of kSteps vectors in a block.
    int left = 0;   ///< Of them in the current block.
    Simd::Table table;
    Floats scale_vector, zero_vector;

    TORCHAO_CPP_ALWAYS_INLINE Reader(const CodeRows& w, const RowScales& scales, std::int64_t begin)
        : rounding(w.rounding),
          is_zero_float(w.zero_kind == CodeZero::kFloat),
          is_scaled(w.is_scaled) {
      constexpr std::int64_t kRun = std::int64_t{kSteps} * kLanes;
      if constexpr (kHasTable) {
        for (int i = 0; i < Simd::table_vectors(kBits); ++i)
          codes[i] = Simd::load(w.code_values + i * kLanes);
      } else {
        codes[0] = Simd::set1(w.code_offset);
      }
      const bool is_one_block = !w.is_scaled || w.blocks_per_row == 1;
      const std::int64_t block = is_one_block ? 0 : begin / w.block_columns;
      scale = scales.scale + block;
      zero = scales.zero == nullptr ? nullptr : scales.zero + block;
      per_block =
          static_cast<int>((is_one_block ? rounded_up(w.columns, kRun) : w.block_columns) / kRun);
      start_block();
      // The range may begin inside a block.
      left = per_block - static_cast<int>((begin - block * w.block_columns) / kRun);
      if (is_one_block) left = per_block;
    }

    TORCHAO_CPP_ALWAYS_INLINE void next_run() {
      if (left == 0) {
        start_block();
        left = per_block;
      }
      --left;
    }

    TORCHAO_CPP_ALWAYS_INLINE void start_block() {
      if (!is_scaled) {
        for (int i = 0; kHasTable && i < Simd::table_vectors(kBits); ++i)
          Simd::set_table(table, i, codes[i]);
        return;
      }
      scale_vector = Simd::set1(*scale++);
      zero_vector = Simd::set1(zero == nullptr ? 0.0f : *zero++);
      for (int i = 0; kHasTable && i < Simd::table_vectors(kBits); ++i)
        Simd::set_table(table, i, scaled(codes[i]));
    }

    TORCHAO_CPP_ALWAYS_INLINE Floats scaled(Floats code) const {
      // A zero point of 0 changes nothing in either form.
      const Floats v = is_zero_float ? Simd::add(Simd::mul(code, scale_vector), zero_vector)
                                     : Simd::mul(Simd::sub(code, zero_vector), scale_vector);
      return rounded(rounding, v);
    }

    TORCHAO_CPP_ALWAYS_INLINE Floats value(Simd::Words index) const {
      if constexpr (kHasTable) {
        return Simd::look_up<kBits>(table, index);
      } else {
        const Floats code = Simd::sub(Simd::to_floats(index, (1 << kBits) - 1), codes[0]);
        return is_scaled ? scaled(code) : code;
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

  template <int kJ, typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void steps(Reader& reader, const Fields& f, std::int64_t k,
                                              Sink& sink) {
    if constexpr (kJ % kSteps == 0) reader.next_run();
    sink.template step<kJ % kUnroll>(k + kJ * kLanes, reader.value(index<kJ>(f)));
    if constexpr (kJ < 7) steps<kJ + 1>(reader, f, k, sink);
  }
};

template <CodeForm kForm, typename F>
void with_scaling(const CodeRows& w, const F& fn) {
  if (!w.is_scaled) return fn.template operator()<WholeCodes<kForm, false, false>>();
  // The formats that are met most get a loop of their own.
  if constexpr (kForm == CodeForm::kInt8 || kForm == CodeForm::kFloat8E4M3) {
    if (w.rounding == ValueRounding::kBFloat16)
      return fn.template operator()<WholeCodes<kForm, true, true>>();
  }
  fn.template operator()<WholeCodes<kForm, true, false>>();
}

template <int kBits, typename F>
void with_steps(const CodeRows& w, const F& fn) {
  const std::int64_t vectors = !w.is_scaled || w.blocks_per_row == 1 ? 8 : w.block_columns / kLanes;
  if (vectors % 8 == 0) return fn.template operator()<FieldCodes<kBits, 8>>();
  if (vectors % 2 == 0) return fn.template operator()<FieldCodes<kBits, 2>>();
  return fn.template operator()<FieldCodes<kBits, 1>>();
}

/// Calls fn.template operator()<Codes>() with the class that reads `w`.
template <typename F>
void with_codes(const CodeRows& w, const F& fn) {
  using Form = CodeForm;
  switch (w.form) {
    case Form::kFloat32:
      return fn.template operator()<WholeCodes<Form::kFloat32, false, false>>();
    case Form::kFloat16:
      return fn.template operator()<WholeCodes<Form::kFloat16, false, false>>();
    case Form::kBFloat16:
      return fn.template operator()<WholeCodes<Form::kBFloat16, false, false>>();
    case Form::kInt8:
      return with_scaling<Form::kInt8>(w, fn);
    case Form::kFloat8E4M3:
      return with_scaling<Form::kFloat8E4M3>(w, fn);
    case Form::kFloat8E5M2:
      return with_scaling<Form::kFloat8E5M2>(w, fn);
    case Form::kFloat6E2M3:
      return with_scaling<Form::kFloat6E2M3>(w, fn);
    case Form::kFloat6E3M2:
      return with_scaling<Form::kFloat6E3M2>(w, fn);
    case Form::kFields:
      break;
  }
  switch (w.bits) {
    case 1:
      return with_steps<1>(w, fn);
    case 2:
      return with_steps<2>(w, fn);
    case 3:
      return with_steps<3>(w, fn);
    case 4:
      return with_steps<4>(w, fn);
    case 5:
      return with_steps<5>(w, fn);
    case 6:
      return with_steps<6>(w, fn);
    default:
      return with_steps<7>(w, fn);
  }
}

}  // namespace
}  // namespace torchao_cpp
