// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/hf_config.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/torchao_config.h"

namespace torchao_cpp {

/// A Hugging Face model folder, opened: config.json and the weights' names, nothing read of their
/// values.
struct ModelFolder {
  std::filesystem::path directory;
  HfConfig config;
  Checkpoint checkpoint;

  /// Throws IoError, ConfigError, CheckpointError.
  static ModelFolder open(const std::filesystem::path& directory);
  /// The model that a config.json (by any name) describes, unquantized, its weights made when they
  /// are asked for. Throws IoError, ConfigError, UnsupportedError.
  static ModelFolder with_random_weights(const std::filesystem::path& config_file);
};

/// The quantization a model runs with.
struct ModelQuantization {
  /// Not set: nothing is quantized, or what is carries its own description and config.json's is not
  /// understood.
  std::optional<TorchAOConfig> config;
  /// The checkpoint's weights are already quantized.
  bool is_serialized = false;
  std::vector<std::string> notices;
};

/// Joins what config.json says, what the weights are, and what the caller asks for (may be null).
/// fused layers are decided by their parts through the packed-modules mapping of the decoders.
/// Throws ConfigError when the caller asks for another config than that of a checkpoint which is
/// already quantized, or when config.json's own is wrong and needed.
ModelQuantization resolve_quantization(const ModelFolder& folder, const TorchAOConfig* requested,
                                       SelectionMode mode);

/// `requested` as something to do to plain weights, whatever it says of a checkpoint.
TorchAOConfig as_on_the_fly(const TorchAOConfig& requested);

/// Bytes of all parts of a quantized weight.
std::int64_t parts_bytes(const TensorParts& parts);
/// Bytes of a plain tensor, or of all parts of a quantized one.
std::int64_t stored_bytes(const CheckpointEntry& entry);

/// qkv_proj and gate_up_proj.
PackedModulesMapping decoder_packed_modules_mapping();

}  // namespace torchao_cpp
