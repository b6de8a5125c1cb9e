// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/config.h"
#include "torchao_cpp/export.h"
#include "torchao_cpp/tensor.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// torchao's config_from_dict over every config this library knows: JSON text -> config. Exactly as strict as torchao
/// 0.18. Throws ConfigError whose kind() is one of those listed there; `warnings` may be null.
TORCHAO_CPP_EXPORT ConfigPtr config_from_dict(std::string_view json, std::vector<ConfigWarning>* warnings = nullptr);

/// The config that a shorthand means ("int8wo", "int8dq", "int4wo-128", "intx4wo-32", "fp8wo", "fp8dq-row", "8da4w", ...), or null when `text` is none.
TORCHAO_CPP_EXPORT ConfigPtr config_from_shorthand(std::string_view text);

/// Name, meaning: for help texts.
struct ShorthandInfo {
  std::string_view pattern;
  std::string_view meaning;
};
TORCHAO_CPP_EXPORT std::span<const ShorthandInfo> shorthand_list() noexcept;

/// One row of `torchao configs`.
struct ConfigInfo {
  std::string name;
  int version = 1;
  std::string family;
  std::string summary;
  bool quantizes = false;    ///< quantize_tensor is implemented here.
  std::string unsupported;   ///< Reason otherwise.
};
TORCHAO_CPP_EXPORT std::vector<ConfigInfo> config_infos();

/// A class of quantized weights: one row of `torchao weights`.
struct WeightClassInfo {
  std::string name;  ///< torchao's class name.
  std::string family;
  std::string safetensors_versions;  ///< Of torchao whose safetensors hold it: "0.16 to 0.18"; empty: none do.
  bool safetensors_serializable = false;  ///< torchao 0.18 loads it from safetensors.
  std::vector<std::string> configs;     ///< That make it of a plain weight.
  std::vector<std::string> operations;  ///< That run it, as in KernelInfo.
  std::string not_run;                  ///< Why there are none.
};
TORCHAO_CPP_EXPORT std::vector<WeightClassInfo> weight_class_infos();

/// A weight after quantization, or null with the reason why torchao leaves it unquantized.
struct QuantizeOutcome {
  WeightTensorPtr weight;
  std::string reason;
  /// Why the weight is of another class than the config asks for: one with the same codes, where the asked-for packing
  /// is private to a kernel library. Empty otherwise.
  std::string notice;
};

/// torchao's quantize_ for one linear weight [N, K] (float32, float16, bfloat16). `config` must not be an FqnToConfig.
/// Throws ConfigError, ShapeError or UnsupportedError where torchao raises.
TORCHAO_CPP_EXPORT QuantizeOutcome quantize_tensor(const Tensor& weight, const AOBaseConfig& config);

/// A checkpoint entry's parts -> the weight class named there. Throws CheckpointError as WeightTensorType::from_parts does.
TORCHAO_CPP_EXPORT WeightTensorPtr weight_from_parts(const TensorParts& parts, std::string_view fqn);

}  // namespace torchao_cpp
