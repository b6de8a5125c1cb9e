// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <set>

#include "e2e/demo_model.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"

/// convert_model over the checkpoints of tests/data/checkpoints.
namespace torchao_cpp::e2e {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const fs::path kCheckpoints = fs::path(TORCHAO_CPP_TEST_DATA) / "checkpoints";

fs::path stored(const std::string& id) { return kCheckpoints / id / "safetensors"; }

std::vector<std::string> safetensors_ids() {
  std::vector<std::string> ids;
  for (const auto& item : fs::directory_iterator(kCheckpoints)) {
    if (fs::is_directory(item.path() / "safetensors"))
      ids.push_back(item.path().filename().string());
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

Tensor values_of(const Checkpoint& checkpoint, const std::string& fqn) {
  const CheckpointEntry entry = checkpoint.entry(fqn);
  return entry.parts ? loaded_weight_from_parts(*entry.parts, fqn).quantized->dequantize()
                     : entry.plain;
}

Json quantization_config(const fs::path& folder) {
  return read_json_file(folder / "config.json").value("quantization_config", Json());
}

class ConvertCheckpoint : public testing::TestWithParam<std::string> {};

TEST_P(ConvertCheckpoint, KeepsEveryValueAndNameInTodaysForm) {
  const ScratchFolder scratch;
  const ConvertModelReport report = convert_model(stored(GetParam()), scratch / "out");
  const Checkpoint before(stored(GetParam()));
  const Checkpoint after(scratch / "out");
  ASSERT_EQ(std::vector(after.names().begin(), after.names().end()),
            std::vector(before.names().begin(), before.names().end()));
  for (const std::string& fqn : before.names())
    EXPECT_TRUE(equal_bytes(values_of(before, fqn), values_of(after, fqn))) << fqn;
  const Checkpoint expected(kCheckpoints / GetParam() / "dequant.safetensors");
  for (const std::string& fqn : expected.names())
    EXPECT_TRUE(equal_bytes(values_of(after, fqn), expected.entry(fqn).plain)) << fqn;
  EXPECT_THAT(after.warnings(), IsEmpty());
  EXPECT_EQ(report.rows.size(), after.names().size());
  EXPECT_EQ(report.bytes_after, after.nbytes());
  EXPECT_EQ(report.form_after, "flattened safetensors");
}

TEST_P(ConvertCheckpoint, OnceMoreChangesNothing) {
  const ScratchFolder scratch;
  convert_model(stored(GetParam()), scratch / "once");
  const ConvertModelReport report = convert_model(scratch / "once", scratch / "twice");
  for (const ConvertModelReport::Row& row : report.rows)
    EXPECT_THAT(row.changes, IsEmpty()) << row.fqn;
  EXPECT_EQ(quantization_config(scratch / "once"), quantization_config(scratch / "twice"));
  EXPECT_EQ(report.form_before, report.form_after);
}

std::string test_name(std::string id) {
  for (char& c : id) c = c == '-' || c == '.' ? '_' : c;
  return id;
}

INSTANTIATE_TEST_SUITE_P(All, ConvertCheckpoint, testing::ValuesIn(safetensors_ids()),
                         [](const auto& info) { return test_name(info.param); });

TEST(ConvertModel, SaysWhatTorchao014Lacked) {
  const ScratchFolder scratch;
  const ConvertModelReport report =
      convert_model(stored("ao0.14.1-llama1-intx4-v2"), scratch / "out");
  EXPECT_EQ(report.form_before, "flattened safetensors of torchao 0.14");
  // The layout of that time is gone from quantization_config, with a notice.
  EXPECT_THAT(report.notices, Contains(HasSubstr("QDQLayout")));
  const Json config = quantization_config(scratch / "out");
  EXPECT_FALSE(config.at("quant_type").at("default").at("_data").contains("layout"));
  EXPECT_EQ(LLM(scratch / "out").notices().size(), 0u);
}

TEST(ConvertModel, NamesAddedAttributes) {
  const ScratchFolder scratch;
  const ConvertModelReport report =
      convert_model(stored("ao0.16.0-llama1-int8da-v2"), scratch / "out");
  ASSERT_EQ(report.classes.size(), 2u);
  std::int64_t count = 0;
  for (const ConvertModelReport::ClassTotal& total : report.classes) {
    count += total.count;
    if (total.class_after != "Int8Tensor") continue;
    EXPECT_EQ(total.count, 7);
    EXPECT_THAT(total.changes, Contains("attribute 'reduce_range' added"));
    EXPECT_THAT(total.changes, Contains("attribute 'act_quant_kwargs.reduce_range' added"));
  }
  EXPECT_EQ(count, static_cast<std::int64_t>(report.rows.size()));
}

TEST(ConvertModel, RunsAsBefore) {
  for (const char* id : {"ao0.14.1-llama1-8daintx4-v2", "llama-int8wo-sharded", "llama-mixed-fqn",
                         "qwen3-int8wo-tied", "qwen3u-8da4w-embed8"}) {
    const ScratchFolder scratch;
    convert_model(stored(id), scratch / "out");
    const std::vector<std::int32_t> ids{3, 17, 42, 5, 5, 30};
    EXPECT_TRUE(equal_bytes(LLM(stored(id)).logits(ids), LLM(scratch / "out").logits(ids))) << id;
  }
}

TEST(ConvertModel, PlainModelsStayPlain) {
  const ScratchFolder scratch;
  const ConvertModelReport report = convert_model(demo_model(), scratch / "out");
  EXPECT_EQ(report.form_before, "plain safetensors");
  EXPECT_EQ(report.bytes_before, report.bytes_after);
  EXPECT_EQ(diff_checkpoints(demo_model(), scratch / "out").equal, report.classes.front().count);
  EXPECT_TRUE(fs::exists(scratch / "out/tokenizer.json"));
  EXPECT_EQ(quantization_config(scratch / "out"), Json());
}

TEST(ConvertModel, LeavesOutATiedHeadThatRepeatsTheEmbedding) {
  const ScratchFolder scratch;
  const fs::path source = scratch / "source";
  fs::create_directory(source);
  fs::copy(kCheckpoints / "base/qwen3/config.json", source / "config.json");
  const Checkpoint base(kCheckpoints / "base/qwen3");
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const std::string& fqn : base.names()) tensors.emplace_back(fqn, base.entry(fqn).plain);
  tensors.emplace_back("lm_head.weight", base.entry("model.embed_tokens.weight").plain.clone());
  write_safetensors(source / "model.safetensors", tensors);
  const ConvertModelReport report = convert_model(source, scratch / "out");
  EXPECT_THAT(report.notices, Contains(HasSubstr("'lm_head.weight' repeats the embedding")));
  EXPECT_FALSE(Checkpoint(scratch / "out").contains("lm_head.weight"));
  EXPECT_EQ(report.rows.size(), base.names().size());
}

TEST(ConvertModel, KeepsAConfigThatHasNoMeaningToday) {
  const ScratchFolder scratch;
  const fs::path source = scratch / "source";
  fs::copy(stored("llama1-int8wo"), source);
  Json config = read_json_file(source / "config.json");
  config["quantization_config"]["quant_type"] = "autoquant";
  std::ofstream(source / "config.json") << config.dump();
  const ConvertModelReport report = convert_model(source, scratch / "out");
  EXPECT_THAT(report.notices, Contains(HasSubstr("is not understood")));
  EXPECT_THAT(report.notices, Contains(HasSubstr("quantization_config is kept as it is; transformers")));
  EXPECT_EQ(quantization_config(scratch / "out").at("quant_type"), "autoquant");
}

TEST(ConvertModel, SaysWhereConfigAndClassesDisagree) {
  const ScratchFolder scratch;
  const fs::path source = scratch / "source";
  fs::copy(stored("llama1-int8wo"), source);
  Json config = read_json_file(source / "config.json");
  config["quantization_config"] =
      Json::parse(TorchAOConfig::from_user("fp8wo").to_quantization_config_json());
  std::ofstream(source / "config.json") << config.dump();
  EXPECT_THAT(
      convert_model(source, scratch / "out").notices,
      ElementsAre(HasSubstr("makes Float8Tensor of 'model.layers.0.self_attn.q_proj.weight' "
                            "and 6 more, but stored is Int8Tensor")));
  EXPECT_THAT(convert_model(stored("llama1-int8wo"), scratch / "agreeing").notices, IsEmpty());
}

TEST(ConvertModel, CancelledLeavesNothingBehind) {
  for (const char* stage : {"convert", "write"}) {
    const ScratchFolder scratch;
    std::atomic<bool> cancelled{false};
    ConvertModelOptions options;
    options.cancelled = &cancelled;
    options.progress = [&](std::string_view at, std::int64_t, std::int64_t) {
      cancelled = at == stage;
    };
    try {
      convert_model(stored("llama-int8wo-sharded"), scratch / "out", options);
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), "cancelled");
    }
    EXPECT_TRUE(fs::is_empty(scratch.path())) << stage;
  }
}

class ConvertBin : public testing::TestWithParam<std::string> {};

TEST_P(ConvertBin, KeepsEveryValue) {
  const ScratchFolder scratch;
  const ConvertModelReport report =
      convert_model(kCheckpoints / GetParam() / "bin", scratch / "out");
  EXPECT_EQ(report.form_before, "PyTorch .bin");
  const Checkpoint after(scratch / "out");
  const Checkpoint expected(kCheckpoints / GetParam() / "dequant.safetensors");
  for (const std::string& fqn : expected.names())
    EXPECT_TRUE(equal_bytes(values_of(after, fqn), expected.entry(fqn).plain)) << fqn;
  EXPECT_EQ(quantization_config(scratch / "out").is_null(),
            quantization_config(kCheckpoints / GetParam() / "bin").is_null() ||
                !after.is_torchao_serialized());
}

INSTANTIATE_TEST_SUITE_P(Some, ConvertBin,
                         testing::Values("ao0.8.0-llama1-int8da", "ao0.11.0-llama1-8da4w",
                                         "ao0.11.0-llama1-int4wo-cpu",
                                         "ao0.11.0-llama1-int4wo-tensorcore",
                                         "ao0.14.1-llama1-int4-opaque", "llama-int8wo-sharded",
                                         "qwen3-int8wo-tied"),
                         [](const auto& info) { return test_name(info.param); });

TEST(ConvertModel, NamesTheClassThatABinFileHad) {
  const auto classes = [](const char* id) {
    const ScratchFolder scratch;
    std::set<std::string> out;
    for (const auto& c : convert_model(kCheckpoints / id / "bin", scratch / "out").classes)
      out.insert(c.class_before + " -> " + c.class_after);
    return out;
  };
  EXPECT_THAT(classes("ao0.11.0-llama1-8da4w"),
              ElementsAre("LinearActivationQuantizedTensor(AffineQuantizedTensor("
                          "PlainAQTTensorImpl)) -> IntxUnpackedToInt8Tensor",
                          "Tensor -> Tensor"));
  EXPECT_THAT(
      classes("ao0.11.0-llama1-int4wo-cpu"),
      ElementsAre("AffineQuantizedTensor(Int4CPUAQTTensorImpl) -> Tensor", "Tensor -> Tensor"));
  EXPECT_THAT(classes("ao0.15.0-llama1-int8da-v2"),
              ElementsAre("Int8Tensor -> Int8Tensor", "Tensor -> Tensor"));
}

TEST(ConvertModel, RefusesAClassThatTorchaoCannotStore) {
  const ScratchFolder scratch;
  EXPECT_THROW(convert_model(kCheckpoints / "ao0.11.0-llama1-fp8static/bin", scratch / "out"),
               UnsupportedError);
  EXPECT_TRUE(fs::is_empty(scratch.path()));
}

TEST(ConvertModel, RefusesWhatCannotBeDone) {
  const ScratchFolder scratch;
  const auto message = [](const fs::path& from, const fs::path& to) -> std::string {
    try {
      convert_model(from, to);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_THAT(message(stored("llama1-int8wo"), stored("llama1-int8wo")),
              HasSubstr("is the source"));
  EXPECT_THAT(message(scratch / "absent", scratch / "out"), HasSubstr("absent: is no folder"));
  fs::create_directory(scratch / "taken");
  std::ofstream(scratch / "taken/file") << "x";
  EXPECT_THAT(message(stored("llama1-int8wo"), scratch / "taken"),
              HasSubstr("exists and is not empty"));
}

}  // namespace
}  // namespace torchao_cpp::e2e
