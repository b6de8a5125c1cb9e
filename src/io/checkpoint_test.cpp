// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <functional>

#include "io/testing_files.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;
using namespace testing_files;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Header items of one byte tensors in a row: {"a", "b"} -> "a":{..[0,1]},"b":{..[1,2]}
std::string byte_entries(std::initializer_list<std::string_view> names) {
  std::string out;
  int at = 0;
  for (const std::string_view name : names) {
    if (at > 0) out += ',';
    out += "\"" + std::string(name) + "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[" + std::to_string(at) + "," +
           std::to_string(at + 1) + "]}";
    ++at;
  }
  return out;
}

std::string file_of(std::initializer_list<std::string_view> names) {
  return raw_safetensors("{" + byte_entries(names) + "}", std::string(names.size(), 'x'));
}

/// A file with torchao metadata; `metadata` are JSON items, whose values are JSON themselves.
std::string torchao_file(const std::vector<std::pair<std::string, std::string>>& metadata,
                         std::initializer_list<std::string_view> names) {
  std::string items;
  for (const auto& [key, value] : metadata) {
    std::string escaped;
    for (const char c : value) escaped += (c == '"' || c == '\\') ? std::string("\\") + c : std::string(1, c);
    items += (items.empty() ? "\"" : ",\"") + key + "\":\"" + escaped + "\"";
  }
  std::string header = "{\"__metadata__\":{" + items + "}";
  if (names.size() > 0) header += "," + byte_entries(names);
  return raw_safetensors(header + "}", std::string(names.size(), 'x'));
}

constexpr const char* kPlainEntry = R"({"_type":"Tensor"})";
constexpr const char* kWeightEntry =
    R"({"_type":"Int8Tensor","_data":{"block_size":[1,1]},"_tensor_data_names":["zero_point","qdata","scale"]})";

class CheckpointTest : public ::testing::Test {
 protected:
  std::string kind(const std::string& file) {
    write_text(scratch_ / "f.safetensors", file);
    return kind_of([&] { Checkpoint(scratch_ / "f.safetensors"); });
  }
  Checkpoint load(const std::string& file) {
    write_text(scratch_ / "f.safetensors", file);
    return Checkpoint(scratch_ / "f.safetensors");
  }
  std::string folder_kind() {
    return kind_of([&] { Checkpoint(scratch_.path()); });
  }
  ScratchFolder scratch_;
};

TEST_F(CheckpointTest, AbsentOrUnreadablePathsAreIoErrors) {
  EXPECT_THROW(Checkpoint(scratch_ / "none"), IoError);
  EXPECT_THROW(Checkpoint(scratch_.path()), IoError);
  ASSERT_EQ(::mkfifo((scratch_ / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(Checkpoint(scratch_ / "pipe"), IoError);
}

TEST_F(CheckpointTest, NamesTheFormsThatAFolderMayHave) {
  EXPECT_THAT(message_of([&] { Checkpoint(scratch_.path()); }), HasSubstr("model.safetensors.index.json, pytorch_model.bin and pytorch_model.bin.index.json"));
  write_text(scratch_ / "pytorch_model.bin", "PK");
  EXPECT_EQ(folder_kind(), "zip.malformed");
  EXPECT_EQ(kind_of([&] { Checkpoint(scratch_ / "pytorch_model.bin"); }), "zip.malformed");
}

TEST_F(CheckpointTest, BorrowsAlignedTensorsAndCopiesOthers) {
  float values[2] = {1.5f, -2.0f};
  std::string data(4, 'x');
  data.append(reinterpret_cast<const char*>(values), sizeof values);
  // A header of 8n+1 bytes puts every offset of the data off its alignment.
  for (const std::size_t padding : {0u, 1u, 2u, 3u, 4u}) {
    std::string header = R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"f":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})";
    header.append((8 - header.size() % 8) % 8 + padding, ' ');
    const Checkpoint c = load(raw_safetensors(header, data));
    const Tensor f = c.entry("f").plain;
    EXPECT_EQ(f.is_read_only(), padding % 4 == 0) << padding;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(f.bytes()) % 4, 0u);
    EXPECT_EQ(f.data<float>()[1], -2.0f);
    EXPECT_EQ(c.nbytes(), 12);
  }
}

TEST_F(CheckpointTest, TensorsOutliveTheCheckpoint) {
  Tensor t;
  {
    const Checkpoint c = load(file_of({"a", "b"}));
    t = c.entry("b").plain;
  }
  fs::remove(scratch_ / "f.safetensors");
  EXPECT_EQ(t.data<char>()[0], 'x');
  EXPECT_TRUE(t.is_read_only());
}

TEST_F(CheckpointTest, HandsOutScalarsEmptyTensorsAndSubByteTypes) {
  const Checkpoint c = load(raw_safetensors(
      R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"F64","shape":[2,0],"data_offsets":[4,4]},)"
      R"("q":{"dtype":"F4","shape":[2,3],"data_offsets":[4,7]}})",
      std::string(7, '\0')));
  EXPECT_EQ(c.entry("s").plain.shape(), Shape{});
  EXPECT_EQ(c.entry("s").plain.numel(), 1);
  EXPECT_EQ(c.entry("e").plain.shape(), (Shape{2, 0}));
  EXPECT_TRUE(c.entry("e").plain.defined());
  EXPECT_EQ(c.entry("q").plain.dtype(), DType::kUInt8);
  EXPECT_EQ(c.entry("q").plain.shape(), Shape{3});
}

TEST_F(CheckpointTest, MissingNamesComeWithNearMatches) {
  const Checkpoint c = load(file_of({"model.norm.weight", "lm_head.weight", "größe"}));
  EXPECT_TRUE(c.contains("größe"));
  EXPECT_FALSE(c.contains("lm_head"));
  EXPECT_EQ(kind_of([&] { c.entry("model.norm.weigth"); }), "missing");
  EXPECT_THAT(message_of([&] { c.entry("model.norm.weigth"); }), HasSubstr("did you mean 'model.norm.weight'?"));
  EXPECT_THAT(message_of([&] { c.entry("x"); }), ::testing::Not(HasSubstr("did you mean")));
}

TEST_F(CheckpointTest, ReadsShardsInFileOrder) {
  write_text(scratch_ / "model-00002-of-00002.safetensors", file_of({"a"}));
  write_text(scratch_ / "model-00001-of-00002.safetensors", file_of({"z", "b"}));
  write_text(scratch_ / "model.safetensors.index.json",
             R"({"metadata":{"total_size":99},"weight_map":{"a":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors","z":"model-00001-of-00002.safetensors"}})");
  const Checkpoint c(scratch_.path());
  EXPECT_THAT(c.names(), ElementsAre("z", "b", "a"));
  ASSERT_EQ(c.warnings().size(), 1u);
  EXPECT_THAT(c.warnings()[0], HasSubstr("total_size 99, but the tensors have 3 bytes"));
  EXPECT_FALSE(c.is_torchao_serialized());

  write_text(scratch_ / "model.safetensors", file_of({"single"}));
  const Checkpoint single(scratch_.path());
  EXPECT_THAT(single.names(), ElementsAre("single"));
  EXPECT_THAT(single.warnings()[0], HasSubstr("the index is not used"));
}

TEST_F(CheckpointTest, RefusesShardsThatDoNotFitTheIndex) {
  write_text(scratch_ / "1.safetensors", file_of({"a"}));
  write_text(scratch_ / "2.safetensors", file_of({"a", "b"}));
  const auto with_map = [&](std::string_view map) {
    write_text(scratch_ / "model.safetensors.index.json", "{\"weight_map\":{" + std::string(map) + "}}");
    return folder_kind();
  };
  EXPECT_EQ(with_map(R"("a":"1.safetensors")"), "ok");
  EXPECT_EQ(with_map(R"("a":"2.safetensors")"), "index.extra_tensor");
  EXPECT_EQ(with_map(R"("a":"1.safetensors","c":"1.safetensors")"), "index.missing_tensor");
  EXPECT_EQ(with_map(R"("a":"1.safetensors","b":"2.safetensors")"), "index.extra_tensor");
  EXPECT_EQ(with_map(R"("a":"none.safetensors")"), "index.missing_shard");
}

TEST_F(CheckpointTest, GroupsPartsByExactKeys) {
  // m.weight_scale_x is a foreign name that begins like a part of m.weight.
  const Checkpoint c = load(torchao_file({{"tensor_names", R"(["n.bias","m.weight","m.weight_scale_x"])"},
                                          {"m.weight", kWeightEntry},
                                          {"m.weight_scale_x", kWeightEntry},
                                          {"n.bias", kPlainEntry},
                                          {"format", "pt"}},
                                         {"m._weight_scale", "m._weight_qdata", "m._weight_zero_point", "n.bias",
                                          "m._weight_scale_x_qdata", "m._weight_scale_x_scale", "m._weight_scale_x_zero_point"}));
  EXPECT_THAT(c.names(), ElementsAre("n.bias", "m.weight", "m.weight_scale_x"));
  EXPECT_TRUE(c.is_torchao_serialized());
  EXPECT_TRUE(c.warnings().empty());
  const CheckpointEntry e = c.entry("m.weight");
  ASSERT_TRUE(e.parts.has_value());
  EXPECT_FALSE(e.plain.defined());
  EXPECT_EQ(e.parts->class_name, "Int8Tensor");
  EXPECT_EQ(e.parts->attributes, R"({"block_size":[1,1]})");
  ASSERT_EQ(e.parts->parts.size(), 3u);
  EXPECT_EQ(e.parts->parts[0].first, "zero_point");
  EXPECT_EQ(e.parts->parts[1].first, "qdata");
}

TEST_F(CheckpointTest, ReadsTheFormOfTorchao014) {
  const Checkpoint c = load(torchao_file({{"tensor_names", R"(["m.weight","n.bias","tied.weight","plain.tied"])"},
                                          {"m.weight", R"({"_type":"Float8Tensor","_data":{}})"},
                                          {"tied.weight", R"({"_type":"Float8Tensor","_data":{}})"},
                                          {"plain.tied", kPlainEntry},
                                          {"n.bias", kPlainEntry}},
                                         {"m.weight:qdata", "m.weight:scale", "n.bias:_data"}));
  EXPECT_THAT(c.names(), ElementsAre("m.weight", "n.bias"));
  EXPECT_THAT(c.tied_names(), ElementsAre("tied.weight", "plain.tied"));
  EXPECT_EQ(c.entry("m.weight").parts->parts.size(), 2u);
  EXPECT_TRUE(c.entry("n.bias").plain.defined());
  EXPECT_THAT(message_of([&] { c.entry("plain.tied"); }), HasSubstr("tied"));
}

TEST_F(CheckpointTest, NamesWithoutDataAreTiedAndForeignKeysArePlain) {
  const Checkpoint c = load(torchao_file({{"tensor_names", R"(["a.weight","lm_head.weight"])"},
                                          {"a.weight", kPlainEntry},
                                          {"lm_head.weight", kWeightEntry}},
                                         {"extra._weight_qdata", "a.weight"}));
  EXPECT_THAT(c.names(), ElementsAre("a.weight", "extra._weight_qdata"));
  EXPECT_THAT(c.tied_names(), ElementsAre("lm_head.weight"));
  ASSERT_EQ(c.warnings().size(), 1u);
  EXPECT_THAT(c.warnings()[0], HasSubstr("'extra._weight_qdata'"));
}

TEST_F(CheckpointTest, FindsPartsInOtherShards) {
  const std::vector<std::pair<std::string, std::string>> metadata{{"tensor_names", R"(["m.weight"])"}, {"m.weight", kWeightEntry}};
  write_text(scratch_ / "1.safetensors", torchao_file(metadata, {"m._weight_qdata"}));
  write_text(scratch_ / "2.safetensors", torchao_file(metadata, {"m._weight_scale", "m._weight_zero_point"}));
  write_text(scratch_ / "model.safetensors.index.json",
             R"({"weight_map":{"m._weight_qdata":"1.safetensors","m._weight_scale":"2.safetensors","m._weight_zero_point":"2.safetensors"}})");
  EXPECT_EQ(Checkpoint(scratch_.path()).entry("m.weight").parts->parts.size(), 3u);

  // Other spelling, same content; then other content.
  auto other = metadata;
  other[1].second = R"({ "_data": {"block_size":[1,1]}, "_type":"Int8Tensor","_tensor_data_names":["zero_point","qdata","scale"]})";
  write_text(scratch_ / "2.safetensors", torchao_file(other, {"m._weight_scale", "m._weight_zero_point"}));
  EXPECT_EQ(folder_kind(), "ao.metadata_invalid");
  other[1].second = std::string(" ") + kWeightEntry;
  write_text(scratch_ / "2.safetensors", torchao_file(other, {"m._weight_scale", "m._weight_zero_point"}));
  EXPECT_EQ(folder_kind(), "ok");
}

TEST_F(CheckpointTest, RefusesBadMetadata) {
  const auto with = [&](const char* names, const char* entry) {
    return kind(torchao_file({{"tensor_names", names}, {"m.weight", entry}}, {"m._weight_qdata", "m._weight_scale", "m._weight_zero_point"}));
  };
  EXPECT_EQ(with(R"(["m.weight"])", kWeightEntry), "ok");
  for (const char* names : {"", "[m.weight", "{}", "[1]", "null", R"(["m.weight","m.weight"])", R"(["m.weight","other"])"}) {
    EXPECT_EQ(with(names, kWeightEntry), "ao.metadata_invalid") << names;
  }
  for (const char* entry :
       {"", "[]", "1", "{}", R"({"_type":1})", R"({"_type":""})", R"({"_type":"Int8Tensor"})",
        R"({"_type":"Int8Tensor","_data":[]})", R"({"_type":"Int8Tensor","_data":{}})",
        R"({"_type":"Int8Tensor","_data":{},"_tensor_data_names":"qdata"})",
        R"({"_type":"Int8Tensor","_data":{},"_tensor_data_names":[""]})",
        R"({"_type":"Int8Tensor","_data":{},"_tensor_data_names":[1]})",
        R"({"_type":"Int8Tensor","_data":{},"_tensor_data_names":["qdata","qdata"]})",
        R"({"_type":"Int8Tensor","_data":{"a":1,"a":1},"_tensor_data_names":["qdata"]})",
        R"({"_type":"Int8Tensor","_data":{"dtype":{"_type":"torch.dtype","_data":"load"}},"_tensor_data_names":["qdata"]})",
        R"({"_type":"Int8Tensor","_data":{"m":{"_type":"MappingType","_data":"OTHER"}},"_tensor_data_names":["qdata"]})",
        R"({"_type":"Int8Tensor","_data":{"g":{"_type":"PerRow","_data":1}},"_tensor_data_names":["qdata"]})",
        R"({"_type":"Int8Tensor","_data":{"g":{"_type":"PerRow"}},"_tensor_data_names":["qdata"]})"}) {
    EXPECT_EQ(with(R"(["m.weight"])", entry), "ao.metadata_invalid") << entry;
  }
  EXPECT_EQ(with(R"(["m.weight"])",
                 R"({"_type":"Int8Tensor","_data":{"k":[{"x":{"_type":"os.system","_data":{}}}]},"_tensor_data_names":["qdata"]})"),
            "ao.unsupported_type");
  EXPECT_EQ(with(R"(["m.weight"])",
                 R"({"_type":"Int8Tensor","_data":{"g":{"_type":"PerBlock","_data":{}}},"_tensor_data_names":["qdata"]})"),
            "ao.unsupported_type");
  EXPECT_EQ(with(R"(["m.weight"])",
                 R"({"_type":"Int8Tensor","_data":{},"_tensor_data_names":["qdata","act_pre_scale"]})"),
            "ao.missing_data");
}

TEST_F(CheckpointTest, RefusesKeysThatTwoNamesClaim) {
  EXPECT_EQ(kind(torchao_file({{"tensor_names", R"(["m.weight","m._weight_qdata"])"},
                               {"m.weight", kWeightEntry},
                               {"m._weight_qdata", kPlainEntry}},
                              {"m._weight_qdata", "m._weight_scale", "m._weight_zero_point"})),
            "ao.metadata_invalid");
  // A plain tensor under the name of a quantized one.
  EXPECT_EQ(kind(torchao_file({{"tensor_names", R"(["m.weight"])"}, {"m.weight", kWeightEntry}},
                              {"m.weight", "m._weight_qdata", "m._weight_scale", "m._weight_zero_point"})),
            "ao.metadata_invalid");
  EXPECT_EQ(kind(torchao_file({{"tensor_names", R"(["weight"])"}, {"weight", kWeightEntry}}, {"_weight_qdata"})),
            "ao.metadata_invalid");
}

}  // namespace
}  // namespace torchao_cpp
