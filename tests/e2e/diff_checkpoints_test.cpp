// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "e2e/demo_model.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"

/// diff_checkpoints over the demo model, its quantized forms, and small files.
namespace torchao_cpp::e2e {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

fs::path checkpoints() { return fs::path(TORCHAO_CPP_TEST_DATA) / "checkpoints"; }

void quantize_demo(const std::string& config, const fs::path& to) {
  quantize_model(demo_model(), to, {TorchAOConfig::from_user(config), {}, {}, nullptr});
}

bool is_linear(const DiffReport::Row& row) { return row.class_a != row.class_b; }

Tensor floats(const Shape& shape, const std::vector<float>& values) {
  return Tensor::from_values<float>(DType::kFloat32, shape, values);
}

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

TEST(DiffCheckpoints, EqualOnesAreInfinitelyClose) {
  const DiffReport report = diff_checkpoints(demo_model(), demo_model());
  EXPECT_GT(report.compared, 50);
  EXPECT_EQ(report.equal, report.compared);
  EXPECT_THAT(report.only_in_a, IsEmpty());
  EXPECT_THAT(report.only_in_b, IsEmpty());
  EXPECT_EQ(report.total.sqnr_db, kInfinity);
  EXPECT_TRUE(report.total.is_equal);
  for (const DiffReport::Row& row : report.rows) EXPECT_TRUE(row.numbers.is_equal) << row.fqn;
}

// Rounding to steps of d makes noise d^2 / 12. With the steps that span a row's largest magnitude
// of about 3 to 4 deviations: 8 bits 6.02 * 8 + 4.77 - 20 log10(3.5) = 42 dB; 4 bits in groups of
// 32, whose largest magnitude is about 2.2 deviations, with 15 steps: 21 dB. A few dB either way
// for other distributions; bfloat16 itself is 56 dB away.
TEST(DiffCheckpoints, QuantizedFormsAreAsFarAsTheirBitsSay) {
  const ScratchFolder scratch;
  quantize_demo("int8wo", scratch / "int8");
  quantize_demo("int4wo-32", scratch / "int4");
  const DiffReport int8 = diff_checkpoints(demo_model(), scratch / "int8");
  const DiffReport int4 = diff_checkpoints(demo_model(), scratch / "int4");
  ASSERT_EQ(int8.rows.size(), int4.rows.size());
  int linears = 0;
  for (std::size_t i = 0; i < int8.rows.size(); ++i) {
    const DiffReport::Row& row8 = int8.rows[i];
    const DiffReport::Row& row4 = int4.rows[i];
    EXPECT_EQ(row8.numbers.is_equal, !is_linear(row8)) << row8.fqn;
    if (!is_linear(row8)) continue;
    ++linears;
    EXPECT_EQ(row8.class_b, "Int8Tensor");
    EXPECT_GT(row8.numbers.sqnr_db, 34) << row8.fqn;
    EXPECT_LT(row8.numbers.sqnr_db, 50) << row8.fqn;
    EXPECT_GT(row4.numbers.sqnr_db, 15) << row4.fqn;
    EXPECT_LT(row4.numbers.sqnr_db, 26) << row4.fqn;
    EXPECT_GE(row8.numbers.max_abs_error, row8.numbers.mean_abs_error);
  }
  EXPECT_EQ(linears, 8 * 7);
  EXPECT_EQ(int8.total_differing.numel, int4.total_differing.numel);
  EXPECT_GT(int8.total.sqnr_db, int8.total_differing.sqnr_db);
}

TEST(DiffCheckpoints, DoesNotDependOnTheNumberOfThreads) {
  const ScratchFolder scratch;
  quantize_demo("int8wo", scratch / "int8");
  const int before = threads();
  set_threads(1);
  const DiffReport one = diff_checkpoints(demo_model(), scratch / "int8");
  set_threads(3);
  const DiffReport three = diff_checkpoints(demo_model(), scratch / "int8");
  set_threads(before);
  ASSERT_EQ(one.rows.size(), three.rows.size());
  for (std::size_t i = 0; i < one.rows.size(); ++i) {
    EXPECT_EQ(one.rows[i].numbers.sqnr_db, three.rows[i].numbers.sqnr_db) << one.rows[i].fqn;
    EXPECT_EQ(one.rows[i].numbers.mean_abs_error, three.rows[i].numbers.mean_abs_error);
  }
  EXPECT_EQ(one.total.sqnr_db, three.total.sqnr_db);
}

TEST(DiffCheckpoints, AFixtureIsEqualToItsDequantizedFile) {
  for (const char* id : {"llama1-int4-plain", "llama1-fp8wo", "llama1-mxfp4", "llama1-nvfp4wo",
                         "ao0.14.1-llama1-intx4-v2"}) {
    const DiffReport report = diff_checkpoints(checkpoints() / id / "safetensors",
                                               checkpoints() / id / "dequant.safetensors");
    EXPECT_EQ(report.equal, report.compared) << id;
    EXPECT_GE(report.compared, 7) << id;
  }
}

TEST(DiffCheckpoints, NamesProblemsAndWhatIsOnlyInOne) {
  const ScratchFolder scratch;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  write_safetensors(scratch / "a", NamedTensors{{"only.a", floats({1}, {1})},
                                                {"shape.weight", floats({2}, {1, 2})},
                                                {"worse.weight", floats({2}, {1, 2})},
                                                {"better.weight", floats({2}, {1, 2})},
                                                {"equal.weight", floats({1}, {3})},
                                                {"nan.weight", floats({2}, {1, nan})}});
  write_safetensors(scratch / "b", NamedTensors{{"shape.weight", floats({1, 2}, {1, 2})},
                                                {"only.b", floats({1}, {1})},
                                                {"worse.weight", floats({2}, {2, 2})},
                                                {"better.weight", floats({2}, {1, 2.5f})},
                                                {"equal.weight", floats({1}, {3})},
                                                {"nan.weight", floats({2}, {1, 7})}});
  const DiffReport report = diff_checkpoints(scratch / "a", scratch / "b");
  EXPECT_THAT(report.only_in_a, ElementsAre("only.a"));
  EXPECT_THAT(report.only_in_b, ElementsAre("only.b"));
  EXPECT_EQ(report.compared, 4);
  EXPECT_EQ(report.equal, 1);
  EXPECT_EQ(report.total.nonfinite_differing, 1);
  EXPECT_TRUE(std::isnan(report.total.sqnr_db));
  std::vector<std::string> order;
  for (const std::size_t i : worst_first(report)) order.push_back(report.rows[i].fqn);
  EXPECT_THAT(order, ElementsAre("shape.weight", "nan.weight", "worse.weight", "better.weight",
                                 "equal.weight"));
  EXPECT_EQ(report.rows[worst_first(report)[0]].problem, "shape [2] in A, [1, 2] in B");
}

TEST(DiffCheckpoints, RefusesWhatHasNothingInCommon) {
  const ScratchFolder scratch;
  write_safetensors(scratch / "a", NamedTensors{{"x", floats({1}, {1})}});
  write_safetensors(scratch / "b", NamedTensors{{"y", floats({1}, {1})}});
  write_safetensors(scratch / "c", NamedTensors{{"x", floats({2}, {1, 2})}});
  const auto message = [&](const std::string& a, const std::string& b) -> std::string {
    try {
      diff_checkpoints(scratch / a, scratch / b);
    } catch (const CheckpointError& e) {
      EXPECT_EQ(e.kind(), "diff.nothing");
      return e.what();
    }
    return "no error";
  };
  EXPECT_THAT(message("a", "b"),
              HasSubstr("no weight has the same name in both; A has 'x'; B has 'y'"));
  EXPECT_THAT(message("a", "c"),
              HasSubstr("no weight can be compared; 'x': shape [1] in A, [2] in B"));
  EXPECT_THROW(diff_checkpoints(scratch / "a", scratch / "absent"), IoError);
}

TEST(DiffCheckpoints, StopsWhenCancelled) {
  std::atomic<bool> cancelled{false};
  DiffOptions options;
  options.cancelled = &cancelled;
  options.progress = [&](std::string_view, std::int64_t, std::int64_t) { cancelled = true; };
  try {
    diff_checkpoints(demo_model(), demo_model(), options);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), "cancelled");
  }
}

}  // namespace
}  // namespace torchao_cpp::e2e
