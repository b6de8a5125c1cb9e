// SPDX-License-Identifier: Apache-2.0
#include "workflows/mx/mx_config.h"

#include <gtest/gtest.h>

#include <string>

#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"
#include "workflows/mx/mx_tensor.h"

namespace torchao_cpp {
namespace {

ConfigPtr config(const std::string& data) {
  return config_from_dict(
      R"({"_type": "MXDynamicActivationMXWeightConfig", "_version": 1, "_data": )" + data + "}");
}

ConfigPtr with_dtype(const std::string& dtype) {
  return config(R"({"activation_dtype": )" + dtype + R"(, "weight_dtype": )" + dtype + "}");
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

TEST(MXConfig, ReadsEveryElementDtype) {
  EXPECT_EQ(MXDynamicActivationMXWeightConfig::from_data(config("{}")->data()).element_dtype,
            DType::kFloat8E4M3FN);
  EXPECT_EQ(MXDynamicActivationMXWeightConfig::from_data(with_dtype("\"fp6_e2m3\"")->data())
                .element_dtype,
            DType::kFloat6E2M3);
  EXPECT_EQ(MXDynamicActivationMXWeightConfig::from_data(
                with_dtype(R"({"_type": "torch.dtype", "_data": "float4_e2m1fn_x2"})")->data())
                .element_dtype,
            DType::kFloat4E2M1FNx2);
}

TEST(MXConfig, ChecksElementDtypes) {
  EXPECT_NE(error_of([] {
              with_dtype(R"({"_type": "torch.dtype", "_data": "bfloat16"})");
            }).find("elem_dtype must be one of"),
            std::string::npos);
  EXPECT_NE(error_of([] { with_dtype("\"float8_e4m3fn\""); }).find("elem_dtype must be one of"),
            std::string::npos);
  EXPECT_NE(error_of([] {
              config(R"({"weight_dtype": "fp6_e2m3"})");
            }).find("For now - we only support matching input/weight dtypes."),
            std::string::npos);
}

TEST(MXConfig, QuantizesBfloat16InBlocks) {
  const auto out =
      quantize_tensor(Tensor::zeros(DType::kBFloat16, {8, 64}), *config(R"({"block_size": 64})"));
  ASSERT_NE(out.weight, nullptr);
  const QuantizedWeight q = out.weight->to_quantized_weight();
  EXPECT_EQ(q.block_size[1], 64);
  EXPECT_EQ(q.activation.scaling_mode, ScaleCalculationMode::kRceil);
  EXPECT_NE(out.weight->to_parts().attributes.find(
                R"("kernel_preference": {"_type": "KernelPreference", "_data": "AUTO"})"),
            std::string::npos);
}

TEST(MXConfig, RefusesOtherWeights) {
  EXPECT_NE(error_of([] {
              quantize_tensor(Tensor::zeros(DType::kFloat32, {8, 64}), *config("{}"));
            }).find("Only supporting bf16 out dtype for now, got torch.float32"),
            std::string::npos);
  EXPECT_NE(error_of([] {
              quantize_tensor(Tensor::zeros(DType::kBFloat16, {8, 48}), *config("{}"));
            }).find("must be divisible by block_size 32"),
            std::string::npos);
  EXPECT_THROW(
      quantize_tensor(Tensor::zeros(DType::kBFloat16, {8, 64}), *config(R"({"block_size": 0})")),
      ShapeError);
  EXPECT_THROW(
      quantize_tensor(Tensor::zeros(DType::kBFloat16, {8, 64}), *config(R"({"block_size": "32"})")),
      ConfigError);
}

}  // namespace
}  // namespace torchao_cpp
