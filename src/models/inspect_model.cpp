// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "models/model_folder.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {
namespace {

ParameterInfo plain_parameter(const CheckpointEntry& entry) {
  ParameterInfo info;
  info.fqn = entry.fqn;
  info.shape = entry.plain.shape();
  info.dtype = dtype_name(entry.plain.dtype());
  info.weight_class = "Tensor";
  info.nbytes = entry.plain.nbytes();
  return info;
}

// A class that cannot be read here is still listed, with what its parts tell.
ParameterInfo quantized_parameter(const CheckpointEntry& entry,
                                  std::vector<std::string>& warnings) {
  ParameterInfo info;
  info.fqn = entry.fqn;
  info.weight_class = entry.parts->class_name;
  info.nbytes = stored_bytes(entry);
  try {
    const WeightTensorPtr weight = loaded_weight_from_parts(*entry.parts, entry.fqn).quantized;
    info.shape = weight->shape();
    info.dtype = dtype_name(weight->dtype());
    info.detail = weight->describe();
  } catch (const Error& e) {
    info.detail = "not readable here";
    warnings.push_back(e.what());
  }
  return info;
}

}  // namespace

ModelInfo inspect_model(const std::filesystem::path& directory) {
  const ModelFolder folder = ModelFolder::open(directory);
  ModelInfo info;
  info.architecture =
      folder.config.architectures.empty() ? "" : folder.config.architectures.front();
  info.model_type = folder.config.model_type;
  info.quantization_config = folder.config.quantization_config;
  info.is_torchao_serialized = folder.checkpoint.is_torchao_serialized();
  info.warnings.assign(folder.checkpoint.warnings().begin(), folder.checkpoint.warnings().end());
  info.tied.assign(folder.checkpoint.tied_names().begin(), folder.checkpoint.tied_names().end());
  for (const std::string& fqn : folder.checkpoint.names()) {
    const CheckpointEntry entry = folder.checkpoint.entry(fqn);
    ParameterInfo row =
        entry.parts ? quantized_parameter(entry, info.warnings) : plain_parameter(entry);
    const std::int64_t count = shape_numel(row.shape);
    if (count > 0)
      row.bits_per_weight = 8.0 * static_cast<double>(row.nbytes) / static_cast<double>(count);
    info.num_parameters += count;
    info.nbytes += row.nbytes;
    info.parameters.push_back(std::move(row));
  }
  return info;
}

}  // namespace torchao_cpp
