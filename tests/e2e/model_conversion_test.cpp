// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>

#include "e2e/demo_model.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"

/// inspect, explain, quantize and dequantize over small models.
namespace torchao_cpp::e2e {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

fs::path base_model(const std::string& name) {
  return fs::path(TORCHAO_CPP_TEST_DATA) / "checkpoints" / "base" / name;
}
fs::path quantized_model(const std::string& id) {
  return fs::path(TORCHAO_CPP_TEST_DATA) / "checkpoints" / id / "safetensors";
}

const std::vector<std::int32_t> kIds{3, 17, 42, 5, 5, 30};

ConvertOptions with(const std::string& config) {
  ConvertOptions options{TorchAOConfig::from_user(config), {}, {}, nullptr};
  return options;
}

ModelOptions on_the_fly(const std::string& config) {
  ModelOptions options;
  options.quantization = TorchAOConfig::from_user(config);
  return options;
}

const LinearReport& report_of(const std::vector<LinearReport>& reports, const std::string& prefix) {
  for (const LinearReport& report : reports) {
    if (report.prefix == prefix) return report;
  }
  ADD_FAILURE() << "no report of " << prefix;
  return reports.front();
}

// Keys of an FqnToConfig: one rule each.
const char* const kMixed = R"({"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": {
  "model.layers.0.self_attn.q_proj": null,
  "re:.*mlp\\..*": {"_type": "IntxWeightOnlyConfig", "_version": 2, "_data": {"weight_dtype": {"_type": "torch.dtype", "_data": "int4"},
                    "granularity": {"_type": "PerGroup", "_version": 1, "_data": {"group_size": 32}}}},
  "_default": {"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}}}}})";

const char* const kPreshuffled = R"({"_type": "Int4WeightOnlyConfig", "_version": 2,
  "_data": {"group_size": 32, "int4_packing_format": "preshuffled"}})";

class Conversion : public testing::TestWithParam<std::pair<std::string, std::string>> {};

TEST_P(Conversion, AQuantizedFolderRunsAsOnTheFly) {
  const auto& [model, config] = GetParam();
  const ScratchFolder scratch;
  const ConvertReport report = quantize_model(base_model(model), scratch / "out", with(config));
  EXPECT_LT(report.bytes_after, report.bytes_before);
  EXPECT_FALSE(report.rows.empty());
  LLM stored(scratch / "out");
  LLM direct(base_model(model), on_the_fly(config));
  EXPECT_TRUE(equal_bytes(stored.logits(kIds), direct.logits(kIds)));
  EXPECT_EQ(stored.linear_weight_bytes(), direct.linear_weight_bytes());
}

TEST_P(Conversion, DequantizedWeightsAreThoseOfDequantizeWeights) {
  const auto& [model, config] = GetParam();
  const ScratchFolder scratch;
  quantize_model(base_model(model), scratch / "quantized", with(config));
  dequantize_model(scratch / "quantized", scratch / "plain", std::nullopt);
  ModelOptions options;
  options.dequantize_weights = true;
  LLM plain(scratch / "plain");
  LLM dequantized(scratch / "quantized", options);
  options = on_the_fly(config);
  options.dequantize_weights = true;
  LLM on_the_fly_dequantized(base_model(model), options);
  EXPECT_TRUE(equal_bytes(plain.logits(kIds), dequantized.logits(kIds)));
  EXPECT_TRUE(equal_bytes(plain.logits(kIds), on_the_fly_dequantized.logits(kIds)));
  EXPECT_FALSE(inspect_model(scratch / "plain").is_torchao_serialized);
  EXPECT_EQ(inspect_model(scratch / "plain").quantization_config, "");
}

INSTANTIATE_TEST_SUITE_P(Models, Conversion,
                         testing::Values(std::pair{"llama", "int8wo"}, std::pair{"llama", kMixed},
                                         std::pair{"llama1", kPreshuffled},
                                         std::pair{"qwen3", "8da4w-32"},
                                         std::pair{"qwen3u", "intx4wo-32"},
                                         std::pair{"llamaf16", "int8dq"},
                                         std::pair{"llamaf32", "intx2wo-32"}));

TEST(QuantizeModel, KeepsConfigAndTokenizerFiles) {
  const ScratchFolder scratch;
  const fs::path source = scratch / "source";
  fs::copy(base_model("qwen3"), source);
  std::ofstream(source / "tokenizer.json") << "{}";
  std::ofstream(source / "weights.bin") << "not copied";
  quantize_model(source, scratch / "out", with("int8wo"));
  const Json before = read_json_file(source / "config.json");
  Json after = read_json_file(scratch / "out/config.json");
  EXPECT_EQ(after.at("quantization_config").at("quant_method"), "torchao");
  EXPECT_TRUE(after.at("quantization_config").at("modules_to_not_convert").is_null());
  after.erase("quantization_config");
  EXPECT_EQ(after, before);
  EXPECT_TRUE(fs::exists(scratch / "out/tokenizer.json"));
  EXPECT_FALSE(fs::exists(scratch / "out/weights.bin"));
  const Checkpoint written(scratch / "out");
  EXPECT_FALSE(written.contains("lm_head.weight"));  // tied
  EXPECT_FALSE(written.entry("model.embed_tokens.weight").parts.has_value());
}

TEST(QuantizeModel, SaysWhereOnlyThisLibraryReadsTheResult) {
  const ScratchFolder out;
  const auto notices_of = [&](const char* name, const std::string& config) {
    return quantize_model(base_model("llama1"), out / name, with(config)).notices;
  };
  EXPECT_TRUE(notices_of("int8", "int8wo").empty());
  const auto notices = notices_of(
      "uintx", R"({"_type": "UIntxWeightOnlyConfig", "_data": {"group_size": 32}})");
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_THAT(notices[0], HasSubstr("UIntxBitPackedTensor is not among the classes"));
}

TEST(QuantizeModel, LeavesTheHeadAloneUnlessARuleNamesIt) {
  const ScratchFolder scratch;
  quantize_model(base_model("llama"), scratch / "whole", with("int8wo"));
  EXPECT_FALSE(Checkpoint(scratch / "whole").entry("lm_head.weight").parts.has_value());
  const std::string named = R"({"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": {
    "lm_head": {"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}}}}})";
  quantize_model(base_model("llama"), scratch / "named", with(named));
  const Checkpoint checkpoint(scratch / "named");
  EXPECT_TRUE(checkpoint.entry("lm_head.weight").parts.has_value());
  EXPECT_FALSE(checkpoint.entry("model.layers.0.mlp.up_proj.weight").parts.has_value());
  EXPECT_EQ(report_of(LLM(scratch / "named").linear_reports(), "lm_head").weight_class,
            "Int8Tensor");
}

TEST(QuantizeModel, SkipsWhatItIsToldAndKeepsTheHeadInTheList) {
  const ScratchFolder scratch;
  ConvertOptions options{
      TorchAOConfig::from_user("int8wo").with_skip_modules({"down_proj"}), {}, {}, nullptr};
  const ConvertReport report = quantize_model(base_model("llama"), scratch / "out", options);
  for (const ConvertReport::Row& row : report.rows) {
    const bool is_skipped = row.fqn.find("down_proj") != std::string::npos ||
                            row.fqn.find("lm_head") != std::string::npos ||
                            row.fqn.find("embed_tokens") != std::string::npos;
    EXPECT_EQ(row.weight_class, is_skipped ? "Tensor" : "Int8Tensor") << row.fqn;
    EXPECT_TRUE(!is_skipped || !row.reason.empty()) << row.fqn;
  }
  const Json config = read_json_file(scratch / "out/config.json");
  EXPECT_EQ(config.at("quantization_config").at("modules_to_not_convert"),
            (Json{"down_proj", "lm_head"}));
}

// A model whose linears have two values in each four columns.
void write_pruned_model(const fs::path& from, const fs::path& to) {
  const Checkpoint checkpoint(from);
  CheckpointWriter writer(to);
  for (const std::string& fqn : checkpoint.names()) {
    Tensor tensor = checkpoint.entry(fqn).plain.clone();
    if (fqn.find("_proj.") != std::string::npos) {
      std::int64_t i = 0;
      for (std::uint16_t& v : tensor.mutable_span<std::uint16_t>()) v = i++ % 4 < 2 ? v : 0;
    }
    writer.add(fqn, std::move(tensor));
  }
  writer.copy_file(from / "config.json");
  writer.finish();
}

TEST(QuantizeModel, SaysWhichClassTorchaoDoesNotLoad) {
  const ScratchFolder scratch;
  write_pruned_model(base_model("llama1"), scratch / "pruned");
  const ConvertReport report = quantize_model(
      scratch / "pruned", scratch / "out",
      with(R"({"_type": "Float8DynamicActivationFloat8WeightConfig", "_version": 2, "_data": {)"
           R"("granularity": {"_type": "PerRow", "_data": {}}, "packing_format": )"
           R"({"_type": "Float8PackingFormat", "_data": "SPARSE_2D_DATA_2D_METADATA"}}})"));
  EXPECT_THAT(report.notices, testing::ElementsAre(testing::StartsWith(
                                  "Float8Sparse2x4_2DData2DMetadataTensor is not among")));
  EXPECT_TRUE(Checkpoint(scratch / "out").is_torchao_serialized());
  EXPECT_TRUE(quantize_model(scratch / "pruned", scratch / "int8", with("int8wo")).notices.empty());
}

TEST(QuantizeModel, CancelledLeavesNothingBehind) {
  const ScratchFolder scratch;
  std::atomic<bool> cancelled{false};
  ConvertOptions options = with("int8wo");
  options.cancelled = &cancelled;
  options.progress = [&](std::string_view, std::int64_t done, std::int64_t) {
    cancelled = done > 0;
  };
  try {
    quantize_model(base_model("llama"), scratch / "out", options);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), "cancelled");
  }
  EXPECT_TRUE(fs::is_empty(scratch.path()));
}

TEST(QuantizeModel, RefusesWhatCannotBeDone) {
  const ScratchFolder scratch;
  const fs::path out = scratch / "out";
  EXPECT_THAT(
      message_of([&] { quantize_model(base_model("llama"), base_model("llama"), with("int8wo")); }),
      HasSubstr("is the source"));
  EXPECT_THAT(
      message_of([&] { quantize_model(quantized_model("llama1-int8wo"), out, with("int8wo")); }),
      HasSubstr("already quantized"));
  const fs::path other = scratch / "other";
  fs::copy(base_model("llama1"), other);
  fs::remove(other / "config.json");
  std::ofstream(other / "config.json") << R"({"architectures": ["GPT2LMHeadModel"]})";
  EXPECT_THAT(message_of([&] { quantize_model(other, out, with("int8wo")); }),
              HasSubstr("'GPT2LMHeadModel' is not supported"));
  EXPECT_THAT(message_of([&] { quantize_model(scratch / "absent", out, with("int8wo")); }),
              HasSubstr("absent: is no folder"));
  fs::create_directory(out);
  std::ofstream(out / "file") << "x";
  EXPECT_THAT(message_of([&] { quantize_model(base_model("llama"), out, with("int8wo")); }),
              HasSubstr("exists and is not empty"));
}

TEST(LoadModel, RefusesAnotherConfigForAQuantizedCheckpoint) {
  EXPECT_THAT(message_of([&] { LLM llm(quantized_model("llama1-int8wo"), on_the_fly("fp8wo")); }),
              HasSubstr("already quantized"));
  EXPECT_NO_THROW(LLM(quantized_model("llama1-int8wo"), on_the_fly("int8wo")));
}

TEST(LoadModel, NamesMissingMisshapenAndUnexpectedTensors) {
  const ScratchFolder scratch;
  const Checkpoint source(base_model("llama1"));
  const auto write_model = [&](const std::string& name, const auto& change) {
    fs::create_directory(scratch / name);
    fs::copy(base_model("llama1") / "config.json", scratch / name / "config.json");
    std::vector<std::pair<std::string, Tensor>> tensors;
    for (const std::string& fqn : source.names()) change(tensors, fqn, source.entry(fqn).plain);
    write_safetensors(scratch / name / "model.safetensors", tensors);
    return scratch / name;
  };
  const fs::path missing =
      write_model("missing", [](auto& out, const std::string& fqn, const Tensor& t) {
        if (fqn != "model.layers.0.mlp.up_proj.weight") out.emplace_back(fqn, t);
      });
  EXPECT_THAT(message_of([&] { LLM llm(missing); }),
              HasSubstr("model.layers.0.mlp.up_proj.weight"));
  const fs::path misshapen =
      write_model("misshapen", [](auto& out, const std::string& fqn, const Tensor& t) {
        out.emplace_back(fqn, fqn == "model.norm.weight" ? t.narrow(0, 0, 3) : t);
      });
  EXPECT_THAT(message_of([&] { LLM llm(misshapen); }),
              HasSubstr("'model.norm.weight' is [3]; config.json makes it [64]"));
  const fs::path more = write_model("more", [](auto& out, const std::string& fqn, const Tensor& t) {
    out.emplace_back(fqn, t);
    if (fqn == "model.norm.weight") out.emplace_back("model.extra.weight", t);
  });
  const LLM with_more(more);
  ASSERT_EQ(with_more.notices().size(), 1u);
  EXPECT_THAT(with_more.notices()[0], HasSubstr("'model.extra.weight'"));
}

TEST(ExplainModel, TellsRuleKernelAndReason) {
  const std::vector<LinearReport> reports = explain_model(base_model("llama"), on_the_fly(kMixed));
  EXPECT_EQ(report_of(reports, "model.layers.0.self_attn.q_proj").weight_class, "Tensor");
  EXPECT_EQ(report_of(reports, "model.layers.0.self_attn.k_proj").weight_class, "Int8Tensor");
  EXPECT_EQ(report_of(reports, "model.layers.1.self_attn.qkv_proj").rule, "_default");
  EXPECT_EQ(report_of(reports, "model.layers.1.mlp.gate_up_proj").rule, "re:.*mlp\\..*");
  EXPECT_EQ(report_of(reports, "model.layers.1.mlp.down_proj").weight_class,
            "IntxUnpackedToInt8Tensor");
  EXPECT_THAT(report_of(reports, "lm_head").reason, HasSubstr("head stays unquantized"));
  for (const LinearReport& report : reports) EXPECT_NE(report.kernel, "") << report.prefix;
}

TEST(ExplainModel, AgreesWithTheLoadedModel) {
  for (const fs::path& folder : {base_model("qwen3"), quantized_model("llama-mixed-fqn"),
                                 quantized_model("qwen3u-8da4w-embed8")}) {
    const std::vector<LinearReport> reports = explain_model(folder, {});
    LLM llm(folder);
    ASSERT_EQ(reports.size(), llm.linear_reports().size()) << folder;
    for (std::size_t i = 0; i < reports.size(); ++i) {
      EXPECT_EQ(reports[i].prefix, llm.linear_reports()[i].prefix);
      EXPECT_EQ(reports[i].kernel, llm.linear_reports()[i].kernel) << reports[i].prefix;
      EXPECT_EQ(reports[i].weight_class, llm.linear_reports()[i].weight_class) << reports[i].prefix;
      EXPECT_EQ(reports[i].reason, llm.linear_reports()[i].reason) << reports[i].prefix;
    }
  }
}

TEST(InspectModel, ListsEveryParameter) {
  const ModelInfo info = inspect_model(quantized_model("qwen3u-8da4w-embed8"));
  EXPECT_EQ(info.architecture, "Qwen3ForCausalLM");
  EXPECT_TRUE(info.is_torchao_serialized);
  EXPECT_THAT(info.quantization_config, HasSubstr("FqnToConfig"));
  std::int64_t sum = 0;
  for (const ParameterInfo& row : info.parameters) {
    sum += row.nbytes;
    if (row.fqn == "model.embed_tokens.weight") {
      EXPECT_EQ(row.weight_class, "IntxUnpackedToInt8Tensor");
      EXPECT_EQ(row.shape, (Shape{48, 64}));
      EXPECT_GT(row.bits_per_weight, 8.0);
    }
  }
  EXPECT_EQ(sum, info.nbytes);
  EXPECT_EQ(inspect_model(base_model("opt")).architecture, "OPTForCausalLM");
}

}  // namespace
}  // namespace torchao_cpp::e2e
