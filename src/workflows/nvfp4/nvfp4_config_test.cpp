// SPDX-License-Identifier: Apache-2.0
#include "workflows/nvfp4/nvfp4_config.h"

#include <gtest/gtest.h>

#include <string>

#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

ConfigPtr config(const std::string& type, const std::string& data) {
  return config_from_dict(R"({"_type": ")" + type + R"(", "_version": 1, "_data": )" + data + "}");
}

ConfigPtr dynamic(const std::string& data) {
  return config("NVFP4DynamicActivationNVFP4WeightConfig", data);
}

template <typename F>
std::string error_of(const F& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(NVFP4DynamicConfig, AStepTurnsTheDynamicScaleOff) {
  const auto c = dynamic(R"({"step": "convert"})");
  EXPECT_EQ(
      config_to_dict(*c),
      R"({"_type": "NVFP4DynamicActivationNVFP4WeightConfig", "_version": 1, "_data": {"use_triton_kernel": true, )"
      R"("use_dynamic_per_tensor_scale": false, "step": {"_type": "QuantizationStep", "_data": "CONVERT"}}})");
  const auto out = quantize_tensor(Tensor::zeros(DType::kBFloat16, {16, 16}), *c);
  EXPECT_EQ(out.weight, nullptr);
  EXPECT_NE(out.reason.find("CONVERT"), std::string::npos);
  EXPECT_NE(
      error_of([] { dynamic(R"({"step": "Convert"})"); }).find("is not a valid QuantizationStep"),
      std::string::npos);
  EXPECT_THROW(quantize_tensor(Tensor::zeros(DType::kBFloat16, {16, 16}),
                               *dynamic(R"({"step": "prepare_for_loading"})")),
               ConfigError);
}

TEST(NVFP4DynamicConfig, QuantizesOnTheCpu) {
  const auto out = quantize_tensor(Tensor::zeros(DType::kBFloat16, {16, 32}), *dynamic("{}"));
  ASSERT_NE(out.weight, nullptr);
  EXPECT_NE(
      out.weight->to_parts().attributes.find(
          R"("use_triton_kernel": true, "act_quant_kwargs": {"_type": "QuantizeTensorToNVFP4Kwargs", "_data": )"
          R"({"block_size": 16, "is_swizzled_scales": true, "use_triton_kernel": true, "use_dynamic_per_tensor_scale": true}})"),
      std::string::npos);
}

TEST(NVFP4WeightOnlyConfig, QuantizesWithOneOrTwoLevels) {
  const Tensor w = Tensor::zeros(DType::kFloat32, {16, 32});
  EXPECT_TRUE(quantize_tensor(w, *config("NVFP4WeightOnlyConfig", "{}"))
                  .weight->to_parts()
                  .find("per_tensor_scale")
                  .defined());
  const auto one = config("NVFP4WeightOnlyConfig", R"({"use_dynamic_per_tensor_scale": false})");
  EXPECT_FALSE(quantize_tensor(w, *one).weight->to_parts().find("per_tensor_scale").defined());
}

TEST(NVFP4WeightOnlyConfig, RefusesShapesAndDtypes) {
  const auto c = config("NVFP4WeightOnlyConfig", "{}");
  EXPECT_NE(error_of([&] {
              quantize_tensor(Tensor::zeros(DType::kBFloat16, {33, 128}), *c);
            })
                .find("NVFP4 only supports weight shape with last 2 dims divisible by 16, got "
                      "torch.Size([33, 128])"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              quantize_tensor(Tensor::zeros(DType::kFloat16, {32, 128}), *c);
            }).find("torch.float16 not supported"),
            std::string::npos);
}

}  // namespace
}  // namespace torchao_cpp
