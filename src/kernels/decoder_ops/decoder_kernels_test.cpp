// SPDX-License-Identifier: Apache-2.0
#include "kernels/decoder_ops/decoder_kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/cpu_features.h"
#include "core/float_formats.h"

namespace torchao_cpp {
namespace {

struct Isa {
  const char* name;
  const RowKernels& (*rows)(DType) noexcept;
  const LogitKernels& (*logits)() noexcept;
};

std::vector<Isa> isas_of_this_machine() {
  std::vector<Isa> isas{{"baseline", row_kernels_baseline, logit_kernels_baseline}};
#if defined(__x86_64__)
  if (cpu_isa_refusal(CpuIsa::kAvx2).empty())
    isas.push_back({"avx2", row_kernels_avx2, logit_kernels_avx2});
  if (cpu_isa_refusal(CpuIsa::kAvx512).empty())
    isas.push_back({"avx512", row_kernels_avx512, logit_kernels_avx512});
#endif
  return isas;
}

std::vector<float> floats(std::size_t count, float scale) {
  std::minstd_rand generator(3);
  std::vector<float> out(count);
  for (float& v : out) v = (static_cast<float>(generator() % 20001) / 10000.0f - 1.0f) * scale;
  return out;
}

TEST(DecoderKernels, EveryHalfIsWidenedAndNarrowedAsTheScalarOnes) {
  for (const Isa& isa : isas_of_this_machine()) {
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
      std::vector<std::uint16_t> halves(65536);
      for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
      std::vector<float> wide(halves.size());
      isa.rows(dtype).widen(halves.data(), 65536, wide.data());
      std::vector<std::uint16_t> back(halves.size());
      isa.rows(dtype).narrow(wide.data(), 65536, back.data());
      for (std::size_t i = 0; i < halves.size(); ++i) {
        const float want = load_float(dtype, halves.data(), static_cast<std::int64_t>(i));
        if (std::isnan(want)) {
          EXPECT_TRUE(std::isnan(wide[i])) << isa.name << " " << i;
          EXPECT_TRUE(std::isnan(load_float(dtype, back.data(), static_cast<std::int64_t>(i))));
          continue;
        }
        ASSERT_EQ(std::bit_cast<std::uint32_t>(wide[i]), std::bit_cast<std::uint32_t>(want))
            << isa.name << " " << i;
        ASSERT_EQ(back[i], halves[i]) << isa.name;
      }
    }
  }
}

TEST(DecoderKernels, RoundingIsToNearestEven) {
  std::minstd_rand generator(5);
  std::vector<float> values{0.0f,          -0.0f,    65519.99f,
                            65520.0f,      1e30f,    3.4e38f,
                            5.9604645e-8f, 2.98e-8f, std::numeric_limits<float>::infinity()};
  for (int i = 0; i < 20000; ++i) {
    // Any finite bits, and values half-way between two halves.
    const auto bits = static_cast<std::uint32_t>(generator()) * 2654435761u;
    for (const std::uint32_t b :
         {bits, (bits & 0xFFFF0000u) | 0x8000u, (bits & 0xFFFFE000u) | 0x1000u}) {
      if ((b & 0x7F800000u) != 0x7F800000u) values.push_back(std::bit_cast<float>(b));
    }
  }
  for (const Isa& isa : isas_of_this_machine()) {
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
      std::vector<std::uint16_t> got(values.size());
      isa.rows(dtype).narrow(values.data(), static_cast<std::int64_t>(values.size()), got.data());
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::uint16_t want =
            dtype == DType::kFloat16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
        ASSERT_EQ(got[i], want) << isa.name << " " << dtype_name(dtype) << " " << values[i];
      }
    }
  }
}

TEST(DecoderKernels, TailsTouchNothingBehindThem) {
  for (const Isa& isa : isas_of_this_machine()) {
    for (std::int64_t n = 1; n <= 35; ++n) {
      const std::vector<float> x = floats(static_cast<std::size_t>(n), 3);
      std::vector<float> y(static_cast<std::size_t>(n) + 16, 77.0f);
      isa.rows(DType::kFloat32).silu_mul(x.data(), x.data(), n, y.data());
      for (std::int64_t i = 0; i < n; ++i) {
        const float v = x[static_cast<std::size_t>(i)];
        const float want = v / (1 + std::exp(-v)) * v;
        ASSERT_NEAR(y[static_cast<std::size_t>(i)], want, 1e-6f + 4e-7f * std::fabs(want));
      }
      for (std::size_t i = static_cast<std::size_t>(n); i < y.size(); ++i)
        ASSERT_EQ(y[i], 77.0f) << isa.name << " " << n;
    }
  }
}

TEST(DecoderKernels, LayerNormLeavesNoMeanAndTheSameSpreadAtEveryLength) {
  for (const Isa& isa : isas_of_this_machine()) {
    const RowKernels& kernels = isa.rows(DType::kFloat32);
    for (std::int64_t n = 2; n <= 35; ++n) {
      std::vector<float> y = floats(static_cast<std::size_t>(n) + 16, 3);
      const std::vector<float> rest(y.begin() + n, y.end());
      for (std::int64_t i = 0; i < n; ++i) y[static_cast<std::size_t>(i)] += 9.0f;
      kernels.layer_norm(y.data(), nullptr, nullptr, n, 0.0f, y.data());
      double sum = 0;
      double squares = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const auto v = static_cast<double>(y[static_cast<std::size_t>(i)]);
        sum += v;
        squares += v * v;
      }
      EXPECT_NEAR(sum, 0, 2e-4) << isa.name << " " << n;
      EXPECT_NEAR(squares, static_cast<double>(n), 1e-3) << isa.name << " " << n;
      kernels.relu(y.data(), n);
      for (std::int64_t i = 0; i < n; ++i) ASSERT_GE(y[static_cast<std::size_t>(i)], 0.0f);
      EXPECT_EQ(std::vector<float>(y.begin() + n, y.end()), rest) << isa.name << " " << n;
    }
  }
}

TEST(DecoderKernels, LogitWeightsAreTheSameOnEveryInstructionSet) {
  std::vector<float> logits = floats(1003, 60);
  logits[7] = -std::numeric_limits<float>::infinity();
  std::vector<float> first(logits.size());
  logit_kernels_baseline().weights(logits.data(), 1003, 60.0f, 0.9f, first.data());
  for (const Isa& isa : isas_of_this_machine()) {
    std::vector<float> out(logits.size());
    isa.logits().weights(logits.data(), 1003, 60.0f, 0.9f, out.data());
    EXPECT_EQ(out, first) << isa.name;
    EXPECT_EQ(out[7], 0);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double want = std::exp((static_cast<double>(logits[i]) - 60.0) * 0.9f);
      EXPECT_NEAR(out[i], want, 3e-5 * want + 2e-38) << logits[i];
    }
  }
}

TEST(DecoderKernels, LargestSeesEveryPlaceAndEveryNaN) {
  for (const Isa& isa : isas_of_this_machine()) {
    for (const std::int64_t n : {1, 5, 16, 37}) {
      for (std::int64_t place = 0; place < n; ++place) {
        std::vector<float> x(static_cast<std::size_t>(n), -3.0f);
        x[static_cast<std::size_t>(place)] = 2.0f;
        EXPECT_EQ(isa.logits().largest(x.data(), n), 2.0f) << isa.name << " " << place;
        x[static_cast<std::size_t>(place)] = std::numeric_limits<float>::quiet_NaN();
        EXPECT_TRUE(std::isnan(isa.logits().largest(x.data(), n))) << isa.name << " " << place;
      }
    }
  }
}

}  // namespace
}  // namespace torchao_cpp
