// SPDX-License-Identifier: Apache-2.0
#include "workflows/prototype/prototype_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string>

#include "torchao_cpp/error.h"
#include "workflows/config_checks.h"

namespace torchao_cpp {
namespace {

constexpr std::array<FieldSpec, 3> kAwqFields{{
    {"base_config", ""},
    {"step", ""},
    {"scale_search_space_size", "20"},
}};
constexpr std::array<FieldSpec, 4> kSmoothQuantFields{{
    {"base_config", ""},
    {"step", ""},
    {"alpha", "0.5"},
    {"use_running_absmax", "false"},
}};
constexpr std::array<FieldSpec, 2> kGgufFields{{
    {"dtype", R"({"_type": "torch.dtype", "_data": "uint4"})"},
    {"n_blocks_per_superblock", "8"},
}};
constexpr std::array<FieldSpec, 6> kStretchedIntxFields{{
    {"granularity", R"({"_type": "PerAxis", "_version": 1, "_data": {"axis": 0}})"},
    {"scale_dtype", "null"},
    {"b", "null"},
    {"quant_min", "null"},
    {"quant_max", "null"},
    {"activation_quantization", R"("int8_asym_per_token")"},
}};
constexpr std::array<FieldSpec, 1> kBlockSparseFields{{{"blocksize", "64"}}};
constexpr std::array<FieldSpec, 1> kSemiSparseFields{{{"alg_id", "0"}}};

constexpr std::array<std::string_view, 5> kQuantizationSteps{
    "prepare", "convert", "prepare_for_loading", "prepare_for_smoothquant_smoothing_factor",
    "prepare_for_smoothquant_activation_scales"};

[[noreturn]] void fail(const std::string& message) { throw ConfigError(message, "validation"); }

// `step` is a string in any case; torchao keeps it in lower case.
void check_step(ConfigData& data, int /*version*/) {
  Json& step = data.fields["step"];
  if (!step.is_string()) fail(fmt::format("step is {}; expected a string such as \"convert\"", printed(step)));
  std::string lower = step.get<std::string>();
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  if (std::find(kQuantizationSteps.begin(), kQuantizationSteps.end(), lower) == kQuantizationSteps.end()) {
    fail(fmt::format("step: '{}' is not one of {}", lower, fmt::join(kQuantizationSteps, ", ")));
  }
  step = lower;
}

constexpr std::string_view kNeedsCalibration =
    "its scaling factors come from calibration data, not from the weight; checkpoints that it made load as weights of the base config";
constexpr std::string_view kSparsity = "sparsity of the weight, not quantization";

}  // namespace

const ConfigType kAWQConfigType{
    .name = "AWQConfig",
    .version = 1,
    .declares_version = false,
    .fields = kAwqFields,
    .post_init = &check_step,
    .quantize_tensor = nullptr,
    .unsupported = kNeedsCalibration,
    .summary = "a base config with input channels scaled by searched factors",
    .operation = "",
};

const ConfigType kSmoothQuantConfigType{
    .name = "SmoothQuantConfig",
    .version = 1,
    .declares_version = false,
    .fields = kSmoothQuantFields,
    .post_init = &check_step,
    .quantize_tensor = nullptr,
    .unsupported = kNeedsCalibration,
    .summary = "a base config with activation outliers moved into the weight",
    .operation = "",
};

const ConfigType kGGUFWeightOnlyConfigType{
    .name = "GGUFWeightOnlyConfig",
    .version = 1,
    .declares_version = false,
    .fields = kGgufFields,
    .post_init = nullptr,
    .quantize_tensor = nullptr,
    .unsupported = "GGUFQuantizedTensor has no safetensors form and no published layout to be exact against",
    .summary = "superblocks of 256 weights with quantized scales",
    .operation = "",
};

const ConfigType kStretchedIntxWeightConfigType{
    .name = "StretchedIntxWeightConfig",
    .version = 2,
    .declares_version = true,
    .fields = kStretchedIntxFields,
    .post_init = nullptr,
    .quantize_tensor = nullptr,
    .unsupported = "stretched affine codes belong to weights trained by PARQ; checkpoints hold them as IntxUnpackedToInt8Tensor, which loads",
    .summary = "stretched affine codes of weights trained by PARQ",
    .operation = "",
};

const ConfigType kBlockSparseWeightConfigType{
    .name = "BlockSparseWeightConfig",
    .version = 1,
    .declares_version = false,
    .fields = kBlockSparseFields,
    .post_init = nullptr,
    .quantize_tensor = nullptr,
    .unsupported = kSparsity,
    .summary = "block sparsity",
    .operation = "",
};

const ConfigType kSemiSparseWeightConfigType{
    .name = "SemiSparseWeightConfig",
    .version = 1,
    .declares_version = false,
    .fields = kSemiSparseFields,
    .post_init = nullptr,
    .quantize_tensor = nullptr,
    .unsupported = kSparsity,
    .summary = "2:4 sparsity",
    .operation = "",
};

}  // namespace torchao_cpp
