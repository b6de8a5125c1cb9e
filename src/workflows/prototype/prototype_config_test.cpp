// SPDX-License-Identifier: Apache-2.0
#include "workflows/prototype/prototype_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"
#include "workflows/prototype/prototype_workflow.h"

namespace torchao_cpp {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::string kBase =
    R"("base_config": {"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}})";

std::string wire(std::string_view type, std::string_view data, int version = 1) {
  return R"({"_type": ")" + std::string(type) + R"(", "_version": )" + std::to_string(version) +
         R"(, "_data": )" + std::string(data) + "}";
}

std::string calibrated(std::string_view type, std::string_view step) {
  return wire(type, "{" + kBase + R"(, "step": )" + std::string(step) + "}");
}

Json fields(const std::string& json) { return config_from_dict(json)->data().fields; }

std::string error_of(const std::string& json) {
  try {
    config_from_dict(json);
  } catch (const ConfigError& e) {
    return e.kind() + ": " + e.what();
  }
  return "no error";
}

TEST(AWQConfig, HasTorchaosDefaults) {
  const Json data = fields(calibrated("AWQConfig", R"("convert")"));
  EXPECT_EQ(data["scale_search_space_size"], 20);
  EXPECT_EQ(data["base_config"]["_type"], "Int8WeightOnlyConfig");
  EXPECT_EQ(data["base_config"]["_data"]["granularity"]["_type"], "PerRow");  // completed
}

TEST(SmoothQuantConfig, HasTorchaosDefaultsAndTakesANullAlpha) {
  const Json data = fields(calibrated("SmoothQuantConfig", R"("convert")"));
  EXPECT_EQ(data["alpha"], 0.5);
  EXPECT_EQ(data["use_running_absmax"], false);
  EXPECT_TRUE(fields(wire("SmoothQuantConfig",
                          "{" + kBase + R"(, "step": "convert", "alpha": null})"))["alpha"]
                  .is_null());
}

TEST(CalibratedConfigs, RequireBaseConfigAndStep) {
  for (const char* type : {"AWQConfig", "SmoothQuantConfig"}) {
    EXPECT_THAT(error_of(wire(type, R"({"step": "convert"})")), StartsWith("missing_field: "));
    EXPECT_THAT(error_of(wire(type, R"({"step": "convert"})")), HasSubstr("'base_config'"));
    EXPECT_THAT(error_of(wire(type, "{" + kBase + "}")), StartsWith("missing_field: "));
    EXPECT_THAT(error_of(wire(type, "{" + kBase + "}")), HasSubstr("'step'"));
  }
}

TEST(CalibratedConfigs, LowerTheCaseOfTheStep) {
  for (const char* type : {"AWQConfig", "SmoothQuantConfig"}) {
    EXPECT_EQ(fields(calibrated(type, R"("PREPARE_for_Loading")"))["step"], "prepare_for_loading");
  }
}

TEST(CalibratedConfigs, TakeTheStepsOfTheEnum) {
  for (const char* step : {R"("prepare")", R"("convert")", R"("prepare_for_loading")",
                           R"("prepare_for_smoothquant_smoothing_factor")",
                           R"("prepare_for_smoothquant_activation_scales")"}) {
    EXPECT_EQ(error_of(calibrated("SmoothQuantConfig", step)), "no error") << step;
  }
  for (const char* step : {R"("calibrate")", R"("")", R"(" convert")", "null", "3", "[]"}) {
    EXPECT_THAT(error_of(calibrated("SmoothQuantConfig", step)),
                StartsWith("validation: Failed to create instance of SmoothQuantConfig: "))
        << step;
  }
  EXPECT_THAT(error_of(calibrated("AWQConfig", R"("calibrate")")),
              HasSubstr("'calibrate' is not one of prepare, convert"));
}

TEST(CalibratedConfigs, TheEnumOfTheStepHasNoObjectForm) {
  EXPECT_THAT(
      error_of(calibrated("AWQConfig", R"({"_type": "QuantizationStep", "_data": "PREPARE"})")),
      StartsWith("unknown_type: "));
}

TEST(CalibratedConfigs, AnErrorInTheBaseConfigSaysWhere) {
  EXPECT_THAT(
      error_of(wire("AWQConfig", R"({"step": "convert", "base_config": )" +
                                     wire("Int8WeightOnlyConfig", R"({"bits": 8})", 2) + "}")),
      StartsWith("unknown_field: AWQConfig.base_config: "));
}

TEST(PrototypeConfigs, OthersHaveTorchaosDefaults) {
  EXPECT_EQ(fields(wire("GGUFWeightOnlyConfig", "{}")).dump(),
            R"({"dtype":{"_type":"torch.dtype","_data":"uint4"},"n_blocks_per_superblock":8})");
  EXPECT_EQ(fields(wire("StretchedIntxWeightConfig", "{}", 2)).dump(),
            R"({"granularity":{"_type":"PerAxis","_version":1,"_data":{"axis":0}},)"
            R"("scale_dtype":null,"b":null,"quant_min":null,"quant_max":null,)"
            R"("activation_quantization":"int8_asym_per_token"})");
  EXPECT_EQ(fields(wire("BlockSparseWeightConfig", "{}")).dump(), R"({"blocksize":64})");
  EXPECT_EQ(fields(wire("SemiSparseWeightConfig", "{}")).dump(), R"({"alg_id":0})");
}

TEST(PrototypeConfigs, OnlyStretchedIntxDeclaresAVersion) {
  for (const ConfigType* type : kPrototypeWorkflow.configs) {
    EXPECT_EQ(type->declares_version, type->name == "StretchedIntxWeightConfig") << type->name;
    EXPECT_EQ(type->version, type->declares_version ? 2 : 1) << type->name;
  }
  EXPECT_THAT(error_of(wire("GGUFWeightOnlyConfig", "{}", 2)),
              StartsWith("version_not_accepted: "));
  EXPECT_EQ(error_of(wire("StretchedIntxWeightConfig", "{}", 1)), "no error");
}

TEST(PrototypeConfigs, UsingOneSaysWhyItCannotBeUsed) {
  const Tensor weight = Tensor::zeros(DType::kBFloat16, {256, 256});
  for (const std::string& json :
       {calibrated("AWQConfig", R"("convert")"), calibrated("SmoothQuantConfig", R"("convert")"),
        wire("GGUFWeightOnlyConfig", "{}"), wire("StretchedIntxWeightConfig", "{}", 2),
        wire("BlockSparseWeightConfig", "{}"), wire("SemiSparseWeightConfig", "{}")}) {
    const ConfigPtr config = config_from_dict(json);
    EXPECT_THAT(config->type().unsupported, Not(IsEmpty())) << json;
    try {
      quantize_tensor(weight, *config);
      ADD_FAILURE() << json << " quantized a weight";
    } catch (const UnsupportedError& e) {
      EXPECT_EQ(e.what(),
                std::string(config->type_name()) + ": " + std::string(config->type().unsupported));
    }
  }
}

TEST(PrototypeConfigs, ReadBackWhatTheyWrite) {
  const std::string text =
      config_to_dict(*config_from_dict(calibrated("AWQConfig", R"("Convert")")));
  EXPECT_EQ(config_to_dict(*config_from_dict(text)), text);
}

}  // namespace
}  // namespace torchao_cpp
