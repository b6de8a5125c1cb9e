// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>

#include "base/json.h"
#include "io/output_file.h"
#include "io/safetensors_writer.h"
#include "io/testing_files.h"
#include "torchao_cpp/checkpoint.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;
using namespace testing_files;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> listing(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(folder)) names.push_back(item.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TensorParts weight_parts(std::int8_t first = 0) {
  TensorParts parts;
  parts.class_name = "Int8Tensor";
  parts.attributes = R"({"act_quant_kwargs":null,"block_size":[1,4],"dtype":{"_type":"torch.dtype","_data":"bfloat16"}})";
  parts.parts = {{"zero_point", int8_tensor({2, 1})}, {"qdata", int8_tensor({2, 4}, first)}, {"scale", float_tensor({2, 1})}};
  return parts;
}

void expect_equal_parts(const TensorParts& a, const TensorParts& b) {
  EXPECT_EQ(a.class_name, b.class_name);
  EXPECT_EQ(a.attributes, b.attributes);
  ASSERT_EQ(a.parts.size(), b.parts.size());
  for (std::size_t i = 0; i < a.parts.size(); ++i) {
    EXPECT_EQ(a.parts[i].first, b.parts[i].first);
    EXPECT_TRUE(equal_bytes(a.parts[i].second, b.parts[i].second)) << a.parts[i].first;
  }
}

TEST(WriteSafetensors, HasTheLayoutOfTheOfficialWriter) {
  const ScratchFolder scratch;
  const std::vector<NamedTensor> tensors{{"b", int8_tensor({3})},
                                         {"z", float_tensor({1})},
                                         {"a", int8_tensor({2}, 7)},
                                         {"größe \"x\"\n", Tensor::zeros(DType::kInt64, {})},
                                         {"empty", Tensor::zeros(DType::kBFloat16, {0, 4})}};
  const std::vector<MetadataEntry> metadata{{"format", "pt"}};
  write_safetensors(scratch / "t.safetensors", tensors, metadata);
  const std::string file = read_text(scratch / "t.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_THAT(file.substr(8, length),
              ::testing::StartsWith(
                  R"({"__metadata__":{"format":"pt"},"größe \"x\"\n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                  R"("z":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"empty":{"dtype":"BF16","shape":[0,4],"data_offsets":[12,12]},)"
                  R"("a":{"dtype":"I8","shape":[2],"data_offsets":[12,14]},"b":{"dtype":"I8","shape":[3],"data_offsets":[14,17]}})"));
  EXPECT_EQ(file.size(), 8 + length + 17);
  EXPECT_THAT(listing(scratch.path()), ElementsAre("t.safetensors"));

  const Checkpoint c(scratch / "t.safetensors");
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(equal_bytes(c.entry(name).plain, tensor)) << name;
}

TEST(WriteSafetensors, RefusesWhatCannotBeStored) {
  const ScratchFolder scratch;
  const auto kind = [&](std::vector<NamedTensor> tensors) {
    return kind_of([&] { write_safetensors(scratch / "t", tensors); });
  };
  EXPECT_EQ(kind({{"a", int8_tensor({1})}, {"a", int8_tensor({1})}}), "name");
  EXPECT_EQ(kind({{"", int8_tensor({1})}}), "name");
  EXPECT_EQ(kind({{"__metadata__", int8_tensor({1})}}), "name");
  EXPECT_EQ(kind({{"\xff", int8_tensor({1})}}), "name");
  EXPECT_EQ(kind({{"a", Tensor()}}), "dtype");
  EXPECT_EQ(kind({{"a", Tensor::zeros(DType::kInt4, {2})}}), "dtype");
  EXPECT_TRUE(listing(scratch.path()).empty());
}

TEST(CheckpointWriter, MakesTensorsWhenTheyAreWritten) {
  const ScratchFolder scratch;
  int made = 0;
  {
    CheckpointWriter writer(scratch / "m");
    writer.add("a.late", DType::kInt8, {3}, [&] { return ++made, int8_tensor({3}, 5); });
    writer.add("a.now", int8_tensor({2}));
    EXPECT_EQ(made, 0);
    writer.finish();
  }
  EXPECT_EQ(made, 1);
  EXPECT_TRUE(equal_bytes(Checkpoint(scratch / "m").entry("a.late").plain, int8_tensor({3}, 5)));

  CheckpointWriter writer(scratch / "wrong");
  writer.add("a", DType::kInt8, {3}, [] { return int8_tensor({4}); });
  EXPECT_EQ(message_of([&] { writer.finish(); }), "'a': was to be int8 [3], and is int8 [4]");
  EXPECT_EQ(kind_of([&] { writer.add("b", DType::kInt4, {2}, [] { return Tensor(); }); }), "dtype");
}

TEST(WriteSafetensors, LeavesTheOldFileWhenItCannotWrite) {
  const ScratchFolder scratch;
  fs::create_directory(scratch / "t");  // a folder cannot be replaced by a file
  const std::vector<NamedTensor> tensors{{"a", int8_tensor({1})}};
  EXPECT_THROW(write_safetensors(scratch / "t", tensors), IoError);
  EXPECT_THAT(listing(scratch.path()), ElementsAre("t"));
  EXPECT_THROW(write_safetensors(scratch / "none/t", tensors), IoError);
}

TEST(OutputFile, NamesThePathAndTheReasonWhenTheDiskIsFull) {
  OutputFile full("/dev/full", OutputFile::Mode::kExisting);
  EXPECT_EQ(message_of([&] { full.write("x"); }), "/dev/full: cannot be written: No space left on device");
}

TEST(CheckpointWriter, RoundTripsInOneFile) {
  const ScratchFolder scratch;
  const TensorParts parts = weight_parts(-5);
  const Tensor norm = float_tensor({4});
  {
    CheckpointWriter writer(scratch / "out/");
    writer.add("m.weight", parts);
    writer.add("norm.größe", norm);
    writer.add_file("config.json", "{}");
    std::int64_t last = 0;
    writer.finish([&](std::int64_t done, std::int64_t total) {
      EXPECT_LE(last, done);
      EXPECT_EQ(total, 2 + 8 + 8 + 16);
      last = done;
    });
    EXPECT_EQ(last, 34);
    EXPECT_THROW(writer.finish(), Error);
    EXPECT_THROW(writer.add("x.y", norm), Error);
  }
  EXPECT_THAT(listing(scratch.path()), ElementsAre("out"));
  EXPECT_THAT(listing(scratch / "out"), ElementsAre("config.json", "model.safetensors"));
  const Checkpoint c(scratch / "out");
  EXPECT_THAT(c.names(), ElementsAre("m.weight", "norm.größe"));
  EXPECT_TRUE(c.warnings().empty());
  expect_equal_parts(*c.entry("m.weight").parts, parts);
  EXPECT_TRUE(equal_bytes(c.entry("norm.größe").plain, norm));
}

TEST(CheckpointWriter, ShardsKeepWeightsTogetherAndCarryAllMetadata) {
  const ScratchFolder scratch;
  fs::create_directory(scratch / "out");  // empty folders may be replaced
  CheckpointWriter writer(scratch / "out", 40);
  writer.add("a.weight", weight_parts(1));   // 18 bytes
  writer.add("b.weight", weight_parts(2));   // 36 in all
  writer.add("c.bias", float_tensor({2}));   // next shard
  writer.add("d.large", float_tensor({30}));  // 120 bytes: a shard of its own
  writer.add("e.bias", int8_tensor({1}));
  writer.finish();
  EXPECT_THAT(listing(scratch / "out"),
              ElementsAre("model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
                          "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors",
                          "model.safetensors.index.json"));
  const Checkpoint c(scratch / "out");
  EXPECT_THAT(c.names(), ElementsAre("a.weight", "b.weight", "c.bias", "d.large", "e.bias"));
  expect_equal_parts(*c.entry("b.weight").parts, weight_parts(2));
  const Json index = read_json_file(scratch / "out/model.safetensors.index.json");
  EXPECT_EQ(index["metadata"], (Json{{"total_size", 36 + 8 + 120 + 1}}));
  EXPECT_EQ(index["weight_map"]["b._weight_scale"], "model-00001-of-00004.safetensors");
  EXPECT_EQ(index["weight_map"].size(), 9u);
  // One shard alone knows every name: that of e.bias lists the others as without data.
  const Checkpoint last(scratch / "out/model-00004-of-00004.safetensors");
  EXPECT_THAT(last.names(), ElementsAre("e.bias"));
  EXPECT_THAT(last.tied_names(), ElementsAre("a.weight", "b.weight", "c.bias", "d.large"));
}

TEST(CheckpointWriter, PlainModelsHaveNoTorchaoMetadata) {
  const ScratchFolder scratch;
  CheckpointWriter writer(scratch / "out", 8);
  writer.add("a", float_tensor({2}));
  writer.add("b", float_tensor({2}));
  writer.finish();
  const Checkpoint c(scratch / "out");
  EXPECT_FALSE(c.is_torchao_serialized());
  EXPECT_TRUE(c.warnings().empty());
  const Json index = read_json_file(scratch / "out/model.safetensors.index.json");
  EXPECT_EQ(index["metadata"], (Json{{"total_parameters", 4}, {"total_size", 16}}));
  EXPECT_THAT(read_text(scratch / "out/model-00001-of-00002.safetensors"), HasSubstr(R"({"__metadata__":{"format":"pt"},"a")"));
}

TEST(CheckpointWriter, AnEmptyModelIsAFileWithoutTensors) {
  const ScratchFolder scratch;
  CheckpointWriter(scratch / "out").finish();
  EXPECT_TRUE(Checkpoint(scratch / "out").names().empty());
}

TEST(CheckpointWriter, RefusesADestinationThatIsTaken) {
  const ScratchFolder scratch;
  write_text(scratch / "file", "x");
  fs::create_directory(scratch / "full");
  write_text(scratch / "full/file", "x");
  EXPECT_THROW(CheckpointWriter(scratch / "file"), IoError);
  EXPECT_THROW(CheckpointWriter(scratch / "full"), IoError);
  EXPECT_THROW(CheckpointWriter(scratch / "none/out"), IoError);
  EXPECT_THROW(CheckpointWriter(scratch / "file/out"), IoError);
  EXPECT_THAT(listing(scratch.path()), ElementsAre("file", "full"));
  // Taken while we wrote.
  CheckpointWriter writer(scratch / "late");
  writer.add("a", float_tensor({2}));
  fs::create_directory(scratch / "late");
  write_text(scratch / "late/file", "x");
  EXPECT_THROW(writer.finish(), IoError);
  EXPECT_THAT(listing(scratch / "late"), ElementsAre("file"));
}

TEST(CheckpointWriter, LeavesNothingWithoutFinish) {
  const ScratchFolder scratch;
  {
    CheckpointWriter writer(scratch / "out");
    writer.add("a.b", float_tensor({2}));
    writer.add_file("config.json", "{}");
  }
  EXPECT_TRUE(listing(scratch.path()).empty());
  {
    CheckpointWriter writer(scratch / "out");
    writer.add("a.b", float_tensor({2}));
    const auto interrupt = [](std::int64_t, std::int64_t) { throw Error("stop"); };
    EXPECT_THROW(writer.finish(interrupt), Error);
  }
  EXPECT_TRUE(listing(scratch.path()).empty());
}

TEST(CheckpointWriter, LeavesNothingWhenTheDiskIsFull) {
  const ScratchFolder scratch;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);  // so that write() answers EFBIG
  std::string message;
  {
    CheckpointWriter writer(scratch / "out");
    writer.add("a.b", Tensor::zeros(DType::kInt8, {1 << 20}));
    const rlimit small{1 << 16, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    message = message_of([&] { writer.finish(); });
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  }
  std::signal(SIGXFSZ, old_handler);
  EXPECT_THAT(message, HasSubstr("model.safetensors: cannot be written: File too large"));
  EXPECT_TRUE(listing(scratch.path()).empty());
}

TEST(CheckpointWriter, RefusesNamesAndPartsThatCannotBeStored) {
  const ScratchFolder scratch;
  CheckpointWriter writer(scratch / "out");
  writer.add("m.weight", weight_parts());
  const Tensor plain = int8_tensor({1});
  for (const char* name : {"", "format", "tensor_names", "__metadata__", "m.weight", "m._weight_qdata", "\xff.weight"}) {
    EXPECT_EQ(kind_of([&] { writer.add(name, plain); }), "name") << name;
  }
  EXPECT_EQ(kind_of([&] { writer.add("weight", weight_parts()); }), "name");
  EXPECT_EQ(kind_of([&] { writer.add("a.b", Tensor()); }), "dtype");
  const auto with = [&](const std::function<void(TensorParts&)>& change) {
    TensorParts parts = weight_parts();
    change(parts);
    return kind_of([&] { writer.add("n.weight", parts); });
  };
  EXPECT_EQ(with([](TensorParts& p) { p.class_name = ""; }), "ao.metadata_invalid");
  EXPECT_EQ(with([](TensorParts& p) { p.attributes = "[]"; }), "ao.metadata_invalid");
  EXPECT_EQ(with([](TensorParts& p) { p.attributes = R"({"g":{"_type":"PerBlock","_data":{}}})"; }), "ao.unsupported_type");
  EXPECT_EQ(with([](TensorParts& p) { p.parts.clear(); }), "ao.metadata_invalid");
  EXPECT_EQ(with([](TensorParts& p) { p.parts[0].second = Tensor::zeros(DType::kInt4, {2}); }), "dtype");
  EXPECT_EQ(with([](TensorParts& p) { p.parts[0].first = "qdata"; }), "name");
  // Plain names without a dot are refused once the whole model is known to be quantized.
  writer.add("nodot", plain);
  EXPECT_EQ(kind_of([&] { writer.finish(); }), "name");
}

TEST(CheckpointWriter, CopiesFurtherFilesOnceUnderPlainNames) {
  const ScratchFolder scratch;
  write_text(scratch / "tokenizer.json", "tok");
  CheckpointWriter writer(scratch / "out");
  writer.copy_file(scratch / "tokenizer.json");
  EXPECT_THROW(writer.copy_file(scratch / "tokenizer.json"), IoError);
  EXPECT_THROW(writer.copy_file(scratch / "none.json"), IoError);
  for (const char* name : {"../x", "", "..", "model.safetensors", "model.safetensors.index.json", "model-00001-of-00002.safetensors"}) {
    EXPECT_THROW(writer.add_file(name, "x"), IoError) << name;
  }
  writer.finish();
  EXPECT_THAT(listing(scratch / "out"), ElementsAre("model.safetensors", "tokenizer.json"));
  EXPECT_EQ(read_text(scratch / "out/tokenizer.json"), "tok");
}

}  // namespace
}  // namespace torchao_cpp
