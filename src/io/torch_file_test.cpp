// SPDX-License-Identifier: Apache-2.0
#include "io/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "io/testing_torch.h"
#include "torchao_cpp/checkpoint.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;
using namespace testing_files;
using namespace testing_torch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kInt8Class = "torchao.quantization";

class TorchFileTest : public ::testing::Test {
 protected:
  Checkpoint load(const std::string& file) {
    write_text(scratch_ / "f.bin", file);
    return Checkpoint(scratch_ / "f.bin");
  }
  /// Opens the file and reads every entry.
  std::string kind(const std::string& file) {
    return kind_of([&] {
      const Checkpoint c = load(file);
      for (const std::string& name : c.names()) c.entry(name);
    });
  }
  std::string view_kind(std::int64_t offset, const std::vector<std::int64_t>& size,
                        const std::vector<std::int64_t>& stride) {
    TorchFileBuilder b;
    return kind(
        b.file({{"w", TorchFileBuilder::view(b.storage("FloatStorage", std::string(16, 'x'), 4),
                                             offset, size, stride)}}));
  }
  std::string folder_kind() {
    return kind_of([&] { Checkpoint(scratch_.path()); });
  }
  ScratchFolder scratch_;
};

TEST_F(TorchFileTest, ReadsPlainTensorsInTheDictsOrder) {
  TorchFileBuilder b;
  const std::string shared = b.storage("FloatStorage", std::string(16, '\0'), 4);
  const Checkpoint c = load(
      b.file({{"z", b.tensor<float>("FloatStorage", {2, 2}, {1, 2, 3, 4})},
              {"a", b.tensor<std::int64_t>("LongStorage", {}, {7})},
              {"e", b.tensor<std::int8_t>("CharStorage", {0, 3}, {})},
              {"f8", b.float8_tensor({2}, "ab")},
              {"p", call(global("torch._utils", "_rebuild_parameter"),
                         {TorchFileBuilder::view(shared, 1, {2}, {1}), kTrue, ordered_dict()})}}));
  EXPECT_THAT(c.names(), ElementsAre("z", "a", "e", "f8", "p"));
  EXPECT_FALSE(c.is_torchao_serialized());
  EXPECT_EQ(c.entry("z").plain.data<float>()[3], 4.0f);
  EXPECT_EQ(c.entry("a").plain.data<std::int64_t>()[0], 7);
  EXPECT_EQ(c.entry("a").plain.shape(), Shape{});
  EXPECT_EQ(c.entry("e").plain.shape(), (Shape{0, 3}));
  EXPECT_EQ(c.entry("f8").plain.dtype(), DType::kFloat8E4M3FN);
  EXPECT_EQ(c.entry("p").plain.shape(), Shape{2});
  EXPECT_EQ(c.nbytes(), 16 + 8 + 2 + 8);
  EXPECT_EQ(kind_of([&] { c.entry("zz"); }), "missing");
}

TEST_F(TorchFileTest, BorrowsWhatLiesAlignedAndCopiesTheRest) {
  const std::string data = number(1.0f) + number(2.0f) + number(3.0f) + number(4.0f);
  for (const std::size_t padding : {0u, 1u, 2u, 3u, 4u}) {
    const std::string pickle =
        "\x80\x02" +
        dict({{"w", TorchFileBuilder::view(tuple({text("storage"), global("torch", "FloatStorage"),
                                                  text("0"), text("cpu"), integer(4)}) +
                                               "Q",
                                           1, {3}, {1})}}) +
        ".";
    const std::string file =
        zip_archive({{"a/data/0", data, 0x0808, 0, "", std::string(2 + padding, 'F')},
                     {"a/data.pkl", pickle},
                     {"a/version", "3\n"}});
    const Checkpoint c = load(file);
    const Tensor t = c.entry("w").plain;
    EXPECT_EQ(t.data<float>()[0], 2.0f);
    EXPECT_EQ(t.data<float>()[2], 4.0f);
    EXPECT_EQ(t.is_read_only(), (30 + 8 + 2 + padding) % 4 == 0) << padding;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.bytes()) % 4, 0u);
  }
}

TEST_F(TorchFileTest, CopiesStridedViews) {
  TorchFileBuilder b;
  std::string data;
  for (int i = 0; i < 12; ++i) data += static_cast<char>(i);
  const std::string s = b.storage("CharStorage", data, 12);
  const Checkpoint c =
      load(b.file({{"t", TorchFileBuilder::view(s, 0, {3, 4}, {1, 3})},
                   {"v", TorchFileBuilder::view(s, 1, {2, 2, 2}, {6, 3, 1})},
                   {"r", TorchFileBuilder::view(s, 5, {3, 2}, {0, 1})},
                   {"one", TorchFileBuilder::view(s, 2, {1, 3}, {99, 1})},
                   {"two", TorchFileBuilder::view(s, 2, {1, 2}, {0x7FFFFFFF, 3})}}));
  const auto values = [&](const char* name) {
    const Tensor t = c.entry(name).plain;
    return std::vector<int>(t.data<std::int8_t>(), t.data<std::int8_t>() + t.numel());
  };
  EXPECT_THAT(values("t"), ElementsAre(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11));
  EXPECT_THAT(values("v"), ElementsAre(1, 2, 4, 5, 7, 8, 10, 11));
  EXPECT_THAT(values("r"), ElementsAre(5, 6, 5, 6, 5, 6));
  EXPECT_THAT(values("one"), ElementsAre(2, 3, 4));
  EXPECT_THAT(values("two"), ElementsAre(2, 5));
}

TEST_F(TorchFileTest, RefusesViewsOutsideOfTheirStorage) {
  EXPECT_EQ(view_kind(0, {4}, {1}), "ok");
  EXPECT_EQ(view_kind(4, {0, 9}, {1, 1}), "ok");
  EXPECT_EQ(view_kind(5, {0}, {1}), "bin.view_out_of_range");
  EXPECT_EQ(view_kind(1, {4}, {1}), "bin.view_out_of_range");
  EXPECT_EQ(view_kind(0, {2, 2}, {3, 1}), "bin.view_out_of_range");
  EXPECT_EQ(view_kind(-1, {1}, {1}), "bin.view_out_of_range");
  EXPECT_EQ(view_kind(3, {2}, {-1}), "bin.view_out_of_range");
  EXPECT_EQ(view_kind(0, {-1}, {1}), "bin.view_out_of_range");
  EXPECT_EQ(view_kind(0, {2}, {1, 1}), "bin.view_out_of_range");
  EXPECT_EQ(view_kind(0, {5}, {0}), "bin.limit_exceeded");
  const std::int64_t big = 0x7FFFFFFF;
  EXPECT_EQ(view_kind(0, {big, big, big}, {0, 0, 0}), "bin.limit_exceeded");
  EXPECT_EQ(view_kind(0, {big, big, big}, {big, big, big}), "bin.view_out_of_range");
}

TEST_F(TorchFileTest, RefusesStoragesThatAreNotThere) {
  for (const auto& [key, want] : {std::pair<std::string, std::string>{"0", "ok"},
                                  {"1", "bin.missing_storage"},
                                  {"", "bin.missing_storage"},
                                  {"../data.pkl", "bin.missing_storage"},
                                  {"0x0", "bin.missing_storage"}}) {
    TorchFileBuilder b;
    b.storage("FloatStorage", std::string(16, 'x'), 4);
    const std::string s = tuple({text("storage"), global("torch", "FloatStorage"), text(key),
                                 text("cuda:0"), integer(4)}) +
                          "Q";
    EXPECT_EQ(kind(b.file({{"w", TorchFileBuilder::view(s, 0, {4}, {1})}})), want) << key;
  }
  for (const std::int64_t numel : {3, 5, -4, 0}) {
    TorchFileBuilder b;
    EXPECT_EQ(kind(b.file({{"w", TorchFileBuilder::view(
                                     b.storage("FloatStorage", std::string(16, 'x'), numel), 0, {1},
                                     {1})}})),
              "bin.storage_size");
  }
}

TEST_F(TorchFileTest, RefusesOtherContainers) {
  TorchFileBuilder b;
  const std::string pickle = "\x80\x02}.";
  EXPECT_EQ(kind(zip_archive({{"a/data.pkl", pickle}, {"a/version", "3\n"}})), "ok");
  EXPECT_EQ(kind(zip_archive({{"a/data.pkl", pickle}})), "bin.unsupported_container");
  EXPECT_EQ(kind(zip_archive({{"a/x", pickle}, {"a/version", "3\n"}})),
            "bin.unsupported_container");
  EXPECT_EQ(
      kind(zip_archive({{"a/data.pkl", pickle}, {"a/version", "3\n"}, {"a/byteorder", "big"}})),
      "bin.unsupported_byteorder");
  EXPECT_EQ(kind(std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.more", 19)),
            "bin.unsupported_container");
  EXPECT_EQ(kind("no zip"), "zip.malformed");
  std::string damaged = zip_archive({{"a/data.pkl", pickle}, {"a/version", "3\n"}});
  damaged[damaged.find(pickle) + 2] = '{';
  EXPECT_EQ(kind(damaged), "zip.malformed");
}

TEST_F(TorchFileTest, RefusesRootsThatAreNoDictOfTensors) {
  TorchFileBuilder b;
  const std::string w = b.tensor<float>("FloatStorage", {1}, {1});
  EXPECT_EQ(kind(b.file({{"w", w}})), "ok");
  EXPECT_EQ(kind(b.file({{"w", integer(1)}})), "pickle.type_error");
  EXPECT_EQ(kind(b.file({{"state_dict", dict({{"w", w}})}})), "pickle.type_error");
  EXPECT_EQ(kind(b.file({{"w", w}, {"w", w}})), "pickle.type_error");
  EXPECT_EQ(kind(b.file_of_pickle("\x80\x02" + w + ".")), "pickle.type_error");
}

std::string int8_weight(TorchFileBuilder& b,
                        const std::vector<std::pair<std::string, std::string>>& more = {}) {
  std::vector<std::pair<std::string, std::string>> state{
      {"qdata", b.tensor<std::int8_t>("CharStorage", {2, 2}, {1, 2, 3, 4})},
      {"scale", b.tensor<float>("FloatStorage", {2, 1}, {1, 2})},
      {"block_size", list({integer(1), integer(2)})},
      {"act_quant_scale", kNone}};
  state.insert(state.end(), more.begin(), more.end());
  return TorchFileBuilder::object(kInt8Class, "Int8Tensor", "bfloat16", {2, 2}, state);
}

TEST_F(TorchFileTest, TurnsTodaysClassesIntoParts) {
  TorchFileBuilder b;
  const std::string kwargs =
      global("torchao.quantization.quantize_.workflows.int8.int8_tensor",
             "QuantizeTensorToInt8Kwargs") +
      ")\x81" +
      dict({{"granularity", global("torchao.quantization.granularity", "PerRow") + ")\x81" +
                                dict({{"dim", integer(-1)}}) + "b"},
            {"mapping_type",
             call(global("torchao.quantization.quant_primitives", "MappingType"), {integer(3)})}}) +
      "b";
  const Checkpoint c =
      load(b.file({{"w", int8_weight(b, {{"act_quant_kwargs", kwargs}, {"_is_param", kTrue}})}}));
  EXPECT_TRUE(c.is_torchao_serialized());
  const CheckpointEntry e = c.entry("w");
  ASSERT_TRUE(e.parts.has_value());
  EXPECT_EQ(e.parts->class_name, "Int8Tensor");
  EXPECT_EQ(e.stored_class, "Int8Tensor");
  EXPECT_EQ(
      Json::parse(e.parts->attributes),
      Json::parse(
          R"({"block_size":[1,2],"act_quant_kwargs":{"_type":"QuantizeTensorToInt8Kwargs","_data":{)"
          R"("granularity":{"_type":"PerRow","_data":{"dim":-1}},"mapping_type":{"_type":"MappingType","_data":"ASYMMETRIC"}}},)"
          R"("dtype":{"_type":"torch.dtype","_data":"bfloat16"}})"));
  EXPECT_EQ(e.parts->parts.size(), 2u);
  EXPECT_EQ(e.parts->find("qdata").data<std::int8_t>()[3], 4);
}

TEST_F(TorchFileTest, TurnsSparseFloat8IntoParts) {
  TorchFileBuilder b;
  const std::string weight = TorchFileBuilder::object(
      "torchao.quantization.quantize_.workflows.float8.float8_sparse_2x4_2d_data_2d_metadata_"
      "tensor",
      "Float8Sparse2x4_2DData2DMetadataTensor", "bfloat16", {2, 8},
      {{"qdata", b.float8_tensor({2, 4}, "12345678")},
       {"sparse_metadata", b.tensor<std::uint8_t>("ByteStorage", {1, 2}, {0x44, 0x44})},
       {"scale", b.tensor<float>("FloatStorage", {2, 1}, {1, 2})},
       {"block_size", list({integer(1), integer(8)})},
       {"act_quant_kwargs", kNone}});
  const CheckpointEntry e = load(b.file({{"w", weight}})).entry("w");
  ASSERT_TRUE(e.parts.has_value());
  EXPECT_EQ(e.parts->class_name, "Float8Sparse2x4_2DData2DMetadataTensor");
  EXPECT_EQ(e.parts->parts.size(), 3u);
  EXPECT_EQ(Json::parse(e.parts->attributes)["dtype"]["_data"], "bfloat16");
}

TEST(TorchFile, ReadsPreshuffledWeightsThatTorchSavedFromAGpu) {
  for (const std::string name :
       {"int4_preshuffled_bf16_g128.64x256", "int4_preshuffled_fp8_g128.64x256"}) {
    const fs::path folder = fs::path(TORCHAO_CPP_TEST_DATA) / "golden_cuda";
    const CheckpointEntry e = Checkpoint(folder / (name + ".bin")).entry("weight");
    const Checkpoint golden(folder / (name + ".safetensors"));
    ASSERT_TRUE(e.parts.has_value());
    EXPECT_EQ(e.parts->class_name, "Int4PreshuffledTensor");
    EXPECT_EQ(Json::parse(e.parts->attributes),
              Json::parse(R"({"block_size": [1, 128], "shape": [64, 256]})"));
    ASSERT_EQ(e.parts->parts.size(), 3u);
    for (const auto& [part, tensor] : e.parts->parts)
      EXPECT_TRUE(equal_bytes(tensor, golden.entry("q." + part).plain)) << name << " " << part;
  }
}

TEST_F(TorchFileTest, RefusesObjectsThatNoTorchaoWrote) {
  // Lists that share their items expand to 2^40 values.
  TorchFileBuilder b;
  std::string shared = "]" + integer(1) + "aq\1";
  std::string value = "(" + shared;
  for (char i = 1; i < 40; ++i)
    value += "](h" + std::string(1, i) + "h" + std::string(1, i) + "eq" +
             std::string(1, static_cast<char>(i + 1));
  value += "t";
  EXPECT_EQ(kind(b.file({{"w", int8_weight(b, {{"x", value}})}})), "pickle.limit_exceeded");
  EXPECT_EQ(kind(b.file({{"w", int8_weight(b, {{"qdata", kNone}})}})), "pickle.type_error");
  EXPECT_EQ(kind(b.file({{"w", TorchFileBuilder::object(kInt8Class, "Int8Tensor", "bfloat16",
                                                        {2, 2}, {{"qdata", integer(1)}})}})),
            "pickle.type_error");
  EXPECT_EQ(kind(b.file({{"w", TorchFileBuilder::object(kInt8Class, "Int8Tensor", "bfloat16",
                                                        {2, 2}, {})}})),
            "ao.missing_data");
  EXPECT_EQ(kind(b.file({{"w", call(global("torch._tensor", "_rebuild_from_type_v2"), {kNone})}})),
            "pickle.type_error");
}

TEST_F(TorchFileTest, ReadsShardsAndPrefersSafetensors) {
  TorchFileBuilder one;
  TorchFileBuilder two;
  write_text(scratch_ / "pytorch_model-00001-of-00002.bin",
             one.file({{"a", one.tensor<float>("FloatStorage", {1}, {1})}}));
  write_text(scratch_ / "pytorch_model-00002-of-00002.bin",
             two.file({{"b", two.tensor<float>("FloatStorage", {1}, {2})}}));
  const auto index = [&](const char* map) {
    write_text(scratch_ / "pytorch_model.bin.index.json",
               std::string(R"({"metadata":{"total_size":8},"weight_map":{)") + map + "}}");
  };
  index(R"("a":"pytorch_model-00001-of-00002.bin","b":"pytorch_model-00002-of-00002.bin")");
  {
    const Checkpoint c(scratch_.path());
    EXPECT_THAT(c.names(), ElementsAre("a", "b"));
    EXPECT_EQ(c.entry("b").plain.data<float>()[0], 2.0f);
    EXPECT_TRUE(c.warnings().empty());
  }
  index(R"("a":"pytorch_model-00001-of-00002.bin","b":"pytorch_model-00001-of-00002.bin")");
  EXPECT_EQ(folder_kind(), "index.missing_tensor");
  index(R"("b":"pytorch_model-00001-of-00002.bin","a":"pytorch_model-00002-of-00002.bin")");
  EXPECT_EQ(folder_kind(), "index.missing_tensor");
  write_text(scratch_ / "pytorch_model-00002-of-00002.bin",
             two.file({{"b", two.tensor<float>("FloatStorage", {1}, {2})},
                       {"x", two.tensor<float>("FloatStorage", {1}, {2})}}));
  index(R"("a":"pytorch_model-00001-of-00002.bin","b":"pytorch_model-00002-of-00002.bin")");
  EXPECT_EQ(folder_kind(), "index.extra_tensor");
  index(R"("a":"pytorch_model-00001-of-00002.bin","b":"gone.bin")");
  EXPECT_EQ(folder_kind(), "index.missing_shard");
  index(R"("a":"../x.bin")");
  EXPECT_EQ(folder_kind(), "index.bad_path");
  // The single file comes first, safetensors before both.
  TorchFileBuilder single;
  write_text(scratch_ / "pytorch_model.bin",
             single.file({{"s", single.tensor<float>("FloatStorage", {1}, {3})}}));
  EXPECT_THAT(Checkpoint(scratch_.path()).names(), ElementsAre("s"));
  write_text(scratch_ / "model.safetensors",
             raw_safetensors(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  EXPECT_THAT(Checkpoint(scratch_.path()).names(), ElementsAre("t"));
}

TEST_F(TorchFileTest, GivesTheKindsOfTheHostileFiles) {
  const fs::path folder = fs::path(TORCHAO_CPP_TEST_DATA) / "hostile";
  int count = 0;
  const Json manifest = read_json_file(folder / "manifest.json");
  for (const auto& [name, item] : manifest.at("files").items()) {
    if (!name.ends_with(".bin")) continue;
    ++count;
    EXPECT_EQ(kind(read_text(folder / name)), item.at("expect").get<std::string>()) << name;
  }
  EXPECT_GE(count, 30);
}

// Whatever a byte of the pickle becomes, the file is read or refused with a kind.
TEST_F(TorchFileTest, RefusesOrReadsEveryChangedByte) {
  for (const char* id :
       {"ao0.11.0-llama1-8da4w", "ao0.11.0-llama1-uintx3", "ao0.11.0-llama1-int4wo-cpu",
        "ao0.13.0-llama1-fp8static", "llama1-mxfp4"}) {
    const std::string file =
        read_text(fs::path(TORCHAO_CPP_TEST_DATA) / "checkpoints" / id / "bin/pytorch_model.bin");
    const ZipDirectory directory = parse_zip_directory(as_bytes(file), id);
    std::vector<ZipRecord> records;
    std::size_t pickle = 0;
    for (const ZipEntry& e : directory.entries) {
      if (e.name.ends_with("/data.pkl")) pickle = records.size();
      records.push_back({e.name, file.substr(e.begin, e.size)});
    }
    const std::string original = records[pickle].data;
    // The first weights hold every kind of value, and the step keeps the test short.
    for (std::size_t at = 0; at < std::min<std::size_t>(original.size(), 2500); at += 17) {
      std::string& data = records[pickle].data;
      data = original;
      data[at] = static_cast<char>(data[at] ^ (1 << at % 8));
      std::string outcome = "foreign exception";
      try {
        outcome = kind(zip_archive(records));
      } catch (const std::exception& e) {
        outcome = e.what();
      }
      EXPECT_TRUE(outcome == "ok" || outcome.find('.') != std::string::npos)
          << id << " byte " << at << ": " << outcome;
    }
  }
}

}  // namespace
}  // namespace torchao_cpp
