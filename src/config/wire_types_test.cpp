// SPDX-License-Identifier: Apache-2.0
#include "config/wire_types.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "torchao_cpp/quant_types.h"

namespace torchao_cpp {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::array<std::string_view, 7> kStringEnums{
    "KernelPreference",           "PackingFormat",     "Int4PackingFormat",
    "Int4ChooseQParamsAlgorithm", "IntxPackingFormat", "IntxChooseQParamsAlgorithm",
    "Float8PackingFormat"};

std::vector<std::string_view> field_names(const WireClass& type) {
  std::vector<std::string_view> out;
  for (const FieldSpec& field : type.fields) out.push_back(field.name);
  return out;
}

std::vector<std::string_view> required_fields(const WireClass& type) {
  std::vector<std::string_view> out;
  for (const FieldSpec& field : type.fields) {
    if (field.default_json.empty()) out.push_back(field.name);
  }
  return out;
}

TEST(WireEnum, HoldsTorchaosMembers) {
  EXPECT_EQ(find_wire_enum("MappingType")->names(),
            "SYMMETRIC, SYMMETRIC_NO_CLIPPING_ERR, ASYMMETRIC");
  EXPECT_EQ(find_wire_enum("KernelPreference")->names(), "AUTO, TORCH, MSLK, EMULATED, TRITON");
  EXPECT_EQ(find_wire_enum("ScaleCalculationMode")->names(), "FLOOR, RCEIL, CEIL, EVEN");
  EXPECT_EQ(find_wire_enum("ZeroPointDomain")->names(), "INT, FLOAT, NONE");
  EXPECT_EQ(find_wire_enum("IntxPackingFormat")->names(),
            "UNPACKED_TO_INT8, OPAQUE_ATEN_KLEIDIAI, OPAQUE_TORCHAO_AUTO, OPAQUE_TORCHAO_KLEIDIAI, "
            "OPAQUE_TORCHAO_LOWBIT");
}

TEST(WireEnum, ValuesOfStringEnumsAreTheNamesInLowerCase) {
  for (const std::string_view type : kStringEnums) {
    const WireEnum* wire = find_wire_enum(type);
    ASSERT_NE(wire, nullptr) << type;
    EXPECT_TRUE(wire->is_string_enum) << type;
    for (const WireEnumMember& member : wire->members) {
      if (member.name == "SPARSE_CUTLASS") continue;  // an alias without a value of its own
      std::string lower(member.name);
      std::transform(lower.begin(), lower.end(), lower.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
      EXPECT_EQ(member.value, lower) << type;
      EXPECT_EQ(wire->find_value(lower), &member) << type;
    }
  }
}

TEST(WireEnum, LooksUpNamesExactly) {
  const WireEnum& wire = *find_wire_enum("Int4PackingFormat");
  ASSERT_NE(wire.find_name("PLAIN_INT32"), nullptr);
  EXPECT_EQ(wire.find_name("PLAIN_INT32")->ordinal,
            static_cast<int>(Int4PackingFormat::kPlainInt32));
  for (const std::string_view name : {"plain_int32", "PLAIN_INT", "", "PLAIN ", "MARLIN_SPARSE"}) {
    EXPECT_EQ(wire.find_name(name), nullptr) << name;
  }
}

TEST(WireEnum, RenamedMembersOfOldVersionsAreUnknown) {
  EXPECT_EQ(find_wire_enum("KernelPreference")->find_name("FBGEMM"), nullptr);
  EXPECT_EQ(find_wire_enum("KernelPreference")->find_value("fbgemm"), nullptr);
  EXPECT_EQ(find_wire_enum("Int4PackingFormat")->find_name("OPAQUE"), nullptr);
}

TEST(WireEnum, AnAliasGivesTheCanonicalMember) {
  const WireEnum& wire = *find_wire_enum("Float8PackingFormat");
  const WireEnumMember* member = wire.find_name("SPARSE_CUTLASS");
  ASSERT_NE(member, nullptr);
  EXPECT_EQ(member->name, "SPARSE_2D_DATA_2D_METADATA");
}

TEST(WireEnum, AnEmptyValueIsNoMember) {
  EXPECT_EQ(find_wire_enum("Float8PackingFormat")->find_value(""), nullptr);
}

TEST(WireEnum, PlainEnumsHaveNoValues) {
  for (const std::string_view type : {"MappingType", "ScaleCalculationMode", "ZeroPointDomain"}) {
    const WireEnum* wire = find_wire_enum(type);
    ASSERT_NE(wire, nullptr) << type;
    EXPECT_FALSE(wire->is_string_enum) << type;
    for (const WireEnumMember& member : wire->members) {
      EXPECT_EQ(wire->find_value(member.name), nullptr) << type;
    }
    EXPECT_EQ(wire->find_value(""), nullptr) << type;
  }
}

TEST(FindWireEnum, TakesBareNamesOfTheAllowList) {
  for (const std::string_view type :
       {"QuantizationStep", "mappingtype", "torchao.MappingType", "", "torch.dtype", "PerRow"}) {
    EXPECT_EQ(find_wire_enum(type), nullptr) << type;
  }
}

TEST(WireClass, HoldsTorchaosFields) {
  EXPECT_THAT(field_names(*find_wire_class("PerTensor")), IsEmpty());
  EXPECT_THAT(field_names(*find_wire_class("PerToken")), IsEmpty());
  EXPECT_THAT(field_names(*find_wire_class("PerRow")), ElementsAre("dim"));
  EXPECT_EQ(find_wire_class("PerRow")->fields[0].default_json, "-1");
  EXPECT_THAT(field_names(*find_wire_class("Float8MMConfig")),
              ElementsAre("emulate", "use_fast_accum", "pad_inner_dim"));
  for (const FieldSpec& field : find_wire_class("Float8MMConfig")->fields) {
    EXPECT_EQ(field.default_json, "false") << field.name;
  }
}

TEST(WireClass, RequiresWhatTorchaoRequires) {
  EXPECT_THAT(required_fields(*find_wire_class("PerRow")), IsEmpty());
  EXPECT_THAT(required_fields(*find_wire_class("PerAxis")), ElementsAre("axis"));
  EXPECT_THAT(required_fields(*find_wire_class("PerGroup")), ElementsAre("group_size"));
  EXPECT_THAT(required_fields(*find_wire_class("PerBlock")), ElementsAre("block_size"));
}

TEST(WireClass, DefaultsAreJson) {
  for (const std::string_view type :
       {"PerRow", "Float8MMConfig", "QuantizeTensorToFloat8Kwargs", "QuantizeTensorToInt8Kwargs"}) {
    for (const FieldSpec& field : find_wire_class(type)->fields) {
      EXPECT_TRUE(field.default_json.empty() || Json::accept(field.default_json))
          << type << '.' << field.name;
    }
  }
}

TEST(FindWireClass, LayoutsOfOldVersionsAreUnknown) {
  for (const std::string_view type : {"TensorCoreTiledLayout", "PlainLayout", "QDQLayout", "",
                                      "MarlinSparseLayout", "Int8Tensor", "MappingType"}) {
    EXPECT_EQ(find_wire_class(type), nullptr) << type;
  }
}

TEST(CanonicalTorchDType, GivesTheNameTorchPrints) {
  EXPECT_EQ(canonical_torch_dtype("float8_e4m3fn"), "float8_e4m3fn");
  EXPECT_EQ(canonical_torch_dtype("half"), "float16");
  EXPECT_EQ(canonical_torch_dtype("float"), "float32");
  EXPECT_EQ(canonical_torch_dtype("double"), "float64");
  EXPECT_EQ(canonical_torch_dtype("short"), "int16");
  EXPECT_EQ(canonical_torch_dtype("int"), "int32");
  EXPECT_EQ(canonical_torch_dtype("long"), "int64");
  EXPECT_EQ(canonical_torch_dtype("qint8"), "qint8");  // torch has it, DType does not
}

TEST(CanonicalTorchDType, RefusesWhatTorchDoesNotHave) {
  for (const std::string_view name :
       {"", "int9", "Float32", "torch.float32", "bfloat", "fp6_e2m3", "nn", "float32 "}) {
    EXPECT_EQ(canonical_torch_dtype(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace torchao_cpp
