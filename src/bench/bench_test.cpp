// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/machine.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

BenchMachine round_machine() { return {"", "test", 2, 1e9, {{"f32", 1e9}, {"int8_vnni", 4e9}}}; }

BenchLinearOptions small_linear() {
  BenchLinearOptions options;
  options.shapes = {{64, 128}, {48, 96}};
  options.configs = {"plain", "int8dq", "int4wo-128"};
  options.rows = {1, 32};
  options.seconds = 0;
  options.rotation_bytes = 1 << 16;
  return options;
}

TEST(BenchMachine, MeasuresWhatAnyMachineReaches) {
  const BenchMachine machine = measure_machine();
  EXPECT_GT(machine.read_bandwidth, 1e8);
  EXPECT_FALSE(machine.cpu.empty());
  ASSERT_FALSE(machine.peaks.empty());
  EXPECT_EQ(machine.peaks[0].name, "f32");
  for (const PeakRate& peak : machine.peaks)
    EXPECT_GT(peak.operations_per_second, 1e8) << peak.name;
}

TEST(BenchLinear, RatesFollowFromTheMedian) {
  const std::vector<BenchLinearRow> rows = bench_linear(small_linear(), round_machine());
  ASSERT_EQ(rows.size(), 12u);
  for (const BenchLinearRow& row : rows) {
    if (row.config == "int4wo-128" && row.shape.input_size == 96) {
      EXPECT_THAT(row.problem, testing::HasSubstr("96"));
      continue;
    }
    EXPECT_EQ(row.problem, "");
    EXPECT_GE(row.runs, 5);
    EXPECT_GT(row.packed_bytes, 0);
    EXPECT_DOUBLE_EQ(row.bytes_per_second * row.seconds, static_cast<double>(row.packed_bytes));
    const double operations =
        2.0 * static_cast<double>(row.rows * row.shape.output_size * row.shape.input_size);
    EXPECT_NEAR(row.operations_per_second * row.seconds, operations, 1e-6 * operations);
    const double peak = row.peak == "f32" ? 1e9 : 4e9;
    EXPECT_DOUBLE_EQ(row.peak_share, row.operations_per_second / peak);
    EXPECT_DOUBLE_EQ(row.bandwidth_share, row.bytes_per_second / 1e9);
  }
}

TEST(BenchLinear, ForcesAKernelAndPlotsWhatItMeasured) {
  BenchLinearOptions options = small_linear();
  options.force_kernel = "ref";
  const std::vector<BenchLinearRow> rows = bench_linear(options, round_machine());
  for (const BenchLinearRow& row : rows) {
    const bool has_ref = row.kernel.ends_with("/ref");
    EXPECT_EQ(has_ref, row.problem.empty()) << row.kernel << row.problem;
  }
  const std::string plot = bench_linear_plot(rows, round_machine());
  for (const char* text : {"<svg", "plain 64x128", "int8dq 48x96", "M = 32"})
    EXPECT_THAT(plot, testing::HasSubstr(text));
  EXPECT_THAT(plot, testing::Not(testing::HasSubstr("int4wo-128 48x96")));
}

TEST(BenchLinear, RefusesWhatItCannotMeasure) {
  BenchLinearOptions options = small_linear();
  options.configs = {"int8"};
  EXPECT_THROW(bench_linear(options, round_machine()), Error);
  options = small_linear();
  options.shapes = {{0, 4}};
  EXPECT_THROW(bench_linear(options, round_machine()), Error);
  options = small_linear();
  options.rows = {0};
  EXPECT_THROW(bench_linear(options, round_machine()), Error);
}

TEST(BenchQuantize, ShapesAndModels) {
  BenchQuantizeOptions options;
  options.shapes = {{32, 96}};
  options.configs = {"int8wo", "int4wo-128"};
  options.seconds = 0;
  std::vector<BenchQuantizeRow> rows = bench_quantize(options, round_machine());
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].what, "32x96");
  EXPECT_EQ(rows[0].input_bytes, 32 * 96 * 2);
  EXPECT_GT(rows[0].bytes_per_second, 0);
  EXPECT_THAT(rows[1].problem, testing::HasSubstr("96"));

  options.directory = TORCHAO_CPP_DEMO_MODEL;
  options.configs = {"int8wo"};
  rows = bench_quantize(options, round_machine());
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].problem, "");
  EXPECT_GT(rows[0].input_bytes, 1 << 20);
}

TEST(BenchModel, SharesAddUpAndTheLimitFollowsFromTheBytes) {
  BenchModelOptions options;
  options.batches = {1, 3};
  options.prompt_tokens = 12;
  options.decode_tokens = 5;
  options.repeats = 2;
  const BenchModelReport report = bench_model(TORCHAO_CPP_DEMO_MODEL, options, round_machine());
  ASSERT_EQ(report.rows.size(), 2u);
  for (const BenchModelRow& row : report.rows) {
    EXPECT_GT(row.prefill_tokens_per_second, 0);
    EXPECT_GT(row.decode_tokens_per_second, 0);
    for (const BenchShares& shares : {row.prefill, row.decode}) {
      EXPECT_NEAR(shares.linears + shares.attention + shares.other + shares.sampling, 1, 1e-9);
      for (const double part : {shares.linears, shares.attention, shares.other, shares.sampling})
        EXPECT_GT(part, 0);
    }
    EXPECT_EQ(row.decode_bytes,
              report.linear_weight_bytes + row.batch * (12 + 3) * report.kv_bytes_per_token);
    EXPECT_DOUBLE_EQ(row.decode_limit,
                     static_cast<double>(row.batch) * 1e9 / static_cast<double>(row.decode_bytes));
  }
}

TEST(BenchModel, RefusesSizesThatDoNotFit) {
  BenchModelOptions options;
  options.batches = {1};
  options.prompt_tokens = 12;
  options.decode_tokens = 0;
  EXPECT_THROW(bench_model(TORCHAO_CPP_DEMO_MODEL, options, round_machine()), Error);
  options.decode_tokens = 5;
  options.model.max_model_len = 16;
  EXPECT_THROW(bench_model(TORCHAO_CPP_DEMO_MODEL, options, round_machine()), Error);
  options.model.max_model_len = 0;
  options.batches = {};
  EXPECT_THROW(bench_model(TORCHAO_CPP_DEMO_MODEL, options, round_machine()), Error);
}

}  // namespace
}  // namespace torchao_cpp
