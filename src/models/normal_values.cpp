// SPDX-License-Identifier: Apache-2.0
#include "models/normal_values.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/parallel.h"
#include "core/float_runs.h"

namespace torchao_cpp {
namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;

// SplitMix64's output function: any stretch of its sequence can be had without what is before.
std::uint64_t mixed(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// Natural logarithm of a normal number above 0, to 1e-13: std::log may differ between libraries.
double portable_log(double x) noexcept {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const auto exponent = static_cast<double>(static_cast<std::int64_t>(bits >> 52) - 1023);
  const double mantissa = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000);
  const double t = (mantissa - 1) / (mantissa + 1);  // at most 1/3: log = 2 atanh(t)
  const double square = t * t;
  double sum = 0;
  for (int k = 25; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
  return exponent * 0.693147180559945309417 + 2 * t * sum;
}

// Rational approximations of P. J. Acklam: in the middle, and in a tail.
constexpr double kTail = 0.02425;

double middle(double p) noexcept {
  const double q = p - 0.5;
  const double r = q * q;
  const double numerator =
      (((((-3.969683028665376e+01 * r + 2.209460984245205e+02) * r - 2.759285104469687e+02) * r +
         1.383577518672690e+02) *
            r -
        3.066479806614716e+01) *
           r +
       2.506628277459239e+00) *
      q;
  const double denominator =
      ((((-5.447609879822406e+01 * r + 1.615858368580409e+02) * r - 1.556989798598866e+02) * r +
        6.680131188771972e+01) *
           r -
       1.328068155288572e+01) *
          r +
      1;
  return numerator / denominator;
}

// Of the lower tail: p < kTail.
double tail(double p) noexcept {
  const double q = std::sqrt(-2 * portable_log(p));
  const double numerator =
      ((((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838e+00) * q -
        2.549732539343734e+00) *
           q +
       4.374664141464968e+00) *
          q +
      2.938163982698783e+00;
  const double denominator =
      (((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996e+00) * q +
       3.754408661907416e+00) *
          q +
      1;
  return numerator / denominator;
}

}  // namespace

std::uint64_t normal_key(std::uint64_t seed, std::string_view name) noexcept {
  std::uint64_t key = mixed(seed + kGolden);
  for (const char c : name) key = mixed((key ^ static_cast<unsigned char>(c)) + kGolden);
  return key;
}

double normal_quantile(double probability) noexcept {
  if (probability < kTail) return tail(probability);
  if (probability > 1 - kTail) return -tail(1 - probability);
  return middle(probability);
}

void fill_normal(Tensor& tensor, double deviation, std::uint64_t key) noexcept {
  const DType dtype = tensor.dtype();
  void* const data = tensor.mutable_bytes();
  const std::int64_t runs = (tensor.numel() + kFloatRun - 1) / kFloatRun;
  parallel_for(runs, 16, [&](std::int64_t first, std::int64_t last) {
    std::array<double, kFloatRun> probabilities;
    std::array<float, kFloatRun> values;
    for (std::int64_t run = first; run < last; ++run) {
      const std::int64_t begin = run * kFloatRun;
      const std::int64_t count = std::min(kFloatRun, tensor.numel() - begin);
      // Twice: all with the formula of the middle, without a branch, then the few in a tail.
      for (std::size_t i = 0; i < kFloatRun; ++i) {
        const std::uint64_t index = static_cast<std::uint64_t>(begin) + i;
        const std::uint64_t bits = mixed(key + index * kGolden) >> 32;
        probabilities[i] = (static_cast<double>(static_cast<std::int64_t>(bits)) + 0.5) * 0x1p-32;
        values[i] = static_cast<float>(middle(probabilities[i]) * deviation);
      }
      for (std::size_t i = 0; i < kFloatRun; ++i) {
        const double p = probabilities[i];
        if (p < kTail || p > 1 - kTail)
          values[i] = static_cast<float>(normal_quantile(p) * deviation);
      }
      store_floats(dtype, data, begin, count, values.data());
    }
  });
}

}  // namespace torchao_cpp
