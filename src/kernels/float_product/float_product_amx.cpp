// SPDX-License-Identifier: Apache-2.0
// Operands that are values of bfloat16, sums in float32. Few rows of x: dot products of AVX-512.
// Many: in tiles; 16 weight rows of 32 columns are the left operand, taken apart block by block; x
// is the right one, [16 rows of x][K / 32][16][16 rows of x][2], K in steps of 64.
#include "kernels/simd/simd_avx512.h"

#include "kernels/float_product/pair_code_reader.h"
#include "kernels/float_product/simd_products.h"
#include "kernels/simd/amx_gemm.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kAmxColumns = 32;
std::int64_t tiles_along(std::int64_t columns) {
  return rounded_up(columns, kPairColumns) / kAmxColumns;
}
std::int64_t amx_panels(std::int64_t m) noexcept { return amx_tiles(m); }

std::int64_t amx_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return amx_tiles(m) * tiles_along(columns) * kAmxBytes;
}

std::int64_t scale_bytes(const CodeRows& w) { return pair_row_floats(w) * 4; }

// In floats, as all of a FloatProduct's scratch.
std::int64_t amx_scratch(const CodeRows& w, std::int64_t m) noexcept {
  return (scale_bytes(w) + amx_scratch_bytes(m)) / 4;
}

template <CodeForm kForm>
void pack_tiles(const CodeRows& w, const std::byte* x, std::int64_t m, std::int64_t panel,
                std::byte* packed) {
  const PairOrder order = pair_order(w);
  const std::int64_t m0 = panel * kAmxRows, all_tiles = tiles_along(w.columns);
  static_assert(kAmxRunTiles % 2 == 0, "the two tiles of a step are neighbours");
  for (std::int64_t k = 0; k < w.columns; k += kPairColumns) {
    std::byte* out = packed + amx_x_offset(m, all_tiles, panel, k / kAmxColumns);
    // A tile is the transpose of 16 rows of 16 pairs.
    Floats v[2][kAmxRows];
    transpose_x<kForm>(x + m0 * w.columns * code_bytes<kForm>(), m - m0, w.columns, k, order, v[0],
                       v[1]);
    for (int i = 0; i < 2 * kAmxRows; ++i)
      _mm512_storeu_ps(out + i * kAmxRowBytes, v[i / kAmxRows][i % kAmxRows]);
  }
}

void amx_pack_x(const CodeRows& w, const void* x, CodeForm form, std::int64_t m, std::int64_t panel,
                void* packed) noexcept {
  const auto* from = static_cast<const std::byte*>(x);
  auto* const to = static_cast<std::byte*>(packed);
  if (form == CodeForm::kBFloat16) {
    pack_tiles<CodeForm::kBFloat16>(w, from, m, panel, to);
  } else {
    pack_tiles<CodeForm::kFloat32>(w, from, m, panel, to);
  }
}

/// A row into its row of the tiles.
struct TileSink {
  std::byte* out;  ///< Of column 0.

  TORCHAO_CPP_ALWAYS_INLINE static void prefetch(const std::byte* p) { prefetch_far(p); }
  TORCHAO_CPP_ALWAYS_INLINE void step(std::int64_t k, const Pairs (&v)[1][2]) {
    std::byte* to = out + k / kAmxColumns * kAmxBytes;
    _mm512_storeu_si512(to, v[0][0]);
    _mm512_storeu_si512(to + kAmxBytes, v[0][1]);
  }
};

/// Rows of a panel, taken apart for amx_gemm(); zeros past the last column.
template <typename Codes>
class TileReader {
 public:
  /// The rows of the panel are n0 .. n0 + count.
  TileReader(const CodeRows& w, std::int64_t n0, std::int64_t count, std::byte* tables)
      : w_(w), panel_(n0), panel_rows_(count), tables_(tables), range_(w, 0, 1) {}

  void begin(std::int64_t row, std::int64_t count, std::int64_t t0, std::int64_t tiles,
             const std::byte*) {
    row_ = panel_ + row;
    count_ = count;
    const std::int64_t k0 = t0 * kAmxColumns, k1 = (t0 + tiles) * kAmxColumns;
    range_ = PairRange(w_, k0, smaller(w_.columns, k1));
    // The next run of the same rows; at the end of the rows the first run of the next panel.
    const std::int64_t column_bytes = w_.row_bytes * kAmxColumns;
    ahead_ = k1 < w_.columns ? tiles * column_bytes / w_.columns
                             : panel_rows_ * w_.row_bytes - t0 * column_bytes / w_.columns;
    scales_ = prepare(0);
  }
  // Tables of the row after this one are made before it is read: they have left the store buffer by
  // then.
  [[gnu::noinline]] void read(std::int64_t i, std::byte* out) {
    const Scales scales[1] = {scales_};
    if (i + 1 < count_) scales_ = prepare(i + 1);
    TileSink sink{out - range_.begin / kAmxColumns * kAmxBytes};
    read_rows<Codes>(w_, scales, row_ + i, range_, ahead_, sink);
  }

 private:
  using Scales = typename Codes::Scales;
  Scales prepare(std::int64_t i) {
    return Codes::prepare(w_, row_ + i, range_, tables_ + i % 2 * pair_table_bytes(w_));
  }

  const CodeRows& w_;
  std::int64_t panel_, panel_rows_;
  std::byte* tables_;
  PairRange range_;
  std::int64_t row_ = 0, count_ = 0, ahead_ = 0;
  Scales scales_{};
};

template <typename Codes>
[[gnu::noinline]] void multiply_tiles(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                      const std::byte* x, std::int64_t m, float* scales) {
  auto* const tables = reinterpret_cast<std::byte*>(scales);
  std::byte* const scratch = tables + scale_bytes(w);
  TileReader<Codes> reader(w, n0, count, tables);
  amx_gemm<AmxBlock<BFloat16TileDot>>(count, m, tiles_along(w.columns), x, scratch, reader);
}

void gemm_in_tiles(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* packed_x,
                   std::int64_t m, float* scratch) noexcept {
  with_pair_codes(w, [&]<typename Codes>() {
    multiply_tiles<Codes>(w, n0, count, static_cast<const std::byte*>(packed_x), m, scratch);
  });
}

void take_sums(const CodeRows& w, std::int64_t count, std::int64_t m, const float* scratch,
               std::int64_t m0, std::int64_t rows, float* sums) noexcept {
  amx_take_sums(reinterpret_cast<const std::byte*>(scratch) + scale_bytes(w), m, count, m0, rows,
                sums);
}

// Few rows: as without AMX.
const FloatProduct& without_amx() noexcept { return float_product_avx512_bf16_functions(); }

std::int64_t dot_scratch(const CodeRows& w) noexcept { return without_amx().dot_scratch(w); }

std::int64_t dot_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return without_amx().dot_x_bytes(m, columns);
}

void pack_dot_x(const CodeRows& w, const void* x, CodeForm form, std::int64_t m,
                void* packed) noexcept {
  without_amx().pack_dot_x(w, x, form, m, packed);
}

void dot(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* x, std::int64_t m,
         float* scratch, float* sums) noexcept {
  without_amx().dot(w, n0, count, x, m, scratch, sums);
}

// From more rows on, tiles are faster.
constexpr std::int64_t kAmxFewRows = 4;

constexpr FloatProduct kAmxProduct{.lanes = kFieldLanes,
                                   .lane_bytes = 1,
                                   .takes_bfloat16 = true,
                                   .dot_rows = kAmxFewRows,
                                   .gemm_rows = kAmxPanelRows,
                                   .gemm_unit = kAmxRows,
                                   .dot_scratch = dot_scratch,
                                   .gemm_scratch = amx_scratch,
                                   .dot_x_bytes = dot_x_bytes,
                                   .pack_dot_x = pack_dot_x,
                                   .dot = dot,
                                   .packed_x_bytes = amx_x_bytes,
                                   .x_panels = amx_panels,
                                   .pack_x = amx_pack_x,
                                   .gemm = gemm_in_tiles,
                                   .take_sums = take_sums,
                                   .finish = finish_sums};

}  // namespace

const FloatProduct& float_product_amx_functions() noexcept { return kAmxProduct; }

}  // namespace torchao_cpp
