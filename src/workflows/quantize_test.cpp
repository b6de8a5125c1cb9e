// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "config/config_type.h"
#include "torchao_cpp/error.h"
#include "workflows/workflow_list.h"

namespace torchao_cpp {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

std::string wire(std::string_view type, int version, std::string_view data = "{}") {
  return R"({"_type": ")" + std::string(type) + R"(", "_version": )" + std::to_string(version) +
         R"(, "_data": )" + std::string(data) + "}";
}

Tensor ramp(std::int64_t n, std::int64_t k, DType dtype = DType::kFloat32) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  float next = -1.0f;
  for (float& v : t.mutable_span<float>()) v = next += 0.125f;
  return t.to(dtype);
}

std::string config_error(std::string_view json) {
  try {
    config_from_dict(json);
  } catch (const ConfigError& e) {
    return e.kind() + ": " + e.what();
  }
  return "no error";
}

const ConfigPtr& int8() {
  static const ConfigPtr config = config_from_dict(wire("Int8WeightOnlyConfig", 2));
  return config;
}

TEST(ConfigFromDict, RefusesTextThatIsNoStrictJson) {
  for (const char* json : {"", "{", "{}{}", R"({"_type": "A", "_type": "B", "_data": {}})",
                           R"({"_type": NaN})", "// note\n{}", "{'_type': 1}"}) {
    EXPECT_THAT(config_error(json), StartsWith("json: config")) << json;
  }
}

TEST(ConfigFromDict, DeepNestingEndsInAnError) {
  EXPECT_THAT(config_error(std::string(1'000'000, '[')), StartsWith("json: "));
  std::string nested = wire("Int8WeightOnlyConfig", 2);
  for (int i = 0; i < 1'000; ++i) {
    nested = wire("AWQConfig", 1, R"({"step": "convert", "base_config": )" + nested + "}");
  }
  EXPECT_THAT(config_error(nested), StartsWith("json: "));
}

TEST(ConfigFromDict, ReportsTorchaosKinds) {
  EXPECT_THAT(config_error("[]"), StartsWith("not_a_dict: "));
  EXPECT_THAT(config_error("{}"), StartsWith("missing_type_or_data: "));
  EXPECT_THAT(config_error(wire("Int9Config", 1)), StartsWith("unknown_type: "));
  EXPECT_THAT(config_error(wire("Int8WeightOnlyConfig", 2, R"({"bits": 8})")),
              StartsWith("unknown_field: "));
  EXPECT_THAT(config_error(wire("AWQConfig", 1)), StartsWith("missing_field: "));
  EXPECT_THAT(config_error(wire("Int8WeightOnlyConfig", 1)), StartsWith("version_not_accepted: "));
  EXPECT_THAT(config_error(wire("Int8WeightOnlyConfig", 1)), HasSubstr("has been removed"));
  EXPECT_THAT(config_error(wire("Int4WeightOnlyConfig", 2, R"({"int4_tile_packed_ntile": 4})")),
              HasSubstr("must be either 8 or 16"));
}

TEST(ConfigFromDict, ConfigsOutsideTheAllowListAreUnknown) {
  for (const char* type :
       {"NF4WeightOnlyConfig", "GPTQConfig", "PrototypeInt4WeightOnlyConfig", "FPXWeightOnlyConfig",
        "Int8DynamicActivationInt4WeightConfig", "UIntXWeightOnlyConfig", "Int8Tensor"}) {
    EXPECT_THAT(config_error(wire(type, 1)), StartsWith("unknown_type: ")) << type;
  }
}

TEST(ConfigFromDict, WritesTheDefaultsTorchaoWrites) {
  EXPECT_EQ(
      config_to_dict(*config_from_dict(wire("IntxWeightOnlyConfig", 2))),
      R"({"_type": "IntxWeightOnlyConfig", "_version": 2, "_data": {"weight_dtype": )"
      R"({"_type": "torch.dtype", "_data": "int8"}, "granularity": {"_type": "PerAxis", )"
      R"("_version": 1, "_data": {"axis": 0}}, "mapping_type": {"_type": "MappingType", )"
      R"("_data": "SYMMETRIC"}, "scale_dtype": null, "intx_packing_format": {"_type": )"
      R"("IntxPackingFormat", "_data": "UNPACKED_TO_INT8"}, "intx_choose_qparams_algorithm": )"
      R"({"_type": "IntxChooseQParamsAlgorithm", "_data": "AFFINE"}}})");
}

TEST(ConfigInfos, ListTheConfigsTorchaoReads) {
  std::vector<std::string> version_1, version_2;
  for (const ConfigInfo& info : config_infos()) {
    (info.version == 2 ? version_2 : version_1).push_back(info.name);
  }
  EXPECT_THAT(version_2, UnorderedElementsAre("Int4WeightOnlyConfig", "Int8WeightOnlyConfig",
                                              "Int8DynamicActivationInt8WeightConfig",
                                              "Int8DynamicActivationIntxWeightConfig",
                                              "IntxWeightOnlyConfig", "Float8WeightOnlyConfig",
                                              "Float8DynamicActivationFloat8WeightConfig",
                                              "StretchedIntxWeightConfig"));
  EXPECT_THAT(version_1,
              UnorderedElementsAre(
                  "Int8StaticActivationInt8WeightConfig", "Float8DynamicActivationInt4WeightConfig",
                  "Float8StaticActivationFloat8WeightConfig", "FqnToConfig",
                  "MXDynamicActivationMXWeightConfig", "NVFP4DynamicActivationNVFP4WeightConfig",
                  "NVFP4WeightOnlyConfig", "AWQConfig", "SmoothQuantConfig",
                  "UIntxWeightOnlyConfig", "Int8DynamicActivationUIntxWeightConfig",
                  "GGUFWeightOnlyConfig", "BlockSparseWeightConfig", "SemiSparseWeightConfig"));
}

TEST(ConfigInfos, WhatDoesNotQuantizeSaysWhy) {
  for (const ConfigInfo& info : config_infos()) {
    EXPECT_EQ(info.unsupported.empty(), info.quantizes) << info.name;
    EXPECT_THAT(info.family, Not(IsEmpty())) << info.name;
    EXPECT_THAT(info.summary, Not(IsEmpty())) << info.name;
  }
}

TEST(WeightClassInfos, EveryClassRunsOrSaysWhyNot) {
  for (const WeightClassInfo& info : weight_class_infos()) {
    EXPECT_NE(info.operations.empty(), info.not_run.empty()) << info.name;
    EXPECT_THAT(info.family, Not(IsEmpty())) << info.name;
    // torchao 0.18 loads what it and its forerunners stored, and nothing else.
    EXPECT_EQ(info.safetensors_serializable, info.safetensors_versions.ends_with("0.18"))
        << info.name;
  }
}

TEST(WeightClassInfos, NameTheConfigsThatMakeThem) {
  const Tensor weight = ramp(128, 128, DType::kBFloat16);
  for (const Workflow* workflow : workflow_list()) {
    for (const ConfigType* type : workflow->configs) {
      EXPECT_EQ(type->weight_classes.empty(), type->quantize_tensor == nullptr) << type->name;
      const ConfigPtr config = config_from_shorthand(type->name);
      if (config == nullptr || type->quantize_tensor == nullptr) continue;
      try {
        const QuantizeOutcome outcome = quantize_tensor(weight, *config);
        ASSERT_NE(outcome.weight, nullptr) << type->name << ": " << outcome.reason;
        const std::string_view made = outcome.weight->class_name();
        const auto infos = weight_class_infos();
        const auto info = std::find_if(infos.begin(), infos.end(),
                                       [&](const WeightClassInfo& i) { return i.name == made; });
        ASSERT_NE(info, infos.end()) << type->name;
        EXPECT_THAT(info->configs, Contains(std::string(type->name))) << made;
      } catch (const Error&) {
        // Static scales and GPU packings have no default that quantizes.
        EXPECT_THAT(type->name, ::testing::AnyOf("Int8StaticActivationInt8WeightConfig",
                                                 "Float8StaticActivationFloat8WeightConfig",
                                                 "Float8DynamicActivationInt4WeightConfig"));
      }
    }
  }
}

TEST(WorkflowList, ConfigsWithTheirDefaultsReadBackTheSame) {
  for (const Workflow* workflow : workflow_list()) {
    for (const ConfigType* type : workflow->configs) {
      const bool has_required =
          std::any_of(type->fields.begin(), type->fields.end(),
                      [](const FieldSpec& field) { return field.default_json.empty(); });
      if (has_required) continue;
      const std::string text = config_to_dict(*config_from_dict(wire(type->name, type->version)));
      EXPECT_EQ(config_to_dict(*config_from_dict(text)), text);
    }
  }
}

TEST(QuantizeTensor, LeavesTheWeightAloneAndGivesAWeightOrAReason) {
  const Tensor weight = ramp(2, 8);
  const Tensor before = weight.clone();
  const QuantizeOutcome outcome = quantize_tensor(weight, *int8());
  ASSERT_NE(outcome.weight, nullptr);
  EXPECT_EQ(outcome.weight->class_name(), "Int8Tensor");
  EXPECT_EQ(outcome.weight->shape(), (Shape{2, 8}));
  EXPECT_THAT(outcome.reason, IsEmpty());
  EXPECT_TRUE(equal_bytes(weight, before));
}

TEST(QuantizeTensor, SaysWhyTorchaoSkipsAWeight) {
  const Tensor weight = ramp(2, 100, DType::kBFloat16);
  // torchao asks this before it looks at the version.
  for (const int version : {1, 2, 3}) {
    const QuantizeOutcome outcome =
        quantize_tensor(weight, *config_from_dict(wire("Int4WeightOnlyConfig", version)));
    EXPECT_EQ(outcome.weight, nullptr);
    EXPECT_THAT(outcome.reason, HasSubstr("100 % 128 != 0"));
  }
}

TEST(QuantizeTensor, OldVersionsThatLoadDoNotQuantize) {
  for (const char* type : {"Int4WeightOnlyConfig", "Float8WeightOnlyConfig"}) {
    const ConfigPtr config = config_from_dict(wire(type, 1));
    EXPECT_THROW(quantize_tensor(ramp(16, 128, DType::kBFloat16), *config), ConfigError) << type;
  }
}

TEST(QuantizeTensor, RefusesAMap) {
  try {
    quantize_tensor(ramp(2, 8), *config_from_dict(wire("FqnToConfig", 1)));
    FAIL() << "no error";
  } catch (const ConfigError& e) {
    EXPECT_EQ(e.kind(), "validation");
    EXPECT_THAT(e.what(), StartsWith("FqnToConfig: "));
  }
}

TEST(QuantizeTensor, TakesMatricesOnly) {
  EXPECT_THROW(quantize_tensor(Tensor(), *int8()), ShapeError);
  for (const Shape& shape : {Shape{}, Shape{8}, Shape{2, 2, 8}}) {
    try {
      quantize_tensor(Tensor::zeros(DType::kFloat32, shape), *int8());
      ADD_FAILURE() << shape_to_string(shape) << " was quantized";
    } catch (const ShapeError& e) {
      EXPECT_THAT(e.what(), HasSubstr("Int8WeightOnlyConfig: the weight has shape " +
                                      shape_to_string(shape)));
    }
  }
}

TEST(QuantizeTensor, TakesHighPrecisionWeightsOnly) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    EXPECT_EQ(quantize_tensor(ramp(2, 8, dtype), *int8()).weight->dtype(), dtype);
  }
  for (const DType dtype : {DType::kInt8, DType::kFloat64, DType::kFloat8E4M3FN, DType::kBool}) {
    try {
      quantize_tensor(Tensor::zeros(dtype, {2, 8}), *int8());
      ADD_FAILURE() << dtype_name(dtype) << " was quantized";
    } catch (const UnsupportedError& e) {
      EXPECT_THAT(e.what(), StartsWith("Int8WeightOnlyConfig: the weight is " +
                                       std::string(dtype_name(dtype)) + "; expected float32"));
    }
  }
}

TEST(WeightFromParts, ReadsWhatToPartsGives) {
  const QuantizeOutcome outcome = quantize_tensor(ramp(4, 16), *int8());
  const WeightTensorPtr read = weight_from_parts(outcome.weight->to_parts(), "layer.weight");
  EXPECT_EQ(read->class_name(), "Int8Tensor");
  EXPECT_TRUE(equal_bytes(read->dequantize(), outcome.weight->dequantize()));
}

TEST(WeightFromParts, AnUnknownClassIsNamed) {
  for (const char* name : {"AffineQuantizedTensor", "int8tensor", ""}) {
    TensorParts parts;
    parts.class_name = name;
    try {
      weight_from_parts(parts, "layer.weight");
      ADD_FAILURE() << name << " was read";
    } catch (const CheckpointError& e) {
      EXPECT_EQ(e.kind(), "ao.unsupported_type");
      EXPECT_THAT(e.what(), StartsWith("'layer.weight' is a " + std::string(name)));
    }
  }
}

TEST(WeightFromParts, MissingPartsAreACheckpointError) {
  for (const Workflow* workflow : workflow_list()) {
    for (const WeightTensorType* type : workflow->tensor_types) {
      TensorParts parts;
      parts.class_name = type->class_name;
      EXPECT_THROW(weight_from_parts(parts, "layer.weight"), CheckpointError) << type->class_name;
    }
  }
}

}  // namespace
}  // namespace torchao_cpp
