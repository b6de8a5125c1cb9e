// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>

#include "base/parallel.h"
#include "core/float_formats.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/float_product/float_linear.h"
#include "kernels/linear_kernel.h"
#include "ops/linear_cases.h"
#include "ops/tolerance.h"

/// Every kernel of the list on every kind of weight: against the reference, and the reference
/// against sums in double.
namespace torchao_cpp::ops {
namespace {

constexpr std::int64_t kGuard = 64;  // bytes of canary on either side of a buffer
constexpr std::uint8_t kCanary = 0xA5;

/// Memory with canaries around it; `align` bytes off the next 64-byte boundary.
class Guarded {
 public:
  Guarded(std::int64_t bytes, std::int64_t align)
      : bytes_(bytes), storage_(static_cast<std::size_t>(bytes + 2 * kGuard + 128), kCanary) {
    const auto at = reinterpret_cast<std::uintptr_t>(storage_.data()) + kGuard;
    offset_ = kGuard + static_cast<std::int64_t>((64 - at % 64) % 64) + align;
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(storage_.data()) + offset_; }
  std::vector<std::uint8_t>& whole() { return storage_; }
  std::int64_t offset() const { return offset_; }
  bool is_intact() const {
    const auto begin = storage_.begin();
    const auto is_canary = [](std::uint8_t b) { return b == kCanary; };
    return std::all_of(begin, begin + offset_, is_canary) &&
           std::all_of(begin + offset_ + bytes_, storage_.end(), is_canary);
  }

 private:
  std::int64_t bytes_;
  std::int64_t offset_ = 0;
  std::vector<std::uint8_t> storage_;
};

struct Problem {
  CaseWeight weight;
  std::optional<QuantizedWeight> description;
  DType dtype;
  std::int64_t n;
  std::int64_t k;

  LinearProblem linear(DeviceType device = DeviceType::kCPU) const {
    LinearProblem p;
    p.device.type = device;
    if (description) {
      p.quantized = &*description;
    } else {
      p.plain = weight.plain;
    }
    p.activation_dtype = dtype;
    return p;
  }
};

std::int64_t rounded_up(std::int64_t size, std::int64_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

// The smallest sizes from [n, k] on that the case takes.
Problem make_problem(const LinearCase& item, DType dtype, std::int64_t at_least_n,
                     std::int64_t at_least_k) {
  const std::int64_t n = rounded_up(at_least_n, item.n_multiple);
  const std::int64_t k = rounded_up(at_least_k, item.k_multiple);
  Problem p{make_weight(item, n, k, 7), std::nullopt, dtype, n, k};
  if (p.weight.quantized) p.description = describe(item, p.weight);
  return p;
}

std::unique_ptr<PackedWeight> pack(const LinearKernel& kernel, const Problem& p) {
  return kernel.pack(p.linear(kernel.device));
}

/// Guarded memory and, for a kernel of a GPU, a copy there that goes back and forth with its
/// guards.
class CallMemory {
 public:
  CallMemory(const LinearKernel& kernel, std::int64_t bytes, std::int64_t align)
      : host_(bytes, align), is_on_gpu_(kernel.device == DeviceType::kCUDA) {
    if (!is_on_gpu_) return;
    shift_ = (64 - (host_.offset() - align) % 64) % 64;  // The memory there starts elsewhere.
    gpu_ = DeviceBuffer(whole_bytes() + shift_, 0);
    send();
  }
  std::byte* host() { return host_.data(); }
  std::byte* data() { return is_on_gpu_ ? gpu_.data() + shift_ + host_.offset() : host_.data(); }
  void send() {
    if (is_on_gpu_) gpu_.upload(host_.whole().data(), whole_bytes(), shift_);
  }
  void fetch() {
    if (is_on_gpu_) gpu_.download(host_.whole().data(), whole_bytes(), shift_);
  }
  bool is_intact() const { return host_.is_intact(); }

 private:
  std::int64_t whole_bytes() { return static_cast<std::int64_t>(host_.whole().size()); }

  Guarded host_;
  bool is_on_gpu_;
  std::int64_t shift_ = 0;
  DeviceBuffer gpu_;
};

/// Runs a kernel on memory that is just large enough, with rows of y apart, and gives y [M, N].
Tensor run(const LinearKernel& kernel, const PackedWeight& packed, const Problem& p,
           const Tensor& x, const Tensor& bias) {
  const std::int64_t m = x.shape()[0];
  const std::int64_t element = dtype_size_bytes(p.dtype);
  const std::int64_t stride = p.n + 3;
  CallMemory out(kernel, m * stride * element, element);
  CallMemory workspace(kernel, kernel.workspace_bytes(packed, m), 0);
  CallMemory input(kernel, x.nbytes(), element);
  CallMemory added(kernel, p.n * element, element);
  if (m > 0) std::memcpy(input.host(), x.bytes(), static_cast<std::size_t>(x.nbytes()));
  if (bias.defined())
    std::memcpy(added.host(), bias.bytes(), static_cast<std::size_t>(bias.nbytes()));
  std::fill_n(reinterpret_cast<std::uint8_t*>(out.host()), m * stride * element, kCanary);
  for (CallMemory* memory : {&out, &input, &added}) memory->send();
  kernel.run(packed, {m,
                      input.data(),
                      bias.defined() ? added.data() : nullptr,
                      out.data(),
                      stride,
                      workspace.data(),
                      {}});
  for (CallMemory* memory : {&out, &workspace, &input, &added}) memory->fetch();
  EXPECT_TRUE(out.is_intact() && workspace.is_intact() && input.is_intact() && added.is_intact())
      << kernel.name() << " wrote outside";
  Tensor y = Tensor::empty(p.dtype, {m, p.n});
  for (std::int64_t r = 0; r < m; ++r) {
    const std::byte* row = out.host() + r * stride * element;
    std::memcpy(y.mutable_bytes() + r * p.n * element, row,
                static_cast<std::size_t>(p.n * element));
    for (std::int64_t i = p.n * element; i < stride * element; ++i)
      EXPECT_EQ(static_cast<std::uint8_t>(row[i]), kCanary)
          << kernel.name() << " wrote between rows";
  }
  return y;
}

double value(const Tensor& t, std::int64_t i) { return load_float(t.dtype(), t.bytes(), i); }

// sum |x||w| where the kernel may see another x (quantized): |x| is at most the largest of all.
double sum_of_absolutes(const Problem& p, const Tensor& x, std::int64_t n,
                        const Tensor& dequantized) {
  double largest = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) largest = std::max(largest, std::fabs(value(x, i)));
  double sum = 0;
  for (std::int64_t k = 0; k < p.k; ++k) {
    const double pre = p.description && p.description->act_pre_scale.defined()
                           ? value(p.description->act_pre_scale, k)
                           : 1;
    sum += std::fabs(value(dequantized, n * p.k + k) * pre);
  }
  return largest * sum;
}

bool is_exact(const LinearKernel& kernel) {
  return kernel.operation == LinearOperation::kInt8DynamicActivationInt8Weight ||
         kernel.operation == LinearOperation::kInt8StaticActivationInt8Weight;
}

const LinearKernel* reference_for(const Problem& p) {
  for (const LinearKernel& kernel : kernel_list()) {
    if (kernel.isa == "ref" && check_support(kernel, p.linear()).ok) return &kernel;
  }
  return nullptr;
}

std::vector<const LinearKernel*> kernels_for(const Problem& p) {
  std::vector<const LinearKernel*> out;
  for (const LinearKernel& kernel : kernel_list()) {
    if (check_support(kernel, p.linear(kernel.device)).ok) out.push_back(&kernel);
  }
  return out;
}

void expect_near(const Tensor& got, const Tensor& want, const Problem& p, const Tensor& x,
                 const Tensor& bias, const LinearKernel& kernel) {
  const Tensor dequantized = p.weight.dequantized();
  const DType output =
      p.description && p.description->compute_dtype ? *p.description->compute_dtype : p.dtype;
  LinearTolerance tolerance{output, p.k};
  // The activation is rounded to its dtype, the weight to its own.
  if (kernel.has_fewer_roundings) {
    const DType weight = p.description->dtype;
    tolerance.operands = weight == DType::kBFloat16 ? weight : p.dtype;
  }
  for (std::int64_t n = 0; n < p.n; ++n) {
    const double sums = sum_of_absolutes(p, x, n, dequantized);
    for (std::int64_t m = 0; m < x.shape()[0]; ++m) {
      const std::int64_t i = m * p.n + n;
      const double b = bias.defined() ? value(bias, n) : 0;
      ASSERT_NEAR(value(got, i), value(want, i), tolerance(value(want, i), b, sums))
          << kernel.name() << " [" << x.shape()[0] << ", " << p.n << ", " << p.k << "] at (" << m
          << ", " << n << ")";
    }
  }
}

class LinearKernels : public testing::TestWithParam<LinearCase> {};
/// Those whose product takes dequantized values, not codes.
class DequantizingLinearKernels : public LinearKernels {};
/// Those that leave the activation as it is.
class WeightOnlyLinearKernels : public LinearKernels {};

template <typename F>
std::vector<LinearCase> cases_where(const F& holds) {
  std::vector<LinearCase> out;
  for (const LinearCase& item : linear_cases()) {
    const Problem p = make_problem(item, item.weight_dtype, 1, 1);
    if (holds(p.description ? *p.description : QuantizedWeight{})) out.push_back(item);
  }
  return out;
}

std::vector<LinearCase> dequantizing_cases() {
  using Kind = ActivationQuant::Kind;
  return cases_where([](const QuantizedWeight& w) {
    const Kind kind = w.activation.kind;
    return !w.scale_after_product &&
           (kind == Kind::kNone || kind == Kind::kInt8AsymPerToken || kind == Kind::kMXDynamic);
  });
}

std::vector<LinearCase> weight_only_cases() {
  return cases_where([](const QuantizedWeight& w) {
    return w.activation.kind == ActivationQuant::Kind::kNone && !w.act_pre_scale.defined();
  });
}

std::string name_of(const testing::TestParamInfo<LinearCase>& info) { return info.param.name; }

// Row counts around the kernels' own limits and tiles; sizes with tails, below one tile, and of one
// block.
TEST_P(LinearKernels, AgreeWithTheReference) {
  const LinearCase& item = GetParam();
  constexpr std::array<std::int64_t, 8> kRows{0, 1, 3, 7, 9, 12, 33, 257};
  constexpr std::array<std::array<std::int64_t, 2>, 3> kSizes{{{1, 1}, {67, 21}, {300, 170}}};
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (const auto& [n, k] : kSizes) {
      const Problem p = make_problem(item, dtype, n, k);
      const LinearKernel* ref = reference_for(p);
      ASSERT_NE(ref, nullptr);
      const auto ref_packed = pack(*ref, p);
      for (const LinearKernel* kernel : kernels_for(p)) {
        const auto packed = pack(*kernel, p);
        EXPECT_GT(packed->nbytes(), 0);
        for (const std::int64_t m : kRows) {
          const Tensor x = random_tensor(dtype, {m, p.k}, static_cast<unsigned>(m), 1.0F);
          const Tensor bias = m % 2 == 1 ? random_tensor(dtype, {p.n}, 3, 1.0F) : Tensor{};
          const Tensor want = run(*ref, *ref_packed, p, x, bias);
          const Tensor got = run(*kernel, *packed, p, x, bias);
          if (is_exact(*kernel)) {
            EXPECT_TRUE(equal_bytes(got, want))
                << kernel->name() << " M " << m << " N " << p.n << " K " << p.k;
          } else {
            expect_near(got, want, p, x, bias, *kernel);
          }
        }
      }
    }
  }
}

// Sizes of which every processor of a GPU has more than one tile, with tails on all sides.
TEST(LargeLinearKernels, AgreeWithTheReferenceOnAGpu) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  for (const LinearCase& item : linear_cases()) {
    if (item.name != "int8dq" && item.name != "fp8dq_row") continue;
    const Problem p = make_problem(item, DType::kBFloat16, 20000, 144);
    const LinearKernel* ref = reference_for(p);
    ASSERT_NE(ref, nullptr);
    const Tensor x = random_tensor(p.dtype, {200, p.k}, 5, 1.0F);
    const Tensor bias = random_tensor(p.dtype, {p.n}, 3, 1.0F);
    const Tensor want = run(*ref, *pack(*ref, p), p, x, bias);
    for (const LinearKernel* kernel : kernels_for(p)) {
      if (kernel->device != DeviceType::kCUDA) continue;
      const Tensor got = run(*kernel, *pack(*kernel, p), p, x, bias);
      if (is_exact(*kernel)) {
        EXPECT_TRUE(equal_bytes(got, want)) << kernel->name();
      } else {
        expect_near(got, want, p, x, bias, *kernel);
      }
    }
  }
}

// Of bfloat16 values: the root of the differences' squares over that of the wanted ones.
double relative_distance(const Tensor& got, const Tensor& want) {
  double difference = 0;
  double size = 0;
  const auto a = got.span<std::uint16_t>();
  const auto b = want.span<std::uint16_t>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double value = bf16_to_f32(b[i]);
    difference += std::pow(bf16_to_f32(a[i]) - value, 2);
    size += value * value;
  }
  return std::sqrt(difference / size);
}

TEST(Float8LinearKernels, WithoutFastAccumHasTheSumsOfFloat32OnAGpu) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  if (cuda_capability(0) < 89) GTEST_SKIP() << "needs compute capability 8.9";
  int compared = 0;
  for (const LinearCase& item : linear_cases()) {
    if (std::string_view(item.name) != "fp8dq_row") continue;
    Problem p = make_problem(item, DType::kBFloat16, 256, 8192);
    const LinearKernel* ref = reference_for(p);
    const auto ref_packed = pack(*ref, p);
    for (const std::int64_t m : {8, 40, 300}) {
      const Tensor x = random_tensor(DType::kBFloat16, {m, p.k}, static_cast<unsigned>(m), 1.0F);
      const Tensor want = run(*ref, *ref_packed, p, x, Tensor{});
      for (const bool is_fast : {true, false}) {
        p.description->activation.use_fast_accum = is_fast;
        for (const LinearKernel* kernel : kernels_for(p)) {
          if (kernel->isa != "cuda_sm89") continue;
          const double distance =
              relative_distance(run(*kernel, *pack(*kernel, p), p, x, Tensor{}), want);
          RecordProperty("distance_" + std::to_string(m) + (is_fast ? "_fast" : "_float32"),
                         std::to_string(distance));
          ++compared;
          EXPECT_LT(distance, is_fast ? 4e-3 : 5e-4) << "M " << m << " fast " << is_fast;
        }
      }
    }
  }
  EXPECT_EQ(compared, 6);
}

// Sizes at which warps share a tile and matrix units take everything.
TEST_P(LinearKernels, AgreeWithTheReferenceOnAGpu) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  const LinearCase& item = GetParam();
  for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
    const Problem p = make_problem(item, dtype, 519, 1056);
    const LinearKernel* ref = reference_for(p);
    ASSERT_NE(ref, nullptr);
    const auto ref_packed = pack(*ref, p);
    for (const LinearKernel* kernel : kernels_for(p)) {
      if (kernel->device != DeviceType::kCUDA) continue;
      const auto packed = pack(*kernel, p);
      for (const std::int64_t m : {1, 8, 9, 16, 17, 33, 64, 100, 256, 300}) {
        const Tensor x = random_tensor(dtype, {m, p.k}, static_cast<unsigned>(m), 1.0F);
        const Tensor bias = m % 16 == 0 ? Tensor{} : random_tensor(dtype, {p.n}, 3, 1.0F);
        const Tensor want = run(*ref, *ref_packed, p, x, bias);
        const Tensor got = run(*kernel, *packed, p, x, bias);
        if (is_exact(*kernel)) {
          EXPECT_TRUE(equal_bytes(got, want)) << kernel->name() << " M " << m;
        } else {
          expect_near(got, want, p, x, bias, *kernel);
        }
      }
    }
  }
}

// Several of the blocks that kernels cut a weight into along N and K, and ends that fill none.
TEST_P(LinearKernels, AgreeWithTheReferenceOverManyBlocks) {
  const Problem p = make_problem(GetParam(), DType::kBFloat16, 437, 1376);
  const LinearKernel* ref = reference_for(p);
  ASSERT_NE(ref, nullptr);
  const auto ref_packed = pack(*ref, p);
  constexpr std::int64_t kRows = 45;
  const Tensor x = random_tensor(p.dtype, {kRows, p.k}, 11, 1.0F);
  const Tensor want = run(*ref, *ref_packed, p, x, {});
  for (const LinearKernel* kernel : kernels_for(p)) {
    if (kernel->device != DeviceType::kCPU) continue;
    const auto packed = pack(*kernel, p);
    const Tensor got = run(*kernel, *packed, p, x, {});
    if (is_exact(*kernel)) {
      EXPECT_TRUE(equal_bytes(got, want)) << kernel->name();
    } else {
      expect_near(got, want, p, x, {}, *kernel);
    }
  }
}

TEST_P(LinearKernels, DoNotDependOnTheNumberOfThreads) {
  const LinearCase& item = GetParam();
  const Problem p = make_problem(item, DType::kBFloat16, 256, 64);
  const int before = num_threads();
  for (const LinearKernel* kernel : kernels_for(p)) {
    for (const std::int64_t m : {std::int64_t{1}, std::int64_t{40}}) {
      const Tensor x = random_tensor(p.dtype, {m, p.k}, 5, 1.0F);
      std::optional<Tensor> first;
      for (const int threads : {1, 2, 3, 5}) {
        set_num_threads(threads);
        const auto packed = pack(*kernel, p);
        const Tensor y = run(*kernel, *packed, p, x, {});
        if (!first) first = y;
        EXPECT_TRUE(equal_bytes(y, *first))
            << kernel->name() << " with " << threads << " threads, M " << m;
        set_num_threads(threads + 2);  // after packing: the scratch was sized for fewer
        EXPECT_TRUE(equal_bytes(run(*kernel, *packed, p, x, {}), *first))
            << kernel->name() << ", more threads later";
      }
    }
  }
  set_num_threads(before);
}

// A linear that only takes the weight apart: its right operand is the dequantized weight, bit for
// bit.
TEST_P(DequantizingLinearKernels, ReadTheWeightAsItDequantizes) {
  const LinearCase& item = GetParam();
  const Problem p =
      make_problem(item, item.weight_dtype, 5, 2 * std::max<std::int64_t>(item.k_multiple, 24));
  const FloatLinear linear(p.linear());
  const Tensor want = p.weight.dequantized();
  std::vector<float> row(static_cast<std::size_t>(p.k));
  for (std::int64_t n = 0; n < p.n; ++n) {
    // In two runs that cut a block.
    const std::int64_t cut = p.k / 2 - 3;
    linear.read_weight(n, 0, cut, row.data());
    linear.read_weight(n, cut, p.k - cut, row.data() + cut);
    for (std::int64_t k = 0; k < p.k; ++k)
      ASSERT_EQ(row[static_cast<std::size_t>(k)],
                load_float(want.dtype(), want.bytes(), n * p.k + k))
          << n << ", " << k;
  }
}

// Weight-only linears against the product in double of x and the dequantized weight.
TEST_P(WeightOnlyLinearKernels, GiveTheProductWithTheDequantizedWeight) {
  const LinearCase& item = GetParam();
  const Problem p =
      make_problem(item, item.weight_dtype, 24, 2 * std::max<std::int64_t>(item.k_multiple, 24));
  const Tensor dequantized = p.weight.dequantized();
  const Tensor x = random_tensor(p.dtype, {5, p.k}, 11, 1.0F);
  Tensor want = Tensor::empty(DType::kFloat32, {5, p.n});
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    double sum = 0;
    for (std::int64_t k = 0; k < p.k; ++k)
      sum += value(x, i / p.n * p.k + k) * value(dequantized, i % p.n * p.k + k);
    want.mutable_data<float>()[i] = static_cast<float>(sum);
  }
  for (const LinearKernel* kernel : kernels_for(p)) {
    Tensor got = run(*kernel, *pack(*kernel, p), p, x, {});
    // The scale follows the rounded product and is rounded itself: torchao's own difference from
    // the dequantized form.
    if (p.description && p.description->scale_after_product && p.dtype != DType::kFloat32) {
      for (std::int64_t i = 0; i < want.numel(); ++i)
        EXPECT_NEAR(value(got, i), value(want, i), 0.02 * std::fabs(value(want, i)) + 0.05)
            << kernel->name();
    } else {
      expect_near(got.to(DType::kFloat32), want, p, x, {}, *kernel);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, LinearKernels, testing::ValuesIn(linear_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Cases, DequantizingLinearKernels, testing::ValuesIn(dequantizing_cases()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Cases, WeightOnlyLinearKernels, testing::ValuesIn(weight_only_cases()),
                         name_of);

TEST(LinearKernelList, EveryOperationHasACase) {
  for (const LinearKernel& kernel : kernel_list()) {
    const bool has_case =
        std::any_of(linear_cases().begin(), linear_cases().end(), [&](const LinearCase& item) {
          const Problem p = make_problem(item, DType::kBFloat16, 64, 128);
          return operation_of(p.linear()) == kernel.operation;
        });
    EXPECT_TRUE(has_case) << kernel.name();
  }
}

TEST(LinearKernelList, EveryOperationEndsWithAReferenceThatRunsEverywhere) {
  std::vector<LinearOperation> seen;
  for (const LinearKernel& kernel : kernel_list()) {
    EXPECT_EQ(std::count(seen.begin(), seen.end(), kernel.operation), 0)
        << kernel.name() << " comes after ref";
    if (kernel.isa != "ref") continue;
    EXPECT_TRUE(kernel.runs_here().ok);
    seen.push_back(kernel.operation);
  }
  EXPECT_EQ(seen.size(), 16u);
}

TEST(LinearKernelList, KernelsOfAGpuRunHereOrSayWhy) {
  for (const LinearKernel& kernel : kernel_list()) {
    if (kernel.device != DeviceType::kCUDA) continue;
    const Support here = kernel.runs_here();
    EXPECT_EQ(here.ok, cuda_device_count() > 0) << kernel.name();
    EXPECT_EQ(here.ok, here.reason.empty()) << kernel.name();
  }
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
}

TEST(LinearKernelList, NamesAreUnique) {
  std::vector<std::string> names;
  for (const LinearKernel& kernel : kernel_list()) names.push_back(kernel.name());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(Int8Product, DoesNotSaturateAtTheEndsOfTheRange) {
  // Codes of -128 and 127 throughout: sums of +-2^14 K, where an instruction set that adds pairs in
  // 16 bits is off.
  const LinearCase item{"int8dq", "int8dq", DType::kFloat32};
  Problem p = make_problem(item, DType::kFloat32, 64, 512);
  Tensor codes = Tensor::empty(DType::kInt8, {p.n, p.k});
  for (std::int64_t i = 0; i < codes.numel(); ++i)
    codes.mutable_data<std::int8_t>()[i] = static_cast<std::int8_t>(i / p.k % 2 == 0 ? -128 : 127);
  p.description->qdata = codes;
  Tensor x = Tensor::empty(DType::kFloat32, {16, p.k});
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.mutable_data<float>()[i] = i / p.k % 2 == 0 ? -1.0F : 1.0F;
  const LinearKernel* ref = reference_for(p);
  const Tensor want = run(*ref, *pack(*ref, p), p, x, {});
  for (const LinearKernel* kernel : kernels_for(p))
    EXPECT_TRUE(equal_bytes(run(*kernel, *pack(*kernel, p), p, x, {}), want)) << kernel->name();
}

}  // namespace
}  // namespace torchao_cpp::ops
