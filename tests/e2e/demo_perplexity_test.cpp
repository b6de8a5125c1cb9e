// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>

#include "e2e/demo_model.h"

/// Every row of expected_perplexity.json, within 0.1 %.
namespace torchao_cpp::e2e {
namespace {

// The table's names -> what a person types.
const std::map<std::string, std::string> kShorthands{
    {"int8wo", "int8wo"},       {"int8dq", "int8dq"},         {"fp8wo", "fp8wo"},
    {"intx4g32", "intx4wo-32"}, {"intx4g128", "intx4wo-128"}, {"intx2g32", "intx2wo-32"},
    {"8da4w g32", "8da4w-32"}};

Json expected_table() { return read_json_file(demo_model() / "expected_perplexity.json"); }

std::vector<std::string> row_names() {
  std::vector<std::string> names;
  const Json table = expected_table();
  for (const auto& [name, row] : table.at("results").items()) names.push_back(name);
  return names;
}

// "8da4w g32 bf16" -> the options it was measured with.
ModelOptions options_of(const std::string& row) {
  const std::size_t space = row.rfind(' ');
  ModelOptions options;
  options.dtype = compute_dtype_from_name(space == std::string::npos ? row : row.substr(space + 1));
  EXPECT_TRUE(options.dtype.has_value()) << row;
  if (space != std::string::npos)
    options.quantization = TorchAOConfig::from_user(kShorthands.at(row.substr(0, space)));
  return options;
}

class DemoPerplexity : public testing::TestWithParam<std::string> {};

TEST_P(DemoPerplexity, IsThatOfTheReference) {
  const Json table = expected_table();
  std::vector<std::int32_t> ids = heldout_ids();
  ASSERT_EQ(static_cast<std::int64_t>(ids.size()),
            table.at("protocol").at("tokens").get<std::int64_t>());
  LLM llm(demo_model(), options_of(GetParam()));
#ifdef __SANITIZE_ADDRESS__
  // Minutes a row here; two windows touch the same code. The figure is that of a build without sanitizers.
  ids.resize(1024);
  const PerplexityResult short_run = llm.perplexity(ids, 512);
  EXPECT_EQ(short_run.windows, 2);
  EXPECT_GT(short_run.perplexity, 1.0);
  EXPECT_LT(short_run.perplexity, 1e5);
#else
  const PerplexityResult result =
      llm.perplexity(ids, table.at("protocol").at("window").get<std::int64_t>());
  EXPECT_EQ(result.windows, table.at("protocol").at("windows").get<std::int64_t>());
  const double want = table.at("results").at(GetParam()).at("perplexity").get<double>();
  EXPECT_NEAR(result.perplexity, want, 1e-3 * want)
      << GetParam() << ": " << (result.perplexity / want - 1) * 100 << " %";
  RecordProperty("perplexity", std::to_string(result.perplexity));
#endif
}

INSTANTIATE_TEST_SUITE_P(Table, DemoPerplexity, testing::ValuesIn(row_names()),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == ' ' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace torchao_cpp::e2e
