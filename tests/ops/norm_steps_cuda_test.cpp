// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "core/float_formats.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/decoder_steps.h"
#include "torchao_cpp/tensor.h"

/// Layer norm, learned positions, relu and heads without rotation on a GPU against sums in double.
namespace torchao_cpp::cuda {
namespace {

Tensor random_tensor(DType dtype, std::int64_t count, unsigned seed, float center = 0) {
  std::minstd_rand random(seed);
  Tensor out = Tensor::empty(DType::kFloat32, {count});
  for (float& v : out.mutable_span<float>())
    v = center + static_cast<float>(random() % 2001) / 500.0f - 2.0f;
  return out.to(dtype);
}

DeviceBuffer on_gpu(const Tensor& t) { return {t.bytes(), t.nbytes(), 0}; }

Tensor from_gpu(const DeviceBuffer& buffer, const Tensor& like) {
  Tensor out = like.clone();
  buffer.download(out.mutable_bytes(), out.nbytes());
  return out;
}

double at(const Tensor& t, std::int64_t i) {
  return static_cast<double>(load_float(t.dtype(), t.bytes(), i));
}

// Half a unit in the last place of the dtype, relative.
double half_step(DType dtype) {
  return dtype == DType::kBFloat16 ? 0x1p-8 : dtype == DType::kFloat16 ? 0x1p-11 : 0x1p-22;
}

class CudaSteps : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  }
};

// hidden + delta, the norm of which goes to `out`; all as the host has them.
struct NormCase {
  Tensor hidden, delta, weight, bias;
  std::int64_t rows = 3;
};

void check_norm(const NormCase& c, std::int64_t columns, const Tensor& sum, const Tensor& out) {
  const DType dtype = c.hidden.dtype();
  for (std::int64_t r = 0; r < c.rows; ++r) {
    double mean = 0;
    double squares = 0;
    for (std::int64_t i = r * columns; i < (r + 1) * columns; ++i) {
      const float want = c.delta.defined() ? round_to(dtype, static_cast<float>(at(c.hidden, i)) +
                                                                 static_cast<float>(at(c.delta, i)))
                                           : static_cast<float>(at(c.hidden, i));
      ASSERT_EQ(at(sum, i), static_cast<double>(want)) << i;
      mean += at(sum, i) / static_cast<double>(columns);
    }
    for (std::int64_t i = r * columns; i < (r + 1) * columns; ++i)
      squares += std::pow(at(sum, i) - mean, 2);
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(columns) + 1e-5);
    for (std::int64_t i = 0; i < columns; ++i) {
      double want = (at(sum, r * columns + i) - mean) * scale;
      if (c.weight.defined()) want *= at(c.weight, i);
      if (c.bias.defined()) want += at(c.bias, i);
      ASSERT_NEAR(at(out, r * columns + i), want, 1.01 * half_step(dtype) * std::fabs(want) + 2e-5)
          << "row " << r << ", column " << i << " of " << columns;
    }
  }
}

TEST_P(CudaSteps, LayerNormAddsAndRoundsOnce) {
  const DType dtype = GetParam();
  for (const std::int64_t columns : {7, 64, 100, 768, 5120}) {
    NormCase c{random_tensor(dtype, 3 * columns, 1, 20), random_tensor(dtype, 3 * columns, 2),
               random_tensor(dtype, columns, 3), random_tensor(dtype, columns, 4)};
    for (const bool is_bare : {false, true}) {
      if (is_bare) c.delta = c.weight = c.bias = Tensor{};
      const DeviceBuffer hidden = on_gpu(c.hidden);
      const DeviceBuffer out = on_gpu(c.hidden);
      const DeviceBuffer delta = on_gpu(is_bare ? c.hidden : c.delta);
      const DeviceBuffer weight = on_gpu(is_bare ? c.hidden : c.weight);
      const DeviceBuffer bias = on_gpu(is_bare ? c.hidden : c.bias);
      NormArgs args;
      args.weight = is_bare ? nullptr : weight.data();
      args.bias = is_bare ? nullptr : bias.data();
      args.eps = 1e-5f;
      args.rows = c.rows;
      args.columns = columns;
      args.hidden = hidden.data();
      args.delta = is_bare ? nullptr : delta.data();
      args.out = out.data();
      launch_add_and_layer_norm(dtype, args, nullptr);
      const Tensor sum = from_gpu(hidden, c.hidden);
      const Tensor result = from_gpu(out, c.hidden);
      check_norm(c, columns, sum, result);
      // In place: of the stream itself, which has the sum already.
      args.delta = nullptr;
      args.out = hidden.data();
      launch_add_and_layer_norm(dtype, args, nullptr);
      EXPECT_TRUE(equal_bytes(from_gpu(hidden, c.hidden), result)) << columns;
    }
  }
}

// Rows that are held in registers, such that are too long for it, and such of odd sizes.
TEST_P(CudaSteps, RmsNormRoundsTheQuotientAndTheProduct) {
  const DType dtype = GetParam();
  for (const std::int64_t columns : {7, 64, 100, 4096, 5120, 8200}) {
    const NormCase c{random_tensor(dtype, 3 * columns, 1, 20), random_tensor(dtype, 3 * columns, 2),
                     random_tensor(dtype, columns, 3), Tensor{}};
    const DeviceBuffer hidden = on_gpu(c.hidden);
    const DeviceBuffer out = on_gpu(c.delta);
    const DeviceBuffer weight = on_gpu(c.weight);
    NormArgs args;
    args.weight = weight.data();
    args.eps = 1e-5f;
    args.rows = c.rows;
    args.columns = columns;
    args.hidden = hidden.data();
    args.delta = args.out = out.data();
    launch_add_and_norm(dtype, args, nullptr);
    const Tensor sum = from_gpu(hidden, c.hidden);
    const Tensor result = from_gpu(out, c.hidden);
    for (std::int64_t r = 0; r < c.rows; ++r) {
      double squares = 0;
      for (std::int64_t i = r * columns; i < (r + 1) * columns; ++i) {
        const float added =
            static_cast<float>(at(c.hidden, i)) + static_cast<float>(at(c.delta, i));
        ASSERT_EQ(at(sum, i), static_cast<double>(round_to(dtype, added))) << i;
        squares += at(sum, i) * at(sum, i);
      }
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(columns) + 1e-5);
      for (std::int64_t i = 0; i < columns; ++i) {
        const double want = at(sum, r * columns + i) * scale * at(c.weight, i);
        ASSERT_NEAR(at(result, r * columns + i), want,
                    2.05 * half_step(dtype) * std::fabs(want) + 2e-6)
            << "row " << r << ", column " << i << " of " << columns;
      }
    }
  }
}

TEST_P(CudaSteps, PositionsAreAddedByTheirRow) {
  const DType dtype = GetParam();
  const std::vector<TokenRow> tokens{{5, 0, 4, 0}, {6, 1, 0, 0}};
  const DeviceBuffer rows(tokens.data(), static_cast<std::int64_t>(2 * sizeof(TokenRow)), 0);
  for (const std::int64_t columns : {5, 64, 2056}) {
    const Tensor table = random_tensor(dtype, 7 * columns, 1);
    const Tensor before = random_tensor(dtype, 2 * columns, 2);
    const DeviceBuffer from = on_gpu(table);
    const DeviceBuffer hidden = on_gpu(before);
    launch_add_positions(dtype, from.data(), rows.as<TokenRow>(), 2, 2, columns, hidden.data(),
                         nullptr);
    const Tensor got = from_gpu(hidden, before);
    for (std::int64_t i = 0; i < 2 * columns; ++i) {
      const std::int64_t row = i < columns ? 6 : 2;
      const double sum = at(before, i) + at(table, row * columns + i % columns);
      ASSERT_EQ(at(got, i), static_cast<double>(round_to(dtype, static_cast<float>(sum)))) << i;
    }
  }
}

TEST_P(CudaSteps, ReluKeepsWhatIsAboveZeroAndNaN) {
  const DType dtype = GetParam();
  for (const std::int64_t count : {1, 8, 2047, 2048, 4099}) {
    Tensor before = random_tensor(dtype, count, 3);
    store_float(dtype, before.mutable_bytes(), count - 1, NAN);
    const DeviceBuffer x = on_gpu(before);
    launch_relu(dtype, x.data(), count, nullptr);
    const Tensor got = from_gpu(x, before);
    for (std::int64_t i = 0; i + 1 < count; ++i)
      ASSERT_EQ(at(got, i), std::max(at(before, i), 0.0)) << i;
    EXPECT_TRUE(std::isnan(at(got, count - 1)));
  }
}

TEST_P(CudaSteps, HeadsThatDoNotRotateAreKept) {
  const DType dtype = GetParam();
  constexpr std::int32_t kDim = 15;
  const Tensor qkv = random_tensor(dtype, 4 * kDim, 5);  // Two heads of q, one of k and v each.
  const Tensor zeros = Tensor::zeros(dtype, {4 * kDim});
  const DeviceBuffer x = on_gpu(qkv);
  const DeviceBuffer keys = on_gpu(zeros);
  const DeviceBuffer values = on_gpu(zeros);
  const DeviceBuffer q_out = on_gpu(zeros);
  const std::vector<TokenRow> tokens{{0, 0, 2, 0}};
  const DeviceBuffer rows(tokens.data(), static_cast<std::int64_t>(sizeof(TokenRow)), 0);
  const std::vector<CacheView> caches{{keys.data(), values.data(), 4 * kDim, 4 * kDim}};
  const DeviceBuffer cache_table(caches.data(), static_cast<std::int64_t>(sizeof(CacheView)), 0);
  const std::int64_t element = dtype_size_bytes(dtype);
  QkvArgs args;
  args.q = {x.data(), 4 * kDim};
  args.k = {x.data() + 2 * kDim * element, 4 * kDim};
  args.v = {x.data() + 3 * kDim * element, 4 * kDim};
  args.rows = 1;
  args.num_heads = 2;
  args.num_kv_heads = 1;
  args.head_dim = kDim;
  args.tokens = rows.as<TokenRow>();
  args.caches = cache_table.as<CacheView>();
  args.q_out = q_out.data();
  launch_transform_qkv(dtype, args, nullptr);
  const Tensor q = from_gpu(q_out, zeros);
  const Tensor k = from_gpu(keys, zeros);
  const Tensor v = from_gpu(values, zeros);
  for (std::int64_t i = 0; i < 2 * kDim; ++i) ASSERT_EQ(at(q, i), at(qkv, i)) << i;
  for (std::int64_t i = 0; i < kDim; ++i) {
    ASSERT_EQ(at(k, 2 * kDim + i), at(qkv, 2 * kDim + i)) << i;
    ASSERT_EQ(at(v, 2 * kDim + i), at(qkv, 3 * kDim + i)) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, CudaSteps,
                         testing::Values(DType::kFloat32, DType::kFloat16, DType::kBFloat16));

}  // namespace
}  // namespace torchao_cpp::cuda
