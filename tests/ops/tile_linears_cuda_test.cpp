// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/float_formats.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/linear_kernel.h"
#include "ops/linear_cases.h"

/// Weights so large that blocks take several tiles each, share K, and go round their rings of
/// stages: many rows at once against the same rows a few at a time, which another kernel does.
namespace torchao_cpp::ops {
namespace {

struct LargeCase {
  const char* name;
  const char* config;
  std::int64_t n, k;
};

void PrintTo(const LargeCase& c, std::ostream* out) { *out << c.name; }

class LargeLinears : public testing::TestWithParam<LargeCase> {};

const LinearKernel* tile_kernel(const LinearProblem& problem) {
  for (const LinearKernel& kernel : kernel_list()) {
    if (kernel.isa == "cuda_sm80" && check_support(kernel, problem).ok) return &kernel;
  }
  return nullptr;
}

/// One weight and memory for up to `most` rows on the GPU.
class LargeLinear {
 public:
  LargeLinear(const LinearKernel& kernel, const LinearProblem& problem, const Tensor& x)
      : kernel_(kernel),
        packed_(kernel.pack(problem)),
        n_(problem.output_size()),
        k_(problem.input_size()),
        x_(x.bytes(), x.nbytes(), 0),
        y_(x.shape()[0] * n_ * 2, 0),
        workspace_(kernel.workspace_bytes(*packed_, x.shape()[0]), 0) {}

  // y of rows m0 .. m0 + m of x, in place.
  void run(std::int64_t m0, std::int64_t m) {
    kernel_.run(*packed_, {m, x_.data() + m0 * k_ * 2, nullptr, y_.data() + m0 * n_ * 2, n_,
                           workspace_.data(), Stream{}});
  }

  std::vector<std::uint16_t> take() {
    std::vector<std::uint16_t> y(static_cast<std::size_t>(y_.nbytes() / 2));
    y_.download(y.data(), y_.nbytes());
    const std::vector<std::uint16_t> nan(y.size(), 0x7fff);
    y_.upload(nan.data(), y_.nbytes());
    return y;
  }

 private:
  const LinearKernel& kernel_;
  std::unique_ptr<PackedWeight> packed_;
  std::int64_t n_, k_;
  DeviceBuffer x_, y_, workspace_;
};

// The difference of an output's values over all rows, relative to the values: rounding to bfloat16
// makes 2^-9, and int4's values before and after their sums 2^-9 more.
void expect_close(const std::vector<std::uint16_t>& got, const std::vector<std::uint16_t>& want,
                  std::int64_t m, std::int64_t n) {
  std::vector<double> difference(static_cast<std::size_t>(n));
  std::vector<double> size(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < m * n; ++i) {
    const auto column = static_cast<std::size_t>(i % n);
    const double a = bf16_to_f32(got[static_cast<std::size_t>(i)]);
    const double b = bf16_to_f32(want[static_cast<std::size_t>(i)]);
    difference[column] += (a - b) * (a - b);
    size[column] += b * b;
  }
  for (std::size_t column = 0; column < size.size(); ++column) {
    ASSERT_LT(std::sqrt(difference[column]), 0.01 * std::sqrt(size[column]))
        << "M " << m << " output " << column;
  }
}

TEST_P(LargeLinears, ManyRowsGiveWhatFewGive) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  if (cuda_capability(0) < 80) GTEST_SKIP() << "needs compute capability 8.0";
  const LargeCase& c = GetParam();
  const LinearCase item{c.name, c.config, DType::kBFloat16, 1, 1};
  const CaseWeight weight = make_weight(item, c.n, c.k, 5);
  const QuantizedWeight description = describe(item, weight);
  const LinearProblem problem{&description, {}, DType::kBFloat16, Device::cuda(0)};
  const LinearKernel* kernel = tile_kernel(problem);
  ASSERT_NE(kernel, nullptr);
  constexpr std::int64_t kMost = 2100;
  constexpr std::int64_t kFew = 16;
  LargeLinear linear(*kernel, problem, random_tensor(DType::kBFloat16, {kMost, c.k}, 9, 1.0F));
  for (const std::int64_t m : {std::int64_t{20}, std::int64_t{60}, std::int64_t{100},
                               std::int64_t{250}, std::int64_t{300}, kMost}) {
    linear.take();
    for (std::int64_t m0 = 0; m0 < m; m0 += kFew) linear.run(m0, std::min(kFew, m - m0));
    const std::vector<std::uint16_t> want = linear.take();
    linear.run(0, m);
    const std::vector<std::uint16_t> got = linear.take();
    expect_close(got, want, m, c.n);
    if (testing::Test::HasFatalFailure()) return;
    linear.run(0, m);
    EXPECT_TRUE(got == linear.take()) << "M " << m << ": another result the second time";
  }
}

constexpr LargeCase kLarge[] = {
    {"int4_many_outputs", "int4wo-128", 17416, 1152},
    {"int4_many_columns", "int4wo-32", 1037, 6176},
    {"int4_shared_x", "int4wo-128", 4224, 8320},
    {"int8_many_outputs", "int8wo", 17416, 1120},
    {"int8_many_columns", "int8wo", 1037, 6176},
    {"fp8_many_outputs", "fp8wo", 8712, 2080},
    {"fp8_many_columns", "fp8wo", 520, 4128},
};
INSTANTIATE_TEST_SUITE_P(Cases, LargeLinears, testing::ValuesIn(kLarge),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace torchao_cpp::ops
