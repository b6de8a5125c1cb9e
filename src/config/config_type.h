// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "torchao_cpp/config.h"
#include "torchao_cpp/tensor.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// The fields of a config in torchao's wire form, all present, in declaration order: nested objects are completed
/// with their defaults, so writing it back gives torchao's own text.
struct ConfigData {
  Json fields = Json::object();
};

/// One constructor argument of a torchao config class.
struct FieldSpec {
  std::string_view name;
  /// Wire JSON of the default value; empty = the field is required.
  std::string_view default_json;
};

/// What quantize_tensor did with a weight.
struct QuantizeResult {
  WeightTensorPtr weight;  ///< Null: torchao leaves this weight unquantized.
  std::string reason;      ///< Why it was left alone; empty otherwise.
  std::string notice = {};  ///< Why `weight` is of another class than the config asks for; empty otherwise.
};

/// A torchao config class: its fields, its checks, and what it does to a weight. Each workflow exports its own.
struct ConfigType {
  std::string_view name;  ///< torchao's class name.
  /// The class's current version; `declares_version` is false where the class has no `version` argument (then 1).
  int version = 1;
  bool declares_version = true;
  std::span<const FieldSpec> fields;
  /// Runs the class's own checks and normalisation (torchao's __post_init__). Throws ConfigError with kind "validation"
  /// and torchao's key phrase; the caller adds "X: " context. May be null. `version` is the stored one.
  void (*post_init)(ConfigData& data, int version) = nullptr;
  /// Quantizes a 2-D float32, float16 or bfloat16 weight [N, K]. Throws ConfigError (kind "validation"), ShapeError or
  /// UnsupportedError where torchao raises. Null: this config does not quantize linear weights here, see `unsupported`.
  QuantizeResult (*quantize_tensor)(const AOBaseConfig& config, const Tensor& weight) = nullptr;
  std::string_view unsupported;  ///< Reason when quantize_tensor is null.
  /// One line for `torchao configs`.
  std::string_view summary;
  /// The config's words without "Config" in snake case: the kernels' operation.
  std::string_view operation;
  /// What quantize_tensor makes of a weight, depending on the config's fields.
  std::span<const WeightTensorType* const> weight_classes{};
};

/// A family of configs and tensor types: one folder of workflows/.
struct Workflow {
  std::string_view name;
  std::span<const ConfigType* const> configs;
  std::span<const WeightTensorType* const> tensor_types;
};

}  // namespace torchao_cpp
