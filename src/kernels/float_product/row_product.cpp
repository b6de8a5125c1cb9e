// SPDX-License-Identifier: Apache-2.0
#include "kernels/float_product/row_product.h"

#include <algorithm>

#include "base/parallel.h"
#include "core/float_runs.h"

namespace torchao_cpp {
namespace {

// Sums that run side by side: four SSE registers, which hides the latency of the additions.
constexpr int kLanes = 16;
// Activation rows that share one reading of a weight row; their sums are 1 KiB of stack.
constexpr std::int64_t kRows = 16;
// Multiply-adds that are worth a thread.
constexpr std::int64_t kGrain = 1 << 16;

void accumulate(const float* a, const float* b, std::int64_t count, float* lanes) noexcept {
  const std::int64_t whole = count / kLanes * kLanes;
  for (std::int64_t k = 0; k < whole; k += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] += a[k + l] * b[k + l];
  }
  for (std::int64_t k = whole; k < count; ++k) lanes[k - whole] += a[k] * b[k];
}

float sum_of(const float* lanes) noexcept {
  float sums[kLanes];
  std::copy_n(lanes, kLanes, sums);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int l = 0; l < width; ++l) sums[l] += sums[l + width];
  }
  return sums[0];
}

// Sums of output n for `rows` activation rows from m0.
void one_output(const FloatLinear& linear, const FloatOperand& operand, std::int64_t n,
                std::int64_t m0, std::int64_t rows, float* sums) noexcept {
  const std::int64_t k = linear.input_size();
  const std::int64_t segment = linear.segment();
  float weights[kFloatRun];
  for (std::int64_t s = 0; s * segment < k; ++s) {
    float lanes[kRows][kLanes] = {};
    for (std::int64_t done = 0; done < segment; done += kFloatRun) {
      const std::int64_t count = std::min(kFloatRun, segment - done);
      const std::int64_t begin = s * segment + done;
      linear.read_weight(n, begin, count, weights);
      for (std::int64_t r = 0; r < rows; ++r)
        accumulate(operand.values + (m0 + r) * k + begin, weights, count, lanes[r]);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const float sum = sum_of(lanes[r]);
      const float previous = s == 0 ? 0.0f : sums[r];
      sums[r] = segment == k ? sum : previous + sum * linear.segment_scale(operand, m0 + r, n, s);
    }
  }
}

}  // namespace

void row_product(const FloatLinear& linear, const LinearArgs& args,
                 const FloatOperand& operand) noexcept {
  const std::int64_t work = std::max<std::int64_t>(linear.input_size() * args.m, 1);
  parallel_for(linear.output_size(), kGrain / work + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      for (std::int64_t m0 = 0; m0 < args.m; m0 += kRows) {
        const std::int64_t rows = std::min(kRows, args.m - m0);
        float sums[kRows];
        one_output(linear, operand, n, m0, rows, sums);
        linear.finish(args, operand, m0, rows, n, 1, sums);
      }
    }
  });
}

}  // namespace torchao_cpp
