// SPDX-License-Identifier: Apache-2.0
#include "models/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/parallel.h"
#include "core/float_formats.h"
#include "models/decoder_ops.h"

namespace torchao_cpp {
namespace {

RopeParameters no_rotation() {
  RopeParameters rope;
  rope.rope_type = "linear";
  rope.numbers["factor"] = 1e30;  // every angle is about 0
  return rope;
}

struct Case {
  AttentionShape shape;
  std::int64_t tokens;
  DType dtype;
};

/// Random q, k, v of one sequence and their attention, computed in double from the stored values.
class Sequence {
 public:
  explicit Sequence(const Case& c, unsigned seed = 7)
      : shape_(c.shape), tokens_(c.tokens), dtype_(c.dtype), generator_(seed) {
    const std::int64_t d = shape_.head_dim;
    q_ = random({tokens_, shape_.num_heads * d});
    k_ = random({tokens_, shape_.num_kv_heads * d});
    v_ = random({tokens_, shape_.num_kv_heads * d});
  }

  /// Through the cache in pieces of `piece` tokens; nan_first: what is not written yet is NaN.
  Tensor run(std::int64_t piece, bool nan_first = false) const {
    KvCache cache = make_cache();
    if (nan_first) {
      const auto bytes = static_cast<std::size_t>(shape_.num_kv_heads * cache.max_length() *
                                                  shape_.head_dim * dtype_size_bytes(dtype_));
      std::memset(cache.keys(1, 0), 0xFF, bytes);
      std::memset(cache.values(1, 0), 0xFF, bytes);
    }
    Attention attention(shape_, dtype_, piece, tokens_);
    Tensor out = Tensor::zeros(dtype_, q_.shape());
    std::vector<float> queries(static_cast<std::size_t>(q_.numel()));
    for (std::int64_t first = 0; first < tokens_; first += piece) {
      const std::int64_t rows = std::min(piece, tokens_ - first);
      store(first, rows, cache, queries.data());
      const std::int64_t offset = first * q_.size(1) * dtype_size_bytes(dtype_);
      const std::vector<AttentionSegment> segments{{&cache, rows, first}};
      attention.run(segments, 1, queries.data(), out.mutable_bytes() + offset);
    }
    return out;
  }

  /// `tokens` of one sequence after those of the other, all in one run.
  static Tensor run_together(const Sequence& a, const Sequence& b) {
    KvCache cache_a = a.make_cache();
    KvCache cache_b = b.make_cache();
    Attention attention(a.shape_, a.dtype_, a.tokens_ + b.tokens_, b.tokens_);
    Tensor out = Tensor::zeros(a.dtype_, {a.tokens_ + b.tokens_, a.q_.size(1)});
    std::vector<float> queries(static_cast<std::size_t>(out.numel()));
    a.store(0, a.tokens_, cache_a, queries.data());
    b.store(0, b.tokens_, cache_b, queries.data() + a.q_.numel());
    const std::vector<AttentionSegment> segments{{&cache_a, a.tokens_, 0},
                                                 {&cache_b, b.tokens_, 0}};
    attention.run(segments, 1, queries.data(), out.mutable_bytes());
    return out;
  }

  /// [head_dim] values of one head of one token.
  std::vector<double> expected(std::int64_t token, std::int64_t head) const {
    const std::int64_t d = shape_.head_dim;
    const std::int64_t kv = head / shape_.group();
    double sum = 0;
    std::vector<double> weighted(static_cast<std::size_t>(d));
    for (std::int64_t j = 0; j <= token; ++j) {
      double dot = 0;
      for (std::int64_t i = 0; i < d; ++i)
        dot += at(q_, token, head * d + i) * at(k_, j, kv * d + i);
      const double p = std::exp(dot / std::sqrt(static_cast<double>(d)));
      sum += p;
      for (std::int64_t i = 0; i < d; ++i)
        weighted[static_cast<std::size_t>(i)] += p * at(v_, j, kv * d + i);
    }
    for (double& value : weighted) value /= sum;
    return weighted;
  }

 private:
  KvCache make_cache() const { return {dtype_, 2, shape_.num_kv_heads, shape_.head_dim, tokens_}; }
  void store(std::int64_t first, std::int64_t rows, KvCache& cache, float* queries) const {
    const RotaryEmbedding rope(no_rotation(), shape_.head_dim, tokens_, dtype_, "test");
    const HeadTransform heads{shape_.num_heads, shape_.num_kv_heads, shape_.head_dim, {}, {}, 0};
    std::vector<TokenPlace> places;
    for (std::int64_t r = 0; r < rows; ++r) places.push_back({&cache, first + r});
    transform_qkv(heads, &rope, {row(q_, first), row(k_, first), row(v_, first)}, places, 1,
                  queries);
  }
  static RowView row(const Tensor& t, std::int64_t r) {
    return {t.bytes() + r * t.size(1) * dtype_size_bytes(t.dtype()), t.size(1)};
  }
  double at(const Tensor& t, std::int64_t r, std::int64_t c) const {
    return load_float(dtype_, t.bytes(), r * t.size(1) + c);
  }
  Tensor random(Shape shape) {
    Tensor t = Tensor::empty(dtype_, std::move(shape));
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      store_float(dtype_, t.mutable_bytes(), i,
                  static_cast<float>(generator_() % 2001) / 500.0f - 2.0f);
    }
    return t;
  }

  AttentionShape shape_;
  std::int64_t tokens_;
  DType dtype_;
  std::minstd_rand generator_;
  Tensor q_, k_, v_;
};

class AttentionTest : public testing::TestWithParam<Case> {};

TEST_P(AttentionTest, AgreesWithTheDefinition) {
  const Case& c = GetParam();
  const Sequence sequence(c);
  const Tensor out = sequence.run(c.tokens);
  // One rounding of the output (half a unit in the last place of values below 4) on top of float32
  // sums.
  const double tolerance =
      c.dtype == DType::kFloat32 ? 1e-5 : (c.dtype == DType::kFloat16 ? 2e-3 : 1.6e-2);
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    for (std::int64_t h = 0; h < c.shape.num_heads; ++h) {
      const std::vector<double> want = sequence.expected(t, h);
      for (std::int64_t i = 0; i < c.shape.head_dim; ++i) {
        const std::int64_t index = (t * c.shape.num_heads + h) * c.shape.head_dim + i;
        ASSERT_NEAR(load_float(c.dtype, out.bytes(), index), want[static_cast<std::size_t>(i)],
                    tolerance)
            << t << " " << h << " " << i;
      }
    }
  }
}

TEST_P(AttentionTest, DependsNeitherOnPiecesNorOnThreads) {
  const Sequence sequence(GetParam());
  const Tensor whole = sequence.run(GetParam().tokens);
  EXPECT_TRUE(equal_bytes(whole, sequence.run(1)));
  EXPECT_TRUE(equal_bytes(whole, sequence.run(13)));
  EXPECT_TRUE(equal_bytes(whole, sequence.run(13, true)));
  EXPECT_TRUE(equal_bytes(whole, sequence.run(1, true)));
  const int threads = num_threads();
  set_num_threads(3);
  EXPECT_TRUE(equal_bytes(whole, sequence.run(GetParam().tokens)));
  set_num_threads(threads);
}

TEST_P(AttentionTest, DoesNotDependOnOtherSequences) {
  const Case& c = GetParam();
  const Sequence first(c);
  const Sequence second({c.shape, c.tokens + 3, c.dtype}, 8);
  const Tensor both = Sequence::run_together(first, second);
  EXPECT_TRUE(equal_bytes(both.narrow(0, 0, c.tokens), first.run(c.tokens)));
  EXPECT_TRUE(equal_bytes(both.narrow(0, c.tokens, c.tokens + 3), second.run(c.tokens + 3)));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionTest,
    testing::Values(Case{{4, 2, 16}, 1, DType::kFloat32}, Case{{4, 2, 16}, 63, DType::kFloat32},
                    Case{{6, 2, 64}, 64, DType::kFloat32}, Case{{6, 2, 64}, 130, DType::kBFloat16},
                    Case{{3, 3, 10}, 65, DType::kFloat16}, Case{{40, 1, 8}, 70, DType::kFloat32},
                    Case{{2, 1, 128}, 1100, DType::kBFloat16},
                    Case{{80, 1, 32}, 70, DType::kBFloat16},
                    Case{{5, 1, 24}, 530, DType::kFloat32}));

}  // namespace
}  // namespace torchao_cpp
