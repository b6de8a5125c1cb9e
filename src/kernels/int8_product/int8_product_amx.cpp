// SPDX-License-Identifier: Apache-2.0
// Few rows of x as AVX-512 VNNI takes them; many in tiles: 16 weight rows of 64 codes are the left
// operand as they lie, x the right one.
#include "kernels/simd/bytes_avx512_vnni.h"

#include "kernels/int8_product/amx_packed_x.h"
#include "kernels/int8_product/simd_int8_product.h"
#include "kernels/simd/amx_gemm.h"

namespace torchao_cpp {
namespace {

std::int64_t scratch_bytes(std::int64_t m, std::int64_t) noexcept {
  return m <= kDotRows ? 0 : amx_scratch_bytes(m);
}

/// Rows of a panel for amx_gemm(); zeros past the last column.
class TileReader {
 public:
  TileReader(const Int8Rows& w, std::int64_t n0, std::int64_t count)
      : rows_(w.codes + n0 * w.columns), columns_(w.columns), panel_rows_(count) {}

  void begin(std::int64_t row, std::int64_t, std::int64_t t0, std::int64_t tiles,
             const std::byte*) {
    const std::int64_t k0 = t0 * kBytes;
    from_ = rows_ + row * columns_ + k0;
    left_ = smaller(columns_ - k0, tiles * kBytes);
    // The next run of the same rows; at the end of the rows the first run of the next panel.
    ahead_ = k0 + left_ < columns_ ? left_ : panel_rows_ * columns_ - k0;
  }
  TORCHAO_CPP_ALWAYS_INLINE void read(std::int64_t i, std::byte* out) const {
    const std::int8_t* from = from_ + i * columns_;
    std::int64_t k = 0;
    for (; k + kBytes <= left_; k += kBytes, out += kAmxBytes) {
      prefetch_far(from + k + ahead_);
      SimdBytes::store(out, SimdBytes::load(from + k));
    }
    if (k < left_) SimdBytes::store(out, SimdBytes::load_first(from + k, left_ - k));
  }

 private:
  const std::int8_t* rows_;
  std::int64_t columns_, panel_rows_;
  const std::int8_t* from_ = nullptr;
  std::int64_t left_ = 0, ahead_ = 0;
};

void multiply(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
              std::int64_t m, std::byte* scratch, std::int32_t* sums) noexcept {
  if (m <= kDotRows) return dot(w, n0, count, x, m, sums);
  TileReader reader(w, n0, count);
  amx_gemm<AmxBlock<Int8TileDot>>(count, m, AmxPackedX::tiles(w.columns), x, scratch, reader);
  amx_take_sums(scratch, m, count, 0, m, reinterpret_cast<float*>(sums));
}

constexpr Int8Product kInt8Product{kXOffset,          kAmxPanelRows,    AmxPackedX::packed_bytes,
                                   AmxPackedX::units, AmxPackedX::pack, scratch_bytes,
                                   multiply,          finish_sums,      kAmxRows};

}  // namespace

const Int8Product& int8_product_amx_functions() noexcept { return kInt8Product; }

}  // namespace torchao_cpp
