// SPDX-License-Identifier: Apache-2.0
#include "kernels/code_planes.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/parallel.h"
#include "base/vector_clones.h"

namespace torchao_cpp {
namespace {

template <typename Lane>
[[gnu::always_inline]] inline void pack_plane(const CodePlanes::Plane& plane, int lanes,
                                              const std::uint8_t* codes, std::int64_t columns,
                                              std::byte* row) noexcept {
  const std::int64_t fields = static_cast<std::int64_t>(sizeof(Lane)) * 8 / plane.width;
  const std::uint32_t mask = (1u << plane.width) - 1u;
  auto* const words = reinterpret_cast<Lane*>(row + plane.offset_bytes);
  for (std::int64_t k = 0; k < columns; k += lanes) {
    const std::int64_t j = k / lanes;
    Lane* const word = words + j / fields * lanes;
    const int shift = static_cast<int>(j % fields) * plane.width;
    const std::int64_t count = std::min<std::int64_t>(lanes, columns - k);
    for (std::int64_t l = 0; l < count; ++l) {
      const std::uint32_t field = static_cast<std::uint32_t>(codes[k + l]) >> plane.first_bit & mask;
      word[l] = static_cast<Lane>(word[l] | field << shift);
    }
  }
}

TORCHAO_CPP_VECTOR_CLONES void pack_bytes(const CodePlanes::Plane& plane, int lanes,
                                          const std::uint8_t* codes, std::int64_t columns,
                                          std::byte* row) noexcept {
  pack_plane<std::uint8_t>(plane, lanes, codes, columns, row);
}

TORCHAO_CPP_VECTOR_CLONES void pack_words(const CodePlanes::Plane& plane, int lanes,
                                          const std::uint8_t* codes, std::int64_t columns,
                                          std::byte* row) noexcept {
  pack_plane<std::uint32_t>(plane, lanes, codes, columns, row);
}

}  // namespace

CodePlanes::CodePlanes(int bits, int lanes, int lane_bytes, std::int64_t columns)
    : lanes_(lanes), lane_bytes_(lane_bytes), columns_(columns) {
  int first_bit = 0;
  for (const int width : {4, 2, 1}) {
    if ((bits & width) == 0) continue;
    planes_.push_back({width, first_bit, row_bytes_});
    first_bit += width;
    const std::int64_t word_columns = std::int64_t{lanes} * (lane_bytes * 8 / width);
    row_bytes_ += (columns + word_columns - 1) / word_columns * lanes * lane_bytes;
  }
}

void CodePlanes::pack(const std::uint8_t* codes, std::byte* row) const noexcept {
  for (const Plane& plane : planes_) {
    if (lane_bytes_ == 1) {
      pack_bytes(plane, lanes_, codes, columns_, row);
    } else {
      pack_words(plane, lanes_, codes, columns_, row);
    }
  }
}

bool int_codes_fit(const QuantizedWeight& w, int bits) noexcept {
  if (w.codes_per_byte == 2) return true;
  const auto* codes = w.qdata.data<std::int8_t>();
  const int low = -(1 << (bits - 1));
  const int high = (1 << (bits - 1)) - 1;
  std::atomic<bool> fits{true};
  parallel_for(w.qdata.numel(), std::int64_t{1} << 20, [&](std::int64_t begin, std::int64_t end) {
    bool ok = true;
    for (std::int64_t i = begin; i < end; ++i) ok &= codes[i] >= low && codes[i] <= high;
    if (!ok) fits.store(false, std::memory_order_relaxed);
  });
  return fits.load();
}

void pack_code_planes(const QuantizedWeight& w, int bits, const CodePlanes& planes, int offset,
                      std::byte* out) {
  const auto* from = w.qdata.data<std::uint8_t>();
  const std::int64_t columns = w.input_size;
  // Two's complement to offset binary: the top bit turns over.
  const auto flip = static_cast<std::uint8_t>(offset);
  const auto mask = static_cast<std::uint8_t>((1 << bits) - 1);
  parallel_for(w.output_size, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(columns));
    for (std::int64_t n = begin; n < end; ++n) {
      std::byte* const packed = out + n * planes.row_bytes();
      std::memset(packed, 0, static_cast<std::size_t>(planes.row_bytes()));
      if (w.codes_per_byte == 2) {
        const std::uint8_t* row = from + n * (columns / 2);
        for (std::int64_t k = 0; k < columns / 2; ++k) {
          const auto i = static_cast<std::size_t>(2 * k);
          codes[i] = static_cast<std::uint8_t>((row[k] & 15) ^ flip);
          codes[i + 1] = static_cast<std::uint8_t>((row[k] >> 4) ^ flip);
        }
      } else {
        const std::uint8_t* row = from + n * columns;
        for (std::int64_t k = 0; k < columns; ++k)
          codes[static_cast<std::size_t>(k)] = static_cast<std::uint8_t>((row[k] ^ flip) & mask);
      }
      planes.pack(codes.data(), packed);
    }
  });
}

}  // namespace torchao_cpp
