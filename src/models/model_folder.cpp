// SPDX-License-Identifier: Apache-2.0
#include "models/model_folder.h"

#include <fmt/format.h>

#include "io/checkpoint_source.h"
#include "models/base_model_source.h"
#include "models/decoder_architecture.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

std::string config_text(const TorchAOConfig& config) {
  return config.torchao_config() == nullptr ? std::string()
                                            : config_to_dict(*config.torchao_config());
}

void add_warnings(const std::vector<ConfigWarning>& warnings, std::vector<std::string>& notices) {
  for (const ConfigWarning& warning : warnings)
    notices.push_back(fmt::format("quantization_config: {}", warning.message));
}

// config.json's own config; none, with a notice, where the weights say all there is to know.
std::optional<TorchAOConfig> stored_config(const ModelFolder& folder,
                                           std::vector<std::string>& notices) {
  const std::string& text = folder.config.quantization_config;
  if (text.empty()) return std::nullopt;
  if (!folder.checkpoint.is_torchao_serialized()) {
    notices.push_back(
        fmt::format("{}: has a quantization_config, but no weight is quantized; the weights are "
                    "used as they are",
                    folder.config.where));
    return std::nullopt;
  }
  std::vector<ConfigWarning> warnings;
  try {
    TorchAOConfig config = TorchAOConfig::from_config(text, &warnings);
    add_warnings(warnings, notices);
    return config;
  } catch (const ConfigError& e) {
    notices.push_back(
        fmt::format("{}: quantization_config is not understood ({}); the weights are already "
                    "quantized and are used as stored",
                    folder.config.where, e.what()));
    return std::nullopt;
  }
}

}  // namespace

ModelFolder ModelFolder::open(const std::filesystem::path& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    throw IoError(fmt::format(
        "{}: is no folder; expected a model folder with config.json and weights",
        directory.string()));
  }
  HfConfig config = HfConfig::load(directory);
  auto source = with_model_prefix(open_checkpoint_source(directory), embedding_prefix(config));
  return {directory, std::move(config), Checkpoint(std::move(source), directory.string())};
}

std::int64_t parts_bytes(const TensorParts& parts) {
  std::int64_t sum = 0;
  for (const auto& [name, tensor] : parts.parts) sum += tensor.nbytes();
  return sum;
}

std::int64_t stored_bytes(const CheckpointEntry& entry) {
  return entry.parts ? parts_bytes(*entry.parts) : entry.plain.nbytes();
}

PackedModulesMapping decoder_packed_modules_mapping() {
  return {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}}, {"gate_up_proj", {"gate_proj", "up_proj"}}};
}

TorchAOConfig as_on_the_fly(const TorchAOConfig& requested) {
  if (!requested.is_checkpoint_torchao_serialized() || requested.torchao_config() == nullptr)
    return requested;
  return TorchAOConfig::from_user(requested.to_quantization_config_json(-1));
}

ModelQuantization resolve_quantization(const ModelFolder& folder, const TorchAOConfig* requested,
                                       SelectionMode mode) {
  ModelQuantization out;
  out.is_serialized = folder.checkpoint.is_torchao_serialized();
  out.config = stored_config(folder, out.notices);
  if (requested != nullptr && out.is_serialized) {
    if (!out.config || config_text(*out.config) != config_text(*requested)) {
      throw ConfigError(fmt::format("{}: the checkpoint is already quantized{}; it cannot be "
                                    "quantized again with {}: start from the "
                                    "unquantized model, or dequantize it first",
                                    folder.directory.string(),
                                    out.config ? " with " + config_text(*out.config) : "",
                                    config_text(*requested)),
                        "validation");
    }
  } else if (requested != nullptr) {
    out.config = as_on_the_fly(*requested);
  }
  if (out.config) {
    out.config->set_packed_modules_mapping(decoder_packed_modules_mapping());
    out.config->set_selection_mode(mode);
  }
  return out;
}

}  // namespace torchao_cpp
