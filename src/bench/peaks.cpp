// SPDX-License-Identifier: Apache-2.0
// Loops of multiply-adds on registers alone. Each is compiled for its instruction set by an
// attribute of its own function, which calls nothing that others share.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "bench/machine.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace torchao_cpp {
namespace {

/// Runs `rounds` rounds; returns something made of all sums, so that none is left out.
using Loop = double (*)(std::int64_t rounds);

/// Enough independent sums to hide the latency of 4 to 5 cycles at 2 to 3 operations a cycle.
constexpr int kSums = 12;

#if defined(__x86_64__)

__attribute__((target("avx512f"))) double f32_avx512(std::int64_t rounds) {
  __m512 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 factor = _mm512_set1_ps(0.999f);
  const __m512 term = _mm512_set1_ps(0.001f);
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_fmadd_ps(sums[i], factor, term);
  }
  float out[16];
  double total = 0;
  for (int i = 0; i < kSums; ++i) {
    _mm512_storeu_ps(out, sums[i]);
    total += static_cast<double>(out[0]);
  }
  return total;
}

__attribute__((target("avx2,fma"))) double f32_avx2(std::int64_t rounds) {
  __m256 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 factor = _mm256_set1_ps(0.999f);
  const __m256 term = _mm256_set1_ps(0.001f);
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kSums; ++i) sums[i] = _mm256_fmadd_ps(sums[i], factor, term);
  }
  float out[8];
  double total = 0;
  for (int i = 0; i < kSums; ++i) {
    _mm256_storeu_ps(out, sums[i]);
    total += static_cast<double>(out[0]);
  }
  return total;
}

__attribute__((target("avx512f,avx512vnni"))) double int8_vnni(std::int64_t rounds) {
  __m512i sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi32(static_cast<int>(rounds) | 0x01010101);
  const __m512i b = _mm512_set1_epi8(3);
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
  }
  std::int32_t out[16];
  double total = 0;
  for (int i = 0; i < kSums; ++i) {
    _mm512_storeu_si512(out, sums[i]);
    total += static_cast<double>(out[0]);
  }
  return total;
}

__attribute__((target("avx512f,avx512bf16"))) double bf16_avx512(std::int64_t rounds) {
  __m512 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const auto a = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(rounds) | 0x3F80));
  const auto b = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3F80));
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
  }
  float out[16];
  double total = 0;
  for (int i = 0; i < kSums; ++i) {
    _mm512_storeu_ps(out, sums[i]);
    total += static_cast<double>(out[0]);
  }
  return total;
}

struct TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// Linux lets a process use tile registers when it has asked.
bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// Four tiles of sums, two of each factor: what fits the eight tile registers.
__attribute__((target("amx-tile,amx-int8"))) double int8_amx(std::int64_t rounds) {
  const TileConfig config;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (std::int64_t r = 0; r < rounds; ++r) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  std::int32_t out[256];
  _tile_stored(0, out, 64);
  _tile_release();
  return static_cast<double>(out[0]);
}

__attribute__((target("amx-tile,amx-bf16"))) double bf16_amx(std::int64_t rounds) {
  const TileConfig config;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (std::int64_t r = 0; r < rounds; ++r) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  float out[256];
  _tile_stored(0, out, 64);
  _tile_release();
  return static_cast<double>(out[0]);
}

#endif

// For machines without a loop of their own: four sums of four lanes each.
double f32_baseline(std::int64_t rounds) {
#if defined(__aarch64__)
  float32x4_t sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = vdupq_n_f32(static_cast<float>(i));
  const float32x4_t factor = vdupq_n_f32(0.999f);
  const float32x4_t term = vdupq_n_f32(0.001f);
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kSums; ++i) sums[i] = vfmaq_f32(term, sums[i], factor);
  }
  double total = 0;
  for (int i = 0; i < kSums; ++i) total += static_cast<double>(vgetq_lane_f32(sums[i], 0));
  return total;
#else
  float sums[kSums][4];
  for (int i = 0; i < kSums; ++i) std::fill_n(sums[i], 4, static_cast<float>(i));
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kSums; ++i) {
      for (int j = 0; j < 4; ++j) sums[i][j] = sums[i][j] * 0.999f + 0.001f;
    }
  }
  double total = 0;
  for (int i = 0; i < kSums; ++i) total += static_cast<double>(sums[i][0]);
  return total;
#endif
}

double operations_per_second(Loop loop, double operations_per_round) {
  constexpr std::int64_t kRounds = 2'000'000;
  volatile double sink = 0;
  double best = 1e30;
  for (int pass = 0; pass < 4; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(num_threads(), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) sink = loop(kRounds);
    });
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::min(best, elapsed.count());
  }
  return static_cast<double>(kRounds) * operations_per_round * num_threads() / best;
}

}  // namespace

std::vector<PeakRate> measure_peaks() {
  std::vector<PeakRate> peaks;
  const auto add = [&](const char* name, Loop loop, double operations_per_round) {
    peaks.push_back({name, operations_per_second(loop, operations_per_round)});
  };
#if defined(__x86_64__)
  const auto is_usable = [](CpuIsa isa) { return cpu_isa_refusal(isa).empty(); };
  if (is_usable(CpuIsa::kAvx512)) {
    add("f32", f32_avx512, 2.0 * 16 * kSums);
  } else if (is_usable(CpuIsa::kAvx2)) {
    add("f32", f32_avx2, 2.0 * 8 * kSums);
  } else {
    add("f32", f32_baseline, 2.0 * 4 * kSums);
  }
  if (is_usable(CpuIsa::kAvx512Vnni)) add("int8_vnni", int8_vnni, 2.0 * 64 * kSums);
  if (is_usable(CpuIsa::kAvx512Bf16)) add("bf16_avx512", bf16_avx512, 2.0 * 32 * kSums);
  if (is_usable(CpuIsa::kAmx) && may_use_tiles()) {
    add("int8_amx", int8_amx, 2.0 * 16 * 16 * 64 * 4);
    add("bf16_amx", bf16_amx, 2.0 * 16 * 16 * 32 * 4);
  }
#else
  add("f32", f32_baseline, 2.0 * 4 * kSums);
#endif
  return peaks;
}

}  // namespace torchao_cpp
