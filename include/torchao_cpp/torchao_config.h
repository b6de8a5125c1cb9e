// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/config.h"
#include "torchao_cpp/dtype.h"
#include "torchao_cpp/export.h"

namespace torchao_cpp {

/// True when one of `skip_modules` equals `prefix` or occurs in it as a run of whole dotted components.
/// Source: vLLM 0.32 quantization/torchao.py should_skip.
TORCHAO_CPP_EXPORT bool should_skip(std::string_view prefix, std::span<const std::string> skip_modules);

/// Which config, if any, a linear layer gets, and why.
struct LayerDecision {
  enum class Source : std::uint8_t {
    kNoQuantization,   ///< The model has no quantization config.
    kSkipped,          ///< modules_to_not_convert or a null entry of the map.
    kExactName,        ///< Exact key of the map.
    kRegex,            ///< First "re:" key that matches the whole name.
    kDefault,          ///< "_default".
    kWholeModel,       ///< One config for every linear.
    kNoRule,           ///< A map without any entry for this layer.
    kPartsDisagree,    ///< A fused layer whose parts get different configs (only where the caller allows splitting).
  };
  ConfigPtr config;    ///< Null = unquantized.
  Source source = Source::kNoQuantization;
  std::string rule;    ///< The key or skip entry that decided; empty for whole-model configs.
  std::string reason;  ///< One sentence for a person.
};

/// How fused layers (qkv_proj, gate_up_proj) and null entries are decided.
enum class SelectionMode : std::uint8_t {
  kPackedModules,  ///< Rules for the parts (q_proj, k_proj, v_proj) hold for the fused layer.
  kVllm,           ///< Exactly vLLM 0.32: only the fused name is looked at.
};

/// fused suffix -> suffixes of its parts, e.g. "qkv_proj" -> {"q_proj", "k_proj", "v_proj"}.
using PackedModulesMapping = std::map<std::string, std::vector<std::string>, std::less<>>;

class FqnRules;

/// vLLM's TorchAOConfig: a torchao config plus the layers it must not touch. Immutable but for the selection mode.
class TORCHAO_CPP_EXPORT TorchAOConfig {
 public:
  /// `torchao_config` may be null: no layer is quantized. Throws ConfigError (validation) for a "re:" key that is no
  /// Python regular expression.
  TorchAOConfig(ConfigPtr torchao_config, std::vector<std::string> skip_modules, bool is_checkpoint_torchao_serialized);

  /// A Hugging Face quantization_config as JSON text ({"quant_method": "torchao", "quant_type": {"default": ..}, ..}).
  /// Old forms (torchao <= 0.17 layouts, string quant_type with quant_type_kwargs) are upgraded where their meaning is
  /// defined; each upgrade adds a warning. Throws ConfigError with vLLM's key phrases ("quant_type must be specified").
  static TorchAOConfig from_config(std::string_view quantization_config_json,
                                   std::vector<ConfigWarning>* warnings = nullptr);
  /// A file holding torchao's config_to_dict text. Throws IoError or ConfigError.
  static TorchAOConfig from_config_file(const std::filesystem::path& path, std::vector<ConfigWarning>* warnings = nullptr);
  /// JSON text of torchao's config_to_dict.
  static TorchAOConfig from_config_dict_json(std::string_view json, std::vector<ConfigWarning>* warnings = nullptr);
  /// What a person types: a shorthand, a file, torchao's JSON text, or a whole quantization_config as file or text.
  static TorchAOConfig from_user(std::string_view text_or_path, std::vector<ConfigWarning>* warnings = nullptr);

  static std::string_view get_name() noexcept { return "torchao"; }
  static std::span<const DType> get_supported_act_dtypes() noexcept;
  static int get_min_capability() noexcept { return 75; }
  static std::vector<std::string> get_config_filenames() { return {}; }
  static std::vector<std::string> get_scaled_act_names() { return {}; }

  const ConfigPtr& torchao_config() const noexcept { return torchao_config_; }
  const std::vector<std::string>& skip_modules() const noexcept { return skip_modules_; }
  bool is_checkpoint_torchao_serialized() const noexcept { return is_checkpoint_torchao_serialized_; }
  /// Hugging Face's flags of the same names; kept for writing them back.
  bool include_input_output_embeddings() const noexcept { return include_input_output_embeddings_; }
  bool untie_embedding_weights() const noexcept { return untie_embedding_weights_; }
  /// The same config with further skip entries.
  TorchAOConfig with_skip_modules(std::vector<std::string> more) const;

  SelectionMode selection_mode() const noexcept { return mode_; }
  void set_selection_mode(SelectionMode mode) noexcept { mode_ = mode; }
  const PackedModulesMapping& packed_modules_mapping() const noexcept { return packed_modules_mapping_; }
  void set_packed_modules_mapping(PackedModulesMapping mapping) { packed_modules_mapping_ = std::move(mapping); }

  /// Decides one linear layer by its own name. kPackedModules: modules_to_not_convert; exact key (of the parameter
  /// `prefix`.weight, then of the module); null entries of the map, which hold for everything under their name; first
  /// "re:" key in file order that matches either name in full; "_default". kVllm: vLLM's order, where null entries of
  /// module_fqn_to_config come before exact keys and parameter names never match. For a fused layer whose parts disagree: source kPartsDisagree, config null
  /// and a reason that names the rules; the caller splits the layer or reports it.
  LayerDecision decide(std::string_view prefix) const;

  /// The quantization_config to put into config.json for a checkpoint quantized by this config, as transformers writes it.
  std::string to_quantization_config_json(int indent = 2) const;

 private:
  LayerDecision decide_one(std::string_view prefix) const;
  LayerDecision decide_vllm(std::string_view prefix) const;
  LayerDecision decide_fused(std::string_view prefix, const std::vector<std::string>& parts) const;
  /// The entries of modules_to_not_convert; the rest of skip_modules_ are null entries of the map.
  std::span<const std::string> explicit_skips() const noexcept;

  ConfigPtr torchao_config_;
  std::shared_ptr<const FqnRules> rules_;  ///< Null unless the config is an FqnToConfig.
  std::vector<std::string> skip_modules_;
  std::size_t explicit_skip_count_ = 0;
  bool include_input_output_embeddings_ = false;
  bool untie_embedding_weights_ = false;
  bool is_checkpoint_torchao_serialized_ = false;
  SelectionMode mode_ = SelectionMode::kPackedModules;
  PackedModulesMapping packed_modules_mapping_;
};

/// Maps a config that torchao <= 0.17 wrote (with `layout`, version 1, or one of the removed classes) to the text of
/// today's config where the meaning is defined. Returns the input text unchanged when it is today's; each change adds a warning.
/// Throws ConfigError (kind "legacy_config") that says which torchao wrote it when there is no equivalent.
TORCHAO_CPP_EXPORT std::string upgrade_legacy_config(std::string_view config_json, std::vector<ConfigWarning>* warnings = nullptr);

}  // namespace torchao_cpp
