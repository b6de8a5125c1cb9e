// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "e2e/demo_model.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"

/// Every architecture through the whole of the library. That their logits are those of transformers
/// is what torchao-conformance holds.
namespace torchao_cpp::e2e {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;

const fs::path kData = TORCHAO_CPP_TEST_DATA;

struct Model {
  const char* name;
  const char* folder;  ///< Below tests/data.
};

const LinearReport& report_of(const std::vector<LinearReport>& reports, std::string_view prefix) {
  const auto it = std::find_if(reports.begin(), reports.end(),
                               [&](const auto& report) { return report.prefix == prefix; });
  if (it == reports.end()) throw Error("no report of " + std::string(prefix), "test");
  return *it;
}

std::vector<std::int32_t> ids_of(const fs::path& folder) {
  std::vector<std::int32_t> ids;
  const Tensor stored = Checkpoint(folder / "expected.safetensors").entry("input_ids").plain;
  for (const std::int64_t id : stored.span<std::int64_t>())
    ids.push_back(static_cast<std::int32_t>(id));
  return ids;
}

std::int32_t best_of_last(const Tensor& logits) {
  const Tensor last = logits.narrow(0, logits.size(0) - 1, 1);
  const auto row = last.span<float>();
  return static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

void expect_same_reports(const std::vector<LinearReport>& a, const std::vector<LinearReport>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].prefix, b[i].prefix);
    EXPECT_EQ(a[i].kernel, b[i].kernel) << a[i].prefix;
    EXPECT_EQ(a[i].weight_class, b[i].weight_class) << a[i].prefix;
    EXPECT_EQ(a[i].reason, b[i].reason) << a[i].prefix;
  }
}

class Architectures : public testing::TestWithParam<Model> {
 protected:
  const fs::path folder_ = kData / GetParam().folder;
};

// A token's position, its cache and its row among several are all a step is told.
TEST_P(Architectures, StepsOfOneTokenAreThoseOfTheWholeText) {
  ModelOptions options;
  options.dtype = DType::kFloat32;
  LLM llm(folder_, options);
  std::vector<std::int32_t> ids = ids_of(folder_);
  ids.resize(5);
  SamplingParams sampling;
  sampling.max_new_tokens = 9;
  sampling.ignore_eos = true;
  const std::vector<std::int32_t> output = llm.generate(ids, sampling).output_ids;
  ASSERT_EQ(output.size(), 9U);
  const std::vector<std::vector<std::int32_t>> prompts{{ids[0], ids[1]}, ids, {ids[2]}};
  EXPECT_EQ(llm.generate_batch(prompts, sampling)[1].output_ids, output);
  for (const std::int32_t id : output) {
    EXPECT_EQ(id, best_of_last(llm.logits(ids))) << "behind " << ids.size() << " tokens";
    ids.push_back(id);
  }
}

TEST_P(Architectures, QuantizesExplainsAndComesBack) {
  const ScratchFolder scratch;
  ConvertOptions convert{TorchAOConfig::from_user("int8wo"), {}, nullptr, nullptr};
  const ConvertReport written = quantize_model(folder_, scratch / "int8", convert);
  std::int64_t quantized = 0;
  for (const auto& row : written.rows) quantized += row.weight_class == "Int8Tensor" ? 1 : 0;

  ModelOptions options;
  options.quantization = TorchAOConfig::from_user("int8wo");
  const std::vector<LinearReport> on_the_fly = explain_model(folder_, options);
  LLM live(folder_, options);
  LLM stored(scratch / "int8");
  EXPECT_TRUE(equal_bytes(live.logits(ids_of(folder_)), stored.logits(ids_of(folder_))));
  expect_same_reports(on_the_fly, live.linear_reports());
  expect_same_reports(explain_model(scratch / "int8", {}), stored.linear_reports());
  std::int64_t in_fused = 0;
  for (const LinearReport& report : stored.linear_reports()) {
    const bool is_head = report.prefix == "lm_head";
    EXPECT_EQ(report.weight_class, is_head ? "Tensor" : "Int8Tensor") << report.prefix;
    if (report.prefix.ends_with("qkv_proj")) in_fused += 2;
    if (report.prefix.ends_with("gate_up_proj")) in_fused += 1;
  }
  // Every linear but the head, and nothing else.
  EXPECT_EQ(quantized, static_cast<std::int64_t>(stored.linear_reports().size()) - 1 + in_fused);
  dequantize_model(scratch / "int8", scratch / "plain", std::nullopt);
  EXPECT_TRUE(LLM(scratch / "plain").notices().empty());
}

TEST_P(Architectures, RandomWeightsHaveTheSameNamesAndShapes) {
  const ScratchFolder scratch;
  make_random_model(folder_ / "config.json", scratch / "random");
  const Checkpoint made(scratch / "random");
  const Checkpoint stored(folder_);
  std::vector<std::string> names(stored.names().begin(), stored.names().end());
  EXPECT_THAT(std::vector<std::string>(made.names().begin(), made.names().end()),
              testing::UnorderedElementsAreArray(names));
  for (const std::string& name : names) {
    EXPECT_EQ(made.entry(name).plain.shape(), stored.entry(name).plain.shape()) << name;
    EXPECT_EQ(made.entry(name).plain.dtype(), stored.entry(name).plain.dtype()) << name;
  }
  EXPECT_TRUE(LLM(scratch / "random").notices().empty());
}

TEST_P(Architectures, AMissingWeightIsNamed) {
  const ScratchFolder scratch;
  const Checkpoint stored(folder_);
  const bool is_opt = std::string_view(GetParam().name).starts_with("Opt");
  const std::string gone =
      is_opt ? "model.decoder.layers.0.fc1.weight" : "model.layers.0.mlp.up_proj.weight";
  CheckpointWriter writer(scratch / "less");
  for (const std::string& name : stored.names())
    if (name != gone) writer.add(name, stored.entry(name).plain);
  std::ifstream config(folder_ / "config.json");
  writer.add_file("config.json", std::string(std::istreambuf_iterator<char>(config), {}));
  writer.finish();
  try {
    LLM llm(scratch / "less");
    ADD_FAILURE() << "no CheckpointError";
  } catch (const CheckpointError& e) {
    EXPECT_THAT(e.what(), HasSubstr(gone));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Architectures,
                         testing::Values(Model{"Llama", "checkpoints/base/llama"},
                                         Model{"Mistral", "architectures/base/mistral"},
                                         Model{"Opt", "checkpoints/base/opt"},
                                         Model{"OptPostNorm", "architectures/base/opt-post-norm"},
                                         Model{"OptBare", "architectures/base/opt-bare"},
                                         Model{"Qwen2", "architectures/base/qwen2"},
                                         Model{"Qwen2Tied", "architectures/base/qwen2-tied"},
                                         Model{"Qwen3", "checkpoints/base/qwen3"},
                                         Model{"SmolLm3", "architectures/base/smollm3"},
                                         Model{"SmolLm3Untied",
                                               "architectures/base/smollm3-untied"}),
                         [](const auto& info) { return std::string(info.param.name); });

// facebook/opt-125m and its kind.
TEST(BaseModelNames, AreReadAsThoseOfTheModelWithItsHead) {
  const ScratchFolder scratch;
  const fs::path folder = kData / "checkpoints/base/opt";
  const Checkpoint stored(folder);
  CheckpointWriter writer(scratch / "base");
  for (const std::string& name : stored.names())
    writer.add(name.substr(std::string_view("model.").size()), stored.entry(name).plain);
  std::ifstream config(folder / "config.json");
  writer.add_file("config.json", std::string(std::istreambuf_iterator<char>(config), {}));
  writer.finish();
  const std::vector<std::int32_t> ids = ids_of(folder);
  EXPECT_TRUE(equal_bytes(LLM(scratch / "base").logits(ids), LLM(folder).logits(ids)));
  const ModelInfo info = inspect_model(scratch / "base");
  EXPECT_THAT(info.warnings, Contains(HasSubstr("without the leading 'model.'")));
  const ConvertOptions convert{TorchAOConfig::from_user("int8wo"), {}, nullptr, nullptr};
  quantize_model(scratch / "base", scratch / "int8", convert);
  EXPECT_TRUE(Checkpoint(scratch / "int8")
                  .entry("model.decoder.layers.0.fc1.weight")
                  .parts.has_value());
}

// vLLM's names: rules and skips go by them.
TEST(OptSelection, GoesByTheNamesOfOpt) {
  ModelOptions options;
  options.quantization = TorchAOConfig::from_user(
      R"({"quant_method": "torchao", "modules_to_not_convert": ["out_proj"], "quant_type": {"default":
          {"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": {
           "_default": {"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}},
           "model.decoder.layers.0.self_attn.k_proj": null,
           "re:.*fc2": null}}}}})");
  const fs::path folder = kData / "architectures/base/opt-post-norm";
  const std::vector<LinearReport> reports = explain_model(folder, options);
  const auto class_of = [&](const std::string& name) {
    return report_of(reports, "model.decoder." + name).weight_class;
  };
  EXPECT_EQ(class_of("layers.0.self_attn.q_proj"), "Int8Tensor");  // Apart: k_proj differs.
  EXPECT_EQ(class_of("layers.0.self_attn.k_proj"), "Tensor");
  EXPECT_EQ(class_of("layers.1.self_attn.qkv_proj"), "Int8Tensor");
  EXPECT_EQ(class_of("layers.1.self_attn.out_proj"), "Tensor");
  EXPECT_EQ(class_of("layers.1.fc1"), "Int8Tensor");
  EXPECT_EQ(class_of("layers.1.fc2"), "Tensor");
  EXPECT_EQ(class_of("project_in"), "Int8Tensor");
  EXPECT_EQ(class_of("project_out"), "Int8Tensor");
  expect_same_reports(reports, LLM(folder, options).linear_reports());
}

TEST(SlidingWindow, NoSequenceIsLonger) {
  const fs::path folder = kData / "architectures/base/mistral-window";
  LLM llm(folder);
  EXPECT_EQ(llm.max_model_len(), 16);
  EXPECT_THAT(llm.notices(), Contains(HasSubstr("sliding_window is 16")));
  ModelOptions options;
  options.max_model_len = 17;
  try {
    LLM longer(folder, options);
    ADD_FAILURE() << "no ConfigError";
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(),
                HasSubstr("max_model_len is 17; expected 1 to 16, the sliding_window of"));
  }
}

}  // namespace
}  // namespace torchao_cpp::e2e
