// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/quantize.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "config/config_parser.h"
#include "config/fqn_to_config.h"
#include "torchao_cpp/error.h"
#include "workflows/workflow_list.h"

namespace torchao_cpp {
namespace {

ConfigInfo info_of(const ConfigType& type, std::string_view family) {
  ConfigInfo info;
  info.name = type.name;
  info.version = type.version;
  info.family = family;
  info.summary = type.summary;
  info.quantizes = type.quantize_tensor != nullptr;
  info.unsupported = info.quantizes ? std::string_view{} : type.unsupported;
  return info;
}

std::vector<std::string> configs_that_make(const WeightTensorType& tensor_type) {
  std::vector<std::string> names;
  for (const Workflow* workflow : workflow_list()) {
    for (const ConfigType* config : workflow->configs) {
      const auto made = config->weight_classes;
      if (std::find(made.begin(), made.end(), &tensor_type) != made.end()) names.emplace_back(config->name);
    }
  }
  return names;
}

WeightClassInfo info_of(const WeightTensorType& type, std::string_view family) {
  WeightClassInfo info;
  info.name = type.class_name;
  info.family = family;
  info.safetensors_versions = type.safetensors_versions;
  info.safetensors_serializable = type.safetensors_serializable;
  info.configs = configs_that_make(type);
  for (const std::string_view operation : type.operations) info.operations.push_back(fmt::format("{}_linear", operation));
  info.not_run = type.not_run;
  return info;
}

void check_weight(const Tensor& weight, std::string_view config) {
  if (!weight.defined()) throw ShapeError(fmt::format("{}: the weight is undefined; expected a tensor [N, K]", config));
  if (weight.shape().size() != 2) {
    throw ShapeError(fmt::format("{}: the weight has shape {}; expected a linear weight [N, K]", config,
                                 shape_to_string(weight.shape())));
  }
  if (!is_high_precision(weight.dtype())) {
    throw UnsupportedError(fmt::format("{}: the weight is {}; expected float32, float16 or bfloat16", config,
                                       dtype_name(weight.dtype())));
  }
}

}  // namespace

ConfigPtr config_from_dict(std::string_view json, std::vector<ConfigWarning>* warnings) {
  return config_from_wire(parse_json(json, "config"), workflow_list(), warnings);
}

std::vector<ConfigInfo> config_infos() {
  std::vector<ConfigInfo> infos;
  for (const Workflow* workflow : workflow_list()) {
    for (const ConfigType* type : workflow->configs) infos.push_back(info_of(*type, workflow->name));
  }
  infos.push_back(info_of(kFqnToConfigType, "selection"));
  return infos;
}

std::vector<WeightClassInfo> weight_class_infos() {
  std::vector<WeightClassInfo> infos;
  for (const Workflow* workflow : workflow_list()) {
    for (const WeightTensorType* type : workflow->tensor_types) infos.push_back(info_of(*type, workflow->name));
  }
  return infos;
}

QuantizeOutcome quantize_tensor(const Tensor& weight, const AOBaseConfig& config) {
  const ConfigType& type = config.type();
  if (config.is_fqn_to_config()) throw ConfigError(fmt::format("{}: {}", type.name, type.unsupported), "validation");
  if (type.quantize_tensor == nullptr) throw UnsupportedError(fmt::format("{}: {}", type.name, type.unsupported));
  check_weight(weight, type.name);
  QuantizeResult result = type.quantize_tensor(config, weight);
  return {std::move(result.weight), std::move(result.reason), std::move(result.notice)};
}

WeightTensorPtr weight_from_parts(const TensorParts& parts, std::string_view fqn) {
  if (const WeightTensorType* type = find_weight_tensor_type(parts.class_name)) return type->from_parts(parts, fqn);
  throw CheckpointError(fmt::format("'{}' is a {}; no weight class of that name is known", fqn, parts.class_name),
                        "ao.unsupported_type");
}

}  // namespace torchao_cpp
