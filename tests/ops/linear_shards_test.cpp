// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "ops/linear_cases.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/linear.h"
#include "torchao_cpp/quantize.h"

/// Tensor-parallel ranks of every weight class: what they hold together is the whole weight, value
/// for value, or the slice is refused with the reason.
namespace torchao_cpp::ops {
namespace {

constexpr std::int64_t kN = 512;
constexpr std::int64_t kK = 1024;
constexpr int kRanks = 4;

std::vector<LinearCase> quantized_cases() {
  std::vector<LinearCase> out;
  for (const LinearCase& item : linear_cases()) {
    if (!item.config.empty()) out.push_back(item);
  }
  return out;
}

LinearOptions options_of(int rank, int ranks = kRanks) {
  LinearOptions o;
  o.params_dtype = DType::kBFloat16;
  o.prefix = "layer";
  o.tp_size = ranks;
  o.tp_rank = rank;
  o.keep_weights = true;
  return o;
}

Tensor dequantized(const LinearBase& layer) {
  std::vector<Tensor> parts;
  for (const LoadedWeight& weight : layer.weights())
    parts.push_back(weight.quantized ? weight.quantized->dequantize() : weight.plain);
  return concat_rows(parts);
}

LoadedWeight loaded(const LinearCase& item, unsigned seed, std::int64_t n = kN) {
  return {{}, make_weight(item, n, kK, seed).quantized};
}

/// The dequantized weight of a rank, or what was said against it.
struct Rank {
  Tensor weight;
  std::string refusal;
};

template <typename Layer, typename Load>
Rank load_rank(Layer&& layer, const Load& load) {
  try {
    load(layer);
    layer.process_weights_after_loading();
  } catch (const ShapeError& e) {
    return {{}, e.what()};
  }
  return {dequantized(layer), {}};
}

class LinearShards : public testing::TestWithParam<LinearCase> {};
/// Those that store a row's codes together: not tiles of rows, shuffled or not, not gemlite's
/// columns, and not NF4, whose scales follow from all rows.
class LinearShardsByRow : public LinearShards {};

std::vector<LinearCase> by_row_cases() {
  std::vector<LinearCase> out = quantized_cases();
  std::erase_if(out, [](const LinearCase& item) {
    return item.name == "int4wo_tiles" || item.name == "int4wo_hqq" || item.name == "nf4" ||
           item.name.starts_with("uintx") || item.name.ends_with("preshuffled");
  });
  return out;
}

TEST_P(LinearShards, ColumnParallelRanksHoldTheRowsOfTheWhole) {
  const LoadedWeight whole = loaded(GetParam(), 1);
  const Tensor want = whole.quantized->dequantize();
  for (int rank = 0; rank < kRanks; ++rank) {
    const Rank got = load_rank(ColumnParallelLinear(kK, kN, options_of(rank)),
                               [&](LinearBase& l) { l.load_weight(whole); });
    ASSERT_EQ(got.refusal, "");
    EXPECT_TRUE(equal_bytes(got.weight, want.narrow(0, rank * kN / kRanks, kN / kRanks).clone()))
        << "rank " << rank;
  }
}

TEST_P(LinearShards, RowParallelRanksHoldTheColumnsOfTheWhole) {
  // Groups of NF4 blocks share a mean over rows; tiles hold 1024 columns, and 512 are a rank's
  // here.
  const std::set<std::string> refused{"nf4", "int4wo_tiles", "int4wo_hqq"};
  const LoadedWeight whole = loaded(GetParam(), 1);
  const Tensor want = whole.quantized->dequantize();
  for (int rank = 0; rank < kRanks; ++rank) {
    const Rank got = load_rank(RowParallelLinear(kK, kN, options_of(rank)),
                               [&](LinearBase& l) { l.load_weight(whole); });
    if (refused.contains(GetParam().name)) {
      EXPECT_THAT(got.refusal, testing::HasSubstr("layer 'layer', rank")) << GetParam().name;
      continue;
    }
    ASSERT_EQ(got.refusal, "");
    EXPECT_TRUE(equal_bytes(got.weight, want.narrow(1, rank * kK / kRanks, kK / kRanks)))
        << "rank " << rank;
  }
}

TEST_P(LinearShards, FusedRanksHoldTheirRowsOfEveryPart) {
  const std::array<LoadedWeight, 2> parts{loaded(GetParam(), 1), loaded(GetParam(), 2)};
  for (int rank = 0; rank < kRanks; ++rank) {
    const Rank got =
        load_rank(MergedColumnParallelLinear(kK, {kN, kN}, options_of(rank)), [&](LinearBase& l) {
          l.load_weight(parts[1], 1);
          l.load_weight(parts[0], 0);
        });
    ASSERT_EQ(got.refusal, "");
    const std::int64_t rows = kN / kRanks;
    for (std::int64_t p = 0; p < 2; ++p) {
      const Tensor want = parts[static_cast<std::size_t>(p)]
                              .quantized->dequantize()
                              .narrow(0, rank * rows, rows)
                              .clone();
      EXPECT_TRUE(equal_bytes(got.weight.narrow(0, p * rows, rows).clone(), want))
          << "rank " << rank << " part " << p;
    }
  }
}

TEST_P(LinearShards, QkvRanksShareKvHeads) {
  // 4 heads of 128 and 2 kv heads of 256 rows each would not be alike, so heads are 128: q 512
  // rows, k and v 256.
  const LoadedWeight q = loaded(GetParam(), 1);
  const LoadedWeight kv = loaded(GetParam(), 2, kN / 2);
  const Tensor want_q = q.quantized->dequantize();
  const Tensor want_kv = kv.quantized->dequantize();
  for (int rank = 0; rank < kRanks; ++rank) {
    const Rank got =
        load_rank(QKVParallelLinear(kK, 128, 4, 2, options_of(rank)), [&](LinearBase& l) {
          l.load_weight(q, 0);
          l.load_weight(kv, 1);
          l.load_weight(kv, 2);
        });
    ASSERT_EQ(got.refusal, "");
    EXPECT_TRUE(equal_bytes(got.weight.narrow(0, 0, 128).clone(),
                            want_q.narrow(0, rank * 128, 128).clone()));
    for (const std::int64_t at : {128, 256}) {
      EXPECT_TRUE(equal_bytes(got.weight.narrow(0, at, 128).clone(),
                              want_kv.narrow(0, rank / 2 * 128, 128).clone()))
          << "rank " << rank << " rows from " << at;
    }
  }
}

/// A copy of a tensor in pages of its own, of which only rows [first, first + rows) can be read.
Tensor with_readable_rows(const Tensor& t, std::int64_t first, std::int64_t rows) {
  const auto bytes = static_cast<std::size_t>(t.nbytes());
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memcpy(memory, t.bytes(), bytes);
  const std::int64_t row_bytes = t.nbytes() / t.shape()[0];
  auto* base = static_cast<std::byte*>(memory);
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const std::uintptr_t begin = static_cast<std::uintptr_t>(first * row_bytes) / page * page;
  const std::uintptr_t end =
      (static_cast<std::uintptr_t>((first + rows) * row_bytes) + page - 1) / page * page;
  if (begin > 0) mprotect(base, begin, PROT_NONE);
  if (end < bytes) mprotect(base + end, bytes - end, PROT_NONE);
  return Tensor::borrow(memory, t.dtype(), t.shape(),
                        std::shared_ptr<const void>(memory, [bytes](const void* p) {
                          munmap(const_cast<void*>(p), bytes);
                        }));
}

// A read of another rank's codes ends this program.
TEST_P(LinearShardsByRow, ARankReadsItsOwnCodesOnly) {
  const WeightTensorPtr whole = loaded(GetParam(), 1).quantized;
  TensorParts parts = whole->to_parts();
  for (int rank = 0; rank < kRanks; ++rank) {
    TensorParts guarded = parts;
    for (auto& [name, tensor] : guarded.parts) {
      if (name == "qdata") tensor = with_readable_rows(tensor, rank * kN / kRanks, kN / kRanks);
    }
    ColumnParallelLinear layer(kK, kN, options_of(rank));
    layer.load_weight({{}, weight_from_parts(guarded, "w")});
    layer.process_weights_after_loading();
    EXPECT_EQ(dequantized(layer).shape(), (Shape{kN / kRanks, kK}));
  }
}

std::string name_of(const testing::TestParamInfo<LinearCase>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Cases, LinearShards, testing::ValuesIn(quantized_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Cases, LinearShardsByRow, testing::ValuesIn(by_row_cases()), name_of);

TEST(LinearShards, APlainRankReadsItsOwnRowsOnly) {
  const Tensor weight = random_tensor(DType::kBFloat16, {kN, kK}, 1, 0.1F);
  const Tensor guarded = with_readable_rows(weight, 128, 128);
  ColumnParallelLinear layer(kK, kN, options_of(1));
  layer.load_weight({guarded, nullptr});
  layer.process_weights_after_loading();
  EXPECT_TRUE(equal_bytes(dequantized(layer), weight.narrow(0, 128, 128).clone()));
}

TEST(LinearShards, ATileThatACutWouldDivideIsRefused) {
  const LinearCase tiles =
      *std::find_if(linear_cases().begin(), linear_cases().end(),
                    [](const LinearCase& c) { return c.name == "int4wo_tiles"; });
  const LoadedWeight weight{{}, make_weight(tiles, 24, kK, 1).quantized};
  const Rank got = load_rank(ColumnParallelLinear(kK, 24, options_of(1, 2)),
                             [&](LinearBase& l) { l.load_weight(weight); });
  EXPECT_THAT(got.refusal, testing::AllOf(testing::HasSubstr("Int4TilePackedTo4dTensor"),
                                          testing::HasSubstr("8")));
}

}  // namespace
}  // namespace torchao_cpp::ops
