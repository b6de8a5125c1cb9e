// SPDX-License-Identifier: Apache-2.0
#include "core/parts_reader.h"

#include <gtest/gtest.h>

#include <array>

#include "core/block_slice.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::array<std::string_view, 1> kData{"qdata"};
constexpr std::array<std::string_view, 1> kOptionalData{"act_pre_scale"};
constexpr std::array<std::string_view, 2> kAttributes{"block_size", "dtype"};
constexpr std::array<std::string_view, 3> kOptionalAttributes{"flag", "granularity", "mapping"};

const WeightTensorType kType{
    .class_name = "ToyTensor",
    .tensor_data_names = kData,
    .optional_tensor_data_names = kOptionalData,
    .tensor_attribute_names = kAttributes,
    .optional_tensor_attribute_names = kOptionalAttributes,
    .safetensors_serializable = true,
    .from_parts = nullptr,
};

TensorParts toy_parts(std::string attributes) {
  TensorParts parts;
  parts.class_name = "ToyTensor";
  parts.attributes = std::move(attributes);
  parts.parts.emplace_back("qdata", Tensor::zeros(DType::kInt8, {4, 8}));
  return parts;
}

template <typename F>
std::string kind_of(const F& fn) {
  try {
    fn();
  } catch (const CheckpointError& e) {
    return e.kind();
  }
  return "no error";
}

std::string block_size_kind(const std::string& json) {
  const TensorParts parts = toy_parts(R"({"block_size": )" + json + "}");
  return kind_of([&] { PartsReader(kType, parts, "m.weight").block_size("block_size", 4, 8); });
}

std::string dtype_kind(const std::string& json) {
  const TensorParts parts = toy_parts(R"({"dtype": )" + json + "}");
  return kind_of([&] {
    PartsReader(kType, parts, "m.weight").dtype("dtype", {DType::kFloat32, DType::kBFloat16});
  });
}

TEST(PartsReader, ReadsBlockSizes) {
  const TensorParts parts = toy_parts(R"({"block_size": [2, 4]})");
  EXPECT_EQ(PartsReader(kType, parts, "m.weight").block_size("block_size", 4, 8),
            (BlockSize{2, 4}));
  EXPECT_EQ(block_size_kind("[0, 4]"), "ao.shape_mismatch");
  EXPECT_EQ(block_size_kind("[1, -4]"), "ao.shape_mismatch");
  EXPECT_EQ(block_size_kind("[3, 4]"), "ao.shape_mismatch");
  EXPECT_EQ(block_size_kind("[1, 18446744073709551615]"), "ao.shape_mismatch");
  EXPECT_EQ(block_size_kind("[4]"), "ao.shape_mismatch");
  EXPECT_EQ(block_size_kind("[1, 4.0]"), "ao.metadata_invalid");
  EXPECT_EQ(block_size_kind("null"), "ao.metadata_invalid");
  EXPECT_EQ(block_size_kind(R"("1x4")"), "ao.metadata_invalid");
}

TEST(PartsReader, AcceptsOnlyListedDtypes) {
  EXPECT_EQ(dtype_kind(R"({"_type": "torch.dtype", "_data": "bfloat16"})"), "no error");
  EXPECT_EQ(dtype_kind(R"({"_type": "torch.dtype", "_data": "int8"})"), "ao.metadata_invalid");
  EXPECT_EQ(dtype_kind(R"({"_type": "torch.dtype", "_data": "load"})"), "ao.metadata_invalid");
  EXPECT_EQ(dtype_kind(R"({"_type": "torch.dtype", "_data": 3})"), "ao.metadata_invalid");
  EXPECT_EQ(dtype_kind(R"({"_type": "os.system", "_data": "bfloat16"})"), "ao.unsupported_type");
  EXPECT_EQ(dtype_kind(R"("bfloat16")"), "ao.metadata_invalid");
}

TEST(PartsReader, RefusesUnknownNamesAndMissingTensors) {
  EXPECT_EQ(kind_of([] { PartsReader(kType, toy_parts(R"({"colour": 1})"), "m.weight"); }),
            "ao.metadata_invalid");
  EXPECT_EQ(kind_of([] { PartsReader(kType, toy_parts("[1]"), "m.weight"); }),
            "ao.metadata_invalid");
  EXPECT_EQ(kind_of([] { PartsReader(kType, toy_parts("{"), "m.weight"); }), "ao.metadata_invalid");
  TensorParts extra = toy_parts("{}");
  extra.parts.emplace_back("colour", Tensor::zeros(DType::kInt8, {1}));
  EXPECT_EQ(kind_of([&] { PartsReader(kType, extra, "m.weight"); }), "ao.metadata_invalid");
  TensorParts empty = toy_parts("{}");
  empty.parts.clear();
  EXPECT_EQ(kind_of([&] { PartsReader(kType, empty, "m.weight"); }), "ao.missing_data");
  TensorParts other = toy_parts("{}");
  other.class_name = "OtherTensor";
  EXPECT_EQ(kind_of([&] { PartsReader(kType, other, "m.weight"); }), "ao.unsupported_type");
}

TEST(PartsReader, NamesTheWeightAndItsClass) {
  const TensorParts parts = toy_parts("{}");
  try {
    PartsReader(kType, parts, "model.q_proj.weight").expect_shape("qdata", {4, 9});
    FAIL();
  } catch (const CheckpointError& e) {
    EXPECT_STREQ(
        e.what(),
        "weight 'model.q_proj.weight' (ToyTensor): 'qdata' has shape [4, 8]; expected [4, 9]");
  }
}

TEST(PartsReader, ReadsGranularities) {
  const TensorParts parts = toy_parts("{}");
  const PartsReader reader(kType, parts, "w");
  const auto read = [&](const char* text) {
    return reader.granularity(Json::parse(text), "granularity");
  };
  EXPECT_EQ(read(R"({"_type": "PerRow", "_data": {"dim": -1}})"), Granularity(PerRow{-1}));
  EXPECT_EQ(read(R"({"_type": "PerRow", "_data": {}})"), Granularity(PerRow{-1}));
  EXPECT_EQ(read(R"({"_type": "PerTensor", "_data": {}})"), Granularity(PerTensor{}));
  EXPECT_EQ(kind_of([&] { read(R"({"_type": "PerBlock", "_data": {"block_size": [1, 128]}})"); }),
            "ao.unsupported_type");
}

TEST(PartsReader, AcceptsActPreScaleAsVectorOrRow) {
  TensorParts parts = toy_parts("{}");
  parts.parts.emplace_back("act_pre_scale", Tensor::zeros(DType::kFloat32, {1, 8}));
  EXPECT_EQ(PartsReader(kType, parts, "w").act_pre_scale(8).shape(), (Shape{8}));
  EXPECT_EQ(kind_of([&] { PartsReader(kType, parts, "w").act_pre_scale(4); }), "ao.shape_mismatch");
  parts.parts.back().second = Tensor::zeros(DType::kInt8, {8});
  EXPECT_EQ(kind_of([&] { PartsReader(kType, parts, "w").act_pre_scale(8); }), "ao.dtype_mismatch");
}

TEST(SliceBlocks, TakesWholeBlocksOrAPartOfOne) {
  const BlockSlice whole = slice_blocks("X", 1, 32, 96, 128, 32);
  EXPECT_EQ(whole.block, 32);
  EXPECT_EQ(whole.scale_start, 1);
  EXPECT_EQ(whole.scale_length, 2);
  const BlockSlice part = slice_blocks("X", 1, 40, 50, 128, 32);
  EXPECT_EQ(part.block, 10);
  EXPECT_EQ(part.scale_start, 1);
  EXPECT_EQ(part.scale_length, 1);
  EXPECT_THROW(slice_blocks("X", 1, 16, 48, 128, 32), ShapeError);
  EXPECT_THROW(slice_blocks("X", 1, 0, 48, 128, 32), ShapeError);
  EXPECT_THROW(slice_blocks("X", 1, 64, 64, 128, 32), ShapeError);
  EXPECT_THROW(slice_blocks("X", 1, 0, 129, 128, 32), ShapeError);
  EXPECT_THROW(slice_blocks("X", 2, 0, 1, 128, 32), ShapeError);
}

}  // namespace
}  // namespace torchao_cpp
