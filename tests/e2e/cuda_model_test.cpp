// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "e2e/demo_model.h"
#include "kernels/cuda/cuda_device.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"

/// The demo model on a GPU, against transformers and against the CPU.
namespace torchao_cpp::e2e {
namespace {

ModelOptions on_gpu(DType dtype, const char* quantization = nullptr) {
  ModelOptions options;
  options.dtype = dtype;
  options.device = Device::cuda(0);
  if (quantization != nullptr) options.quantization = TorchAOConfig::from_user(quantization);
  return options;
}

struct Distance {
  double worst = 0;
  double rms = 0;
};

Distance distance(const Tensor& got, const Tensor& want) {
  EXPECT_EQ(got.shape(), want.shape());
  Distance out;
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    const double d = std::fabs(static_cast<double>(got.data<float>()[i]) -
                               static_cast<double>(want.data<float>()[i]));
    if (!(d <= out.worst)) out.worst = d;  // Also when it is NaN.
    out.rms += d * d;
  }
  out.rms = std::sqrt(out.rms / static_cast<double>(want.numel()));
  return out;
}

class CudaModel : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  }
};

TEST(CudaModelWithoutGpu, IsRefused) {
  if (cuda_device_count() > 0) GTEST_SKIP() << "the machine has a GPU";
  const std::string message = message_of([] { LLM(demo_model(), on_gpu(DType::kBFloat16)); });
  EXPECT_NE(message, "no error");
  EXPECT_THAT(message, testing::AnyOf(testing::HasSubstr("GPU"), testing::HasSubstr("CUDA")));
}

TEST_F(CudaModel, Float32LogitsAreThoseOfTransformers) {
  LLM llm(demo_model(), on_gpu(DType::kFloat32));
  for_expected_logits([&](const std::string& name, const Tensor& ids, const Tensor& want) {
    EXPECT_LT(distance(llm.logits(ids.span<std::int32_t>()), want).worst, 2e-4) << name;
  });
}

TEST_F(CudaModel, GreedyIdsAreThoseOfTransformers) {
  LLM llm(demo_model(), on_gpu(DType::kFloat32));
  const Json expected = read_json_file(demo_model() / "expected_greedy_f32.json");
  for (const auto& [name, prompt] : expected.items()) {
    const auto want = prompt.at("greedy_ids").get<std::vector<std::int32_t>>();
    SamplingParams params;
    params.max_new_tokens = static_cast<std::int64_t>(want.size());
    params.ignore_eos = true;
    EXPECT_EQ(
        llm.generate(prompt.at("input_ids").get<std::vector<std::int32_t>>(), params).output_ids,
        want)
        << name;
  }
}

// Two runs that round at the same places but sum in another order: each is as far from the exact
// result as the dtype's roundings put it.
TEST_F(CudaModel, LogitsAreThoseOfTheCpu) {
  std::vector<std::int32_t> ids = heldout_ids();
  ids.resize(300);
  ModelOptions exact_options;
  exact_options.dtype = DType::kFloat32;
  const Tensor exact = LLM(demo_model(), exact_options).logits(ids);
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    ModelOptions options = on_gpu(dtype);
    const Tensor got = LLM(demo_model(), options).logits(ids);
    options.device = Device::cpu();
    const Tensor cpu = LLM(demo_model(), options).logits(ids);
    EXPECT_LT(distance(got, exact).rms, 1.2 * distance(cpu, exact).rms) << dtype_name(dtype);
    EXPECT_LT(distance(got, cpu).rms, 1.5 * distance(cpu, exact).rms) << dtype_name(dtype);
  }
}

TEST_F(CudaModel, EveryArchitectureIsThatOfTheCpu) {
  const std::filesystem::path data = TORCHAO_CPP_TEST_DATA;
  for (const char* name :
       {"checkpoints/base/llama", "checkpoints/base/opt", "architectures/base/mistral",
        "architectures/base/opt-post-norm", "architectures/base/opt-bare",
        "architectures/base/qwen2", "architectures/base/smollm3"}) {
    const Tensor stored = Checkpoint(data / name / "expected.safetensors").entry("input_ids").plain;
    std::vector<std::int32_t> ids;
    for (const std::int64_t id : stored.span<std::int64_t>())
      ids.push_back(static_cast<std::int32_t>(id));
    ModelOptions options = on_gpu(DType::kFloat32);
    LLM gpu(data / name, options);
    options.device = Device::cpu();
    LLM cpu(data / name, options);
    const Tensor want = cpu.logits(ids);
    double largest = 1;
    for (const float v : want.span<float>()) largest = std::max(largest, std::fabs(double{v}));
    EXPECT_LT(distance(gpu.logits(ids), want).worst, 1e-4 * largest) << name;
    SamplingParams params;
    params.max_new_tokens = 12;
    params.ignore_eos = true;
    EXPECT_EQ(gpu.generate(ids, params).output_ids, cpu.generate(ids, params).output_ids) << name;
  }
}

TEST_F(CudaModel, QuantizedLogitsAreThoseOfTheCpu) {
  std::vector<std::int32_t> ids = heldout_ids();
  ids.resize(200);
  for (const char* config : {"int8wo", "int4wo-32", "int8dq", "8da4w", "fp8wo", "fp8dq-tensor"}) {
    ModelOptions options = on_gpu(DType::kBFloat16, config);
    LLM llm(demo_model(), options);
    EXPECT_THAT(llm.linear_reports().front().kernel, testing::HasSubstr("/cuda")) << config;
    const Tensor got = llm.logits(ids);
    options.device = Device::cpu();
    const Tensor cpu = LLM(demo_model(), options).logits(ids);
    options.dtype = DType::kFloat32;
    const Tensor exact = LLM(demo_model(), options).logits(ids);
    EXPECT_LT(distance(got, cpu).rms, 1.5 * distance(cpu, exact).rms + 0.01) << config;
  }
}

TEST_F(CudaModel, PiecewiseDecodeGivesTheIdsOfTheWholePrompt) {
  std::vector<std::int32_t> ids = heldout_ids();
  ids.resize(130);
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    LLM llm(demo_model(), on_gpu(dtype));
    SamplingParams params;
    params.max_new_tokens = 40;
    params.ignore_eos = true;
    const auto out = llm.generate(ids, params).output_ids;
    std::vector<std::int32_t> all = ids;
    all.insert(all.end(), out.begin(), out.end());
    const Tensor logits = llm.logits(all);
    int differing = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float* row =
          logits.data<float>() + static_cast<std::int64_t>(ids.size() + i - 1) * llm.vocab_size();
      const auto chosen = static_cast<std::size_t>(out[i]);
      differing += row[chosen] < *std::max_element(row, row + llm.vocab_size()) ? 1 : 0;
    }
    // Two bfloat16 logits can be equal in one and not in the other.
    EXPECT_LE(differing, dtype == DType::kFloat32 ? 0 : 2);
    EXPECT_EQ(llm.generate(ids, params).output_ids, out);  // Replayed, the same to the bit.
  }
}

TEST_F(CudaModel, BatchesGiveWhatPromptsGiveAlone) {
  const std::vector<std::int32_t> text = heldout_ids();
  std::vector<std::vector<std::int32_t>> prompts;
  for (std::size_t i = 0; i < 7; ++i)
    prompts.emplace_back(text.begin() + static_cast<std::ptrdiff_t>(40 * i),
                         text.begin() + static_cast<std::ptrdiff_t>(41 * i + 3));
  ModelOptions options = on_gpu(DType::kFloat32);
  options.max_batch = 3;
  LLM llm(demo_model(), options);
  SamplingParams params;
  params.max_new_tokens = 20;
  params.ignore_eos = true;
  for (const double temperature : {0.0, 0.8}) {
    params.temperature = temperature;
    params.seed = 5;
    const auto results = llm.generate_batch(prompts, params);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      SamplingParams own = params;
      own.seed += i;
      EXPECT_EQ(results[i].output_ids, llm.generate(prompts[i], own).output_ids) << i;
    }
  }
}

TEST_F(CudaModel, TooLittleMemoryIsSaidAndTheProcessGoesOn) {
  ModelOptions options = on_gpu(DType::kBFloat16);
  EXPECT_THAT(message_of([&] {
                options.device = Device::cuda(1000);
                LLM(demo_model(), options);
              }),
              testing::HasSubstr("GPU 1000"));
  options.device = Device::cuda(0);
  // Fills the memory but for what a model does not fit into.
  std::vector<DeviceBuffer> held;
  for (std::int64_t bytes = std::int64_t{64} << 30; bytes >= 1 << 21; bytes /= 2) {
    while (message_of([&] { held.emplace_back(bytes, 0); }) == "no error") {
    }
  }
  const std::string message = message_of([&] { LLM(demo_model(), options); });
  EXPECT_THAT(message, testing::HasSubstr("out of memory"));
  EXPECT_THAT(message, testing::HasSubstr("bytes are needed"));
  held.clear();
  EXPECT_EQ(LLM(demo_model(), options)
                .generate(std::vector<std::int32_t>{427, 1711}, {})
                .output_ids.empty(),
            false);
}

}  // namespace
}  // namespace torchao_cpp::e2e
