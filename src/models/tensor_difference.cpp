// SPDX-License-Identifier: Apache-2.0
#include "models/tensor_difference.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "core/float_formats.h"
#include "core/float_runs.h"

namespace torchao_cpp {
namespace {

// Small enough that every core has work in one matrix, large enough that the list of sums stays
// short: 128 KiB of double from each side.
constexpr std::int64_t kBlock = 1 << 14;

template <typename T>
void widen(const Tensor& tensor, std::int64_t begin, std::int64_t count, double* out) noexcept {
  const T* from = tensor.data<T>() + begin;
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<double>(from[i]);
}

void widen_codes(const Tensor& tensor, std::int64_t begin, std::int64_t count,
                 double* out) noexcept {
  const float* table = decode_table(tensor.dtype());
  const auto* codes = tensor.data<std::uint8_t>() + begin;
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<double>(table[codes[i]]);
}

void widen_floats(const Tensor& tensor, std::int64_t begin, std::int64_t count,
                  double* out) noexcept {
  std::array<float, kFloatRun> run;
  for (std::int64_t done = 0; done < count; done += kFloatRun) {
    const std::int64_t length = std::min(kFloatRun, count - done);
    load_floats(tensor.dtype(), tensor.bytes(), begin + done, length, run.data());
    std::copy(run.begin(), run.begin() + length, out + done);
  }
}

using Widen = void (*)(const Tensor& tensor, std::int64_t begin, std::int64_t count, double* out);

struct Widening {
  DType dtype;
  Widen run;
};
constexpr auto kWidenings = std::to_array<Widening>({
    {DType::kFloat32, &widen<float>},
    {DType::kFloat16, &widen_floats},
    {DType::kBFloat16, &widen_floats},
    {DType::kFloat64, &widen<double>},
    {DType::kFloat8E4M3FN, &widen_codes},
    {DType::kFloat8E5M2, &widen_codes},
    {DType::kFloat8E8M0FNU, &widen_codes},
    {DType::kBool, &widen<std::uint8_t>},
    {DType::kUInt8, &widen<std::uint8_t>},
    {DType::kUInt16, &widen<std::uint16_t>},
    {DType::kUInt32, &widen<std::uint32_t>},
    {DType::kUInt64, &widen<std::uint64_t>},
    {DType::kInt8, &widen<std::int8_t>},
    {DType::kInt16, &widen<std::int16_t>},
    {DType::kInt32, &widen<std::int32_t>},
    {DType::kInt64, &widen<std::int64_t>},
});

Widen widening_of(DType dtype) noexcept {
  const auto it = std::find_if(kWidenings.begin(), kWidenings.end(),
                               [&](const Widening& w) { return w.dtype == dtype; });
  return it == kWidenings.end() ? nullptr : it->run;
}

void add_nonfinite(double a, double b, DifferenceSums& sums) noexcept {
  sums.nonfinite_a += std::isfinite(a) ? 0 : 1;
  sums.nonfinite_b += std::isfinite(b) ? 0 : 1;
  const bool is_same = a == b || (std::isnan(a) && std::isnan(b));
  sums.nonfinite_differing += is_same ? 0 : 1;
}

DifferenceSums sums_of(const double* a, const double* b, std::int64_t count) noexcept {
  DifferenceSums sums;
  sums.numel = count;
  for (std::int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
      add_nonfinite(a[i], b[i], sums);
      continue;
    }
    const double error = std::fabs(a[i] - b[i]);
    sums.finite += 1;
    sums.max_abs_error = std::max(sums.max_abs_error, error);
    sums.abs_error += error;
    sums.signal += a[i] * a[i];
    sums.noise += error * error;
  }
  return sums;
}

double sqnr_db(double signal, double noise, bool differs_elsewhere) noexcept {
  if (differs_elsewhere) return std::numeric_limits<double>::quiet_NaN();
  if (noise == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal / noise);
}

}  // namespace

void DifferenceSums::add(const DifferenceSums& other) noexcept {
  numel += other.numel;
  finite += other.finite;
  max_abs_error = std::max(max_abs_error, other.max_abs_error);
  abs_error += other.abs_error;
  signal += other.signal;
  noise += other.noise;
  nonfinite_a += other.nonfinite_a;
  nonfinite_b += other.nonfinite_b;
  nonfinite_differing += other.nonfinite_differing;
}

DiffNumbers DifferenceSums::numbers() const noexcept {
  DiffNumbers out;
  out.numel = numel;
  out.max_abs_error = max_abs_error;
  out.mean_abs_error = finite == 0 ? 0 : abs_error / static_cast<double>(finite);
  out.sqnr_db = sqnr_db(signal, noise, nonfinite_differing > 0);
  out.nonfinite_a = nonfinite_a;
  out.nonfinite_b = nonfinite_b;
  out.nonfinite_differing = nonfinite_differing;
  out.is_equal = max_abs_error == 0 && nonfinite_differing == 0;
  return out;
}

bool is_comparable(DType dtype) noexcept { return widening_of(dtype) != nullptr; }

DifferenceSums tensor_difference(const Tensor& a, const Tensor& b) {
  const Widen widen_a = widening_of(a.dtype());
  const Widen widen_b = widening_of(b.dtype());
  const std::int64_t numel = a.numel();
  std::vector<DifferenceSums> blocks(static_cast<std::size_t>((numel + kBlock - 1) / kBlock));
  parallel_for(
      static_cast<std::int64_t>(blocks.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        std::array<double, kFloatRun> run_a;
        std::array<double, kFloatRun> run_b;
        for (std::int64_t block = begin; block < end; ++block) {
          const std::int64_t last = std::min(numel, (block + 1) * kBlock);
          for (std::int64_t i = block * kBlock; i < last; i += kFloatRun) {
            const std::int64_t count = std::min(kFloatRun, last - i);
            widen_a(a, i, count, run_a.data());
            widen_b(b, i, count, run_b.data());
            blocks[static_cast<std::size_t>(block)].add(sums_of(run_a.data(), run_b.data(), count));
          }
        }
      });
  DifferenceSums total;
  for (const DifferenceSums& block : blocks) total.add(block);
  return total;
}

}  // namespace torchao_cpp
