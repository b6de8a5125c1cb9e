// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/float_formats.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/decoder_steps.h"
#include "torchao_cpp/tensor.h"

/// Attention on a GPU against sums in double.
namespace torchao_cpp::cuda {
namespace {

struct Sequence {
  std::int64_t position = 0;  ///< Of its first token.
  std::int64_t tokens = 1;
};

struct AttentionCase {
  DType dtype;
  std::int32_t heads, kv_heads, dim;
  std::vector<Sequence> sequences;
  std::int32_t splits = 1;
};

Tensor random_tensor(DType dtype, std::int64_t count, unsigned seed) {
  std::minstd_rand random(seed);
  Tensor out = Tensor::empty(DType::kFloat32, {count});
  for (float& v : out.mutable_span<float>())
    v = static_cast<float>(random() % 2001) / 500.0f - 2.0f;
  return out.to(dtype);
}

class CudaAttention : public testing::TestWithParam<AttentionCase> {
 protected:
  static constexpr std::int64_t kLayers = 2;
  static constexpr std::int64_t kLayer = 1;

  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
    const AttentionCase& c = GetParam();
    for (const Sequence& s : c.sequences) {
      rows_ += s.tokens;
      room_ = std::max(room_, s.position + s.tokens);
    }
    const auto count = static_cast<std::int64_t>(c.sequences.size());
    const std::int64_t each = kLayers * c.kv_heads * room_ * c.dim;
    q_ = random_tensor(c.dtype, rows_ * c.heads * c.dim, 1);
    keys_ = random_tensor(c.dtype, count * each, 2);
    values_ = random_tensor(c.dtype, count * each, 3);
    // What lies beyond a sequence's end must not be looked at.
    for (std::int64_t s = 0; s < count; ++s) {
      const Sequence& own = c.sequences[static_cast<std::size_t>(s)];
      for (std::int64_t h = 0; h < kLayers * c.kv_heads; ++h) {
        for (std::int64_t i = (own.position + own.tokens) * c.dim; i < room_ * c.dim; ++i) {
          for (Tensor* t : {&keys_, &values_})
            store_float(c.dtype, t->mutable_bytes(), s * each + h * room_ * c.dim + i, NAN);
        }
      }
    }
  }

  Tensor run(AttentionKernel kernel) const {
    const AttentionCase& c = GetParam();
    const DeviceBuffer q(q_.bytes(), q_.nbytes(), 0);
    const DeviceBuffer keys(keys_.bytes(), keys_.nbytes(), 0);
    const DeviceBuffer values(values_.bytes(), values_.nbytes(), 0);
    Tensor out = random_tensor(c.dtype, q_.numel(), 9);
    const DeviceBuffer result(out.bytes(), out.nbytes(), 0);
    const std::int64_t each = keys_.nbytes() / static_cast<std::int64_t>(c.sequences.size());
    std::vector<CacheView> caches;
    std::vector<AttentionTile> tiles;
    const std::int64_t most =
        kernel == AttentionKernel::kPrefill ? kPrefillRows / (c.heads / c.kv_heads) : 1;
    std::int32_t row = 0;
    for (const Sequence& s : c.sequences) {
      const auto index = static_cast<std::int32_t>(caches.size());
      caches.push_back({keys.data() + index * each, values.data() + index * each, room_ * c.dim,
                        c.kv_heads * room_ * c.dim});
      for (std::int64_t i = 0; i < s.tokens; i += most) {
        const auto tokens = static_cast<std::int32_t>(std::min(most, s.tokens - i));
        tiles.push_back({row, index, static_cast<std::int32_t>(s.position + i), tokens});
        row += tokens;
      }
    }
    const auto bytes_of = [](const auto& v) {
      return static_cast<std::int64_t>(v.size() * sizeof(v[0]));
    };
    const DeviceBuffer cache_table(caches.data(), bytes_of(caches), 0);
    const DeviceBuffer tile_table(tiles.data(), bytes_of(tiles), 0);
    const std::vector<std::uint32_t> zeros(tiles.size() * static_cast<std::size_t>(c.kv_heads));
    const DeviceBuffer counters(zeros.data(), bytes_of(zeros), 0);
    const std::int64_t blocks = static_cast<std::int64_t>(tiles.size()) * c.kv_heads * c.splits;
    const DeviceBuffer partial(attention_partial_floats(blocks, c.dim) * 4, 0);
    AttentionArgs args;
    args.q = q.data();
    args.out = result.data();
    args.caches = cache_table.as<CacheView>();
    args.layer = kLayer;
    args.tiles = tile_table.as<AttentionTile>();
    args.tile_count = static_cast<std::int32_t>(tiles.size());
    args.num_heads = c.heads;
    args.num_kv_heads = c.kv_heads;
    args.head_dim = c.dim;
    args.splits = kernel == AttentionKernel::kDecode ? c.splits : 1;
    args.partial = partial.as<float>();
    args.counters = counters.as<std::uint32_t>();
    // Twice: the counters must be back at zero.
    launch_attention(c.dtype, kernel, args, nullptr);
    launch_attention(c.dtype, kernel, args, nullptr);
    result.download(out.mutable_bytes(), out.nbytes());
    return out;
  }

  double key(const Tensor& t, std::int64_t sequence, std::int64_t kv_head, std::int64_t position,
             std::int64_t i) const {
    const AttentionCase& c = GetParam();
    const std::int64_t at =
        (((sequence * kLayers + kLayer) * c.kv_heads + kv_head) * room_ + position) * c.dim + i;
    return static_cast<double>(load_float(c.dtype, t.bytes(), at));
  }

  void compare(const Tensor& got) const {
    const AttentionCase& c = GetParam();
    // Probabilities and the result are rounded to the dtype once each, relative to at most 2 = the
    // largest value.
    const double step = c.dtype == DType::kBFloat16  ? 0x1p-8
                        : c.dtype == DType::kFloat16 ? 0x1p-11
                                                     : 0x1p-18;
    std::int64_t row = 0;
    for (std::size_t s = 0; s < c.sequences.size(); ++s) {
      for (std::int64_t t = 0; t < c.sequences[s].tokens; ++t, ++row) {
        for (std::int64_t h = 0; h < c.heads; ++h)
          check_row(got, static_cast<std::int64_t>(s), c.sequences[s].position + t, row, h,
                    4 * step);
      }
    }
  }

  void check_row(const Tensor& got, std::int64_t sequence, std::int64_t position, std::int64_t row,
                 std::int64_t head, double allowed) const {
    const AttentionCase& c = GetParam();
    const std::int64_t kv_head = head / (c.heads / c.kv_heads);
    const std::int64_t at = (row * c.heads + head) * c.dim;
    std::vector<double> scores;
    for (std::int64_t p = 0; p <= position; ++p) {
      double score = 0;
      for (std::int64_t i = 0; i < c.dim; ++i)
        score += static_cast<double>(load_float(c.dtype, q_.bytes(), at + i)) *
                 key(keys_, sequence, kv_head, p, i);
      scores.push_back(score / std::sqrt(static_cast<double>(c.dim)));
    }
    const double most = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& v : scores) total += v = std::exp(v - most);
    for (std::int64_t i = 0; i < c.dim; ++i) {
      double want = 0;
      for (std::int64_t p = 0; p <= position; ++p)
        want += scores[static_cast<std::size_t>(p)] / total * key(values_, sequence, kv_head, p, i);
      const auto value = static_cast<double>(load_float(c.dtype, got.bytes(), at + i));
      ASSERT_NEAR(value, want, allowed) << "row " << row << ", head " << head << ", column " << i;
    }
  }

  std::int64_t rows_ = 0;
  std::int64_t room_ = 0;
  Tensor q_, keys_, values_;
};

TEST_P(CudaAttention, IsTheSumInDouble) {
  const AttentionCase& c = GetParam();
  const bool is_decode = std::all_of(c.sequences.begin(), c.sequences.end(),
                                     [](const Sequence& s) { return s.tokens == 1; });
  const AttentionKernel chosen =
      choose_attention(c.dtype, c.heads / c.kv_heads, c.dim, is_decode, cuda_capability(0));
  compare(run(chosen));
  if (chosen == AttentionKernel::kDecode) compare(run(AttentionKernel::kPrefill));
}

std::vector<AttentionCase> attention_cases() {
  std::vector<AttentionCase> cases;
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    for (const std::int32_t dim : {64, 128}) {
      cases.push_back({dtype, 8, 2, dim, {{0, 1}}, 1});
      cases.push_back({dtype, 8, 2, dim, {{63, 1}, {64, 1}, {200, 1}}, 1});
      cases.push_back({dtype, 8, 2, dim, {{63, 1}, {64, 1}, {500, 1}}, 8});
      cases.push_back({dtype, 3, 3, dim, {{700, 1}}, 5});
      cases.push_back({dtype, 16, 1, dim, {{130, 1}, {0, 1}}, 2});
      cases.push_back({dtype, 6, 2, dim, {{0, 77}}, 1});
      cases.push_back({dtype, 8, 2, dim, {{0, 33}, {100, 5}, {64, 1}, {63, 130}}, 1});
    }
  }
  cases.push_back({DType::kBFloat16, 64, 1, 64, {{90, 2}}, 1});  // A tile is one token.
  cases.push_back({DType::kBFloat16, 65, 1, 64, {{9, 2}}, 1});   // Too many heads for one.
  cases.push_back({DType::kBFloat16, 4, 2, 96, {{0, 20}, {70, 1}}, 1});
  cases.push_back({DType::kFloat32, 2, 1, 512, {{0, 9}}, 1});
  cases.push_back({DType::kFloat16, 2, 2, 6, {{40, 3}}, 1});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, CudaAttention, testing::ValuesIn(attention_cases()));

}  // namespace
}  // namespace torchao_cpp::cuda
