// SPDX-License-Identifier: Apache-2.0
#include "config/config_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

ConfigData holding(std::string_view value) {
  ConfigData data;
  data.fields["field"] = Json::parse(value);
  return data;
}

// "kind: message" of what `read` throws.
template <typename Read>
std::string error_of(Read read, std::string_view value) {
  try {
    read(holding(value), "field");
  } catch (const ConfigError& e) {
    return e.kind() + ": " + e.what();
  }
  return "no error";
}

template <typename Read>
void expect_refused(Read read, std::initializer_list<std::string_view> values) {
  for (const std::string_view value : values) {
    EXPECT_THAT(error_of(read, value), StartsWith("validation: field 'field' is ")) << value;
  }
}

TEST(GetInt, TakesTheWholeRangeOfInt64) {
  EXPECT_EQ(get_int(holding("128"), "field"), 128);
  EXPECT_EQ(get_int(holding("-1"), "field"), -1);
  EXPECT_EQ(get_int(holding("9223372036854775807"), "field"),
            std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(get_int(holding("-9223372036854775808"), "field"),
            std::numeric_limits<std::int64_t>::min());
}

TEST(GetInt, RefusesEverythingElse) {
  expect_refused(&get_int, {R"("128")", "1.5", "128.0", "true", "null", "[]", "{}",
                            "9223372036854775808", "1e300"});
}

TEST(GetInt, MessageNamesFieldValueAndExpectation) {
  EXPECT_EQ(error_of(&get_int, R"("128")"),
            R"(validation: field 'field' is "128" (a string); expected an integer)");
}

TEST(GetInt, MessageStaysShortForALongValue) {
  const std::string value = '"' + std::string(1'000'000, 'x') + '"';
  const std::string error = error_of(&get_int, value);
  EXPECT_THAT(error, HasSubstr("xxx..."));
  EXPECT_LT(error.size(), 200u);
}

TEST(ConfigFields, AMissingFieldIsNamed) {
  const ConfigData data = holding("1");
  try {
    get_bool(data, "absent");
    FAIL() << "no error";
  } catch (const ConfigError& e) {
    EXPECT_EQ(e.kind(), "validation");
    EXPECT_THAT(e.what(), HasSubstr("field 'absent' is missing"));
  }
}

TEST(GetBool, TakesOnlyTrueAndFalse) {
  EXPECT_TRUE(get_bool(holding("true"), "field"));
  EXPECT_FALSE(get_bool(holding("false"), "field"));
  expect_refused(&get_bool, {"1", "0", R"("true")", "null"});
}

TEST(OptionalFields, NullIsAbsence) {
  const ConfigData null = holding("null");
  EXPECT_EQ(get_optional_int(null, "field"), std::nullopt);
  EXPECT_EQ(get_optional_double(null, "field"), std::nullopt);
  EXPECT_EQ(get_optional_string(null, "field"), std::nullopt);
  EXPECT_EQ(get_optional_dtype(null, "field"), std::nullopt);
}

TEST(OptionalFields, GiveTheValueOrRefuseIt) {
  EXPECT_EQ(get_optional_int(holding("32"), "field"), 32);
  EXPECT_EQ(get_optional_double(holding("-2"), "field"), -2.0);
  EXPECT_EQ(get_optional_double(holding("0.5"), "field"), 0.5);
  EXPECT_EQ(get_optional_string(holding(R"("prepare")"), "field"), "prepare");
  expect_refused(&get_optional_int, {R"("32")", "false"});
  expect_refused(&get_optional_double, {R"("0.5")", "true", "[1]"});
  expect_refused(&get_optional_string, {"3", "[]"});
  expect_refused(&get_optional_dtype, {R"("bfloat16")", "3"});
}

TEST(GetDType, TakesTorchsNamesAndAliases) {
  EXPECT_EQ(get_dtype(holding(R"({"_type": "torch.dtype", "_data": "float8_e4m3fn"})"), "field"),
            DType::kFloat8E4M3FN);
  EXPECT_EQ(get_dtype(holding(R"({"_type": "torch.dtype", "_data": "half"})"), "field"),
            DType::kFloat16);
}

TEST(GetDType, OnlyTheFp6TypesArePlainStrings) {
  EXPECT_EQ(get_dtype(holding(R"("fp6_e2m3")"), "field"), DType::kFloat6E2M3);
  EXPECT_EQ(get_dtype(holding(R"("fp6_e3m2")"), "field"), DType::kFloat6E3M2);
  expect_refused(&get_dtype, {R"("int8")", R"({"_type": "torch.dtype", "_data": "fp6_e2m3"})"});
}

TEST(GetDType, RefusesWhatIsNoDType) {
  expect_refused(&get_dtype,
                 {R"({"_type": "torch.dtype", "_data": "int9"})",
                  R"({"_type": "torch.dtype", "_data": 8})", R"({"_type": "torch.dtype"})",
                  R"({"_type": "MappingType", "_data": "int8"})", "null", "[]"});
}

std::string wire(std::string_view type, std::string_view data) {
  return R"({"_type": ")" + std::string(type) + R"(", "_version": 1, "_data": )" +
         std::string(data) + "}";
}

TEST(GetGranularity, ReadsEveryKind) {
  const auto read = [](std::string_view type, std::string_view data) {
    return get_granularity(holding(wire(type, data)), "field");
  };
  EXPECT_EQ(read("PerTensor", "{}"), Granularity(PerTensor{}));
  EXPECT_EQ(read("PerToken", "{}"), Granularity(PerToken{}));
  EXPECT_EQ(read("PerRow", R"({"dim": 0})"), Granularity(PerRow{0}));
  EXPECT_EQ(read("PerRow", "{}"), Granularity(PerRow{-1}));
  EXPECT_EQ(read("PerAxis", R"({"axis": 1})"), Granularity(PerAxis{1}));
  EXPECT_EQ(read("PerGroup", R"({"group_size": 32})"), Granularity(PerGroup{32}));
  EXPECT_EQ(read("PerBlock", R"({"block_size": [128, 64]})"), Granularity(PerBlock{{128, 64}}));
}

TEST(GetGranularity, RefusesWrongPartsAndUnknownKinds) {
  expect_refused(&get_granularity,
                 {wire("PerGroup", "{}"), wire("PerGroup", R"({"group_size": "32"})"),
                  wire("PerGroup", R"({"group_size": null})"), wire("PerAxis", "{}"),
                  wire("PerRow", R"({"dim": 0.5})"), wire("PerBlock", R"({"block_size": 128})"),
                  wire("PerBlock", R"({"block_size": [1, "128"]})"), wire("PerChannel", "{}"),
                  wire("PerRow", "[]"), R"("PerRow")", R"({"_type": 3, "_data": {}})", "null"});
}

TEST(GetGranularityList, NullOneAndTwo) {
  const std::string row = wire("PerRow", "{}");
  const std::string tensor = wire("PerTensor", "{}");
  EXPECT_THAT(get_granularity_list(holding("null"), "field"), IsEmpty());
  EXPECT_THAT(get_granularity_list(holding(row), "field"), ElementsAre(Granularity(PerRow{-1})));
  EXPECT_THAT(get_granularity_list(holding("[" + tensor + "," + row + "]"), "field"),
              ElementsAre(Granularity(PerTensor{}), Granularity(PerRow{-1})));
  expect_refused(&get_granularity_list, {"[" + row + ", null]", "[[" + row + "]]"});
}

template <typename E>
void expect_both_spellings(E (*read)(const ConfigData&, std::string_view), std::string_view type,
                           std::string_view name, std::string_view value, E expected) {
  const std::string object = enum_to_json(type, name).dump();
  EXPECT_EQ(read(holding(object), "field"), expected) << object;
  EXPECT_EQ(read(holding(Json(std::string(value)).dump()), "field"), expected) << value;
}

TEST(StringEnums, ObjectAndPlainSpellingMeanTheSame) {
  expect_both_spellings(&get_int4_packing_format, "Int4PackingFormat", "TILE_PACKED_TO_4D",
                        "tile_packed_to_4d", Int4PackingFormat::kTilePackedTo4d);
  expect_both_spellings(&get_int4_choose_qparams_algorithm, "Int4ChooseQParamsAlgorithm", "HQQ",
                        "hqq", Int4ChooseQParamsAlgorithm::kHqq);
  expect_both_spellings(&get_intx_packing_format, "IntxPackingFormat", "OPAQUE_TORCHAO_LOWBIT",
                        "opaque_torchao_lowbit", IntxPackingFormat::kOpaqueTorchaoLowbit);
  expect_both_spellings(&get_intx_choose_qparams_algorithm, "IntxChooseQParamsAlgorithm",
                        "HQQ_SCALE_ONLY", "hqq_scale_only",
                        IntxChooseQParamsAlgorithm::kHqqScaleOnly);
  expect_both_spellings(&get_float8_packing_format, "Float8PackingFormat",
                        "SPARSE_1D_DATA_1D_METADATA", "sparse_1d_data_1d_metadata",
                        Float8PackingFormat::kSparse1dData1dMetadata);
  expect_both_spellings(&get_kernel_preference, "KernelPreference", "EMULATED", "emulated",
                        KernelPreference::kEmulated);
}

TEST(StringEnums, NameAndValueAreNotInterchangeable) {
  expect_refused(&get_int4_packing_format,
                 {R"("PLAIN")", R"({"_type": "Int4PackingFormat", "_data": "plain"})",
                  R"({"_type": "Float8PackingFormat", "_data": "PLAIN"})", R"("marlin_sparse")",
                  R"("")", "0", "null"});
}

TEST(StringEnums, MessageListsTheMembers) {
  EXPECT_THAT(error_of(&get_int4_packing_format, R"("opaque")"),
              HasSubstr("Int4PackingFormat (PLAIN, PRESHUFFLED, PLAIN_INT32, TILE_PACKED_TO_4D)"));
}

TEST(PlainEnums, HaveNoStringSpelling) {
  EXPECT_EQ(get_mapping_type(holding(enum_to_json("MappingType", "ASYMMETRIC").dump()), "field"),
            MappingType::kAsymmetric);
  EXPECT_EQ(get_scale_calculation_mode(holding(enum_to_json("ScaleCalculationMode", "EVEN").dump()),
                                       "field"),
            ScaleCalculationMode::kEven);
  expect_refused(&get_mapping_type, {R"("asymmetric")", R"("ASYMMETRIC")"});
  expect_refused(&get_scale_calculation_mode, {R"("even")", R"("EVEN")"});
}

TEST(Float8PackingFormatField, SparseCutlassIsThe2dFormat) {
  EXPECT_EQ(get_float8_packing_format(
                holding(enum_to_json("Float8PackingFormat", "SPARSE_CUTLASS").dump()), "field"),
            Float8PackingFormat::kSparse2dData2dMetadata);
}

TEST(GranularityToJson, WritesThreeKeysAndReadsBack) {
  EXPECT_EQ(granularity_to_json(PerRow{}).dump(),
            R"({"_type":"PerRow","_version":1,"_data":{"dim":-1}})");
  EXPECT_EQ(granularity_to_json(PerTensor{}).dump(),
            R"({"_type":"PerTensor","_version":1,"_data":{}})");
  for (const Granularity& g :
       {Granularity(PerTensor{}), Granularity(PerToken{}), Granularity(PerRow{1}),
        Granularity(PerAxis{0}), Granularity(PerGroup{64}), Granularity(PerBlock{{1, 128}})}) {
    EXPECT_EQ(granularity_from_json(granularity_to_json(g), "field"), g) << to_string(g);
  }
}

TEST(DTypeToJson, WritesTorchDTypesAsObjectsAndFp6AsStrings) {
  EXPECT_EQ(dtype_to_json(DType::kInt4).dump(), R"({"_type":"torch.dtype","_data":"int4"})");
  EXPECT_EQ(dtype_to_json(DType::kFloat6E3M2).dump(), R"("fp6_e3m2")");
}

}  // namespace
}  // namespace torchao_cpp
