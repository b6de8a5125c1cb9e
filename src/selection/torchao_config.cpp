// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/torchao_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "selection/fqn_rules.h"

namespace torchao_cpp {
namespace {

using Source = LayerDecision::Source;

constexpr std::array<DType, 3> kActDTypes{DType::kFloat32, DType::kFloat16, DType::kBFloat16};

std::string name_of(const ConfigPtr& config) {
  return config == nullptr ? "unquantized" : std::string(config->type_name());
}

LayerDecision by_entry(const FqnRules::Entry& entry, Source source, std::string_view what) {
  return {entry.second, source, entry.first, fmt::format("{} says {}", what, name_of(entry.second))};
}

LayerDecision by_exact(const FqnRules::Entry& entry) {
  return by_entry(entry, Source::kExactName, fmt::format("the rule for the name '{}'", entry.first));
}

LayerDecision by_regex(const FqnRules::Entry& entry) {
  return by_entry(entry, Source::kRegex, fmt::format("the rule '{}', the first that matches,", entry.first));
}

LayerDecision by_default_or_none(const FqnRules& rules) {
  if (const FqnRules::Entry* entry = rules.find_default()) return by_entry(*entry, Source::kDefault, "the rule '_default'");
  return {nullptr, Source::kNoRule, "", "no rule names this layer and there is no '_default'"};
}

LayerDecision whole_model(const ConfigPtr& config) {
  return {config, Source::kWholeModel, "", fmt::format("{} holds for every linear layer", config->type_name())};
}

std::optional<LayerDecision> skipped(std::string_view prefix, std::span<const std::string> skips, std::string_view what) {
  for (const std::string& entry : skips) {
    if (should_skip(prefix, {&entry, 1})) {
      return LayerDecision{nullptr, Source::kSkipped, entry, fmt::format("the {} '{}' leaves it unquantized", what, entry)};
    }
  }
  return std::nullopt;
}

constexpr std::string_view kSkipEntry = "modules_to_not_convert entry";
constexpr std::string_view kNullEntry = "null rule";

// "a.qkv_proj" and "qkv_proj" -> "a."; nullopt when the name does not end in that component.
std::optional<std::string_view> parent_of(std::string_view prefix, std::string_view component) {
  if (!prefix.ends_with(component)) return std::nullopt;
  const std::string_view parent = prefix.substr(0, prefix.size() - component.size());
  if (!parent.empty() && parent.back() != '.') return std::nullopt;
  return parent;
}

bool same_config(const ConfigPtr& a, const ConfigPtr& b) {
  if (a == nullptr || b == nullptr) return a == b;
  return a == b || config_to_dict(*a) == config_to_dict(*b);
}

bool is_fallback(const LayerDecision& decision) {
  return decision.source == Source::kDefault || decision.source == Source::kNoRule;
}

std::string described(const std::string& part, const LayerDecision& decision) {
  const std::string rule = decision.rule.empty() ? "no rule" : fmt::format("'{}'", decision.rule);
  return fmt::format("{} by {} -> {}", part, rule, name_of(decision.config));
}

}  // namespace

TorchAOConfig::TorchAOConfig(ConfigPtr torchao_config, std::vector<std::string> skip_modules, bool is_checkpoint_torchao_serialized)
    : torchao_config_(std::move(torchao_config)),
      skip_modules_(std::move(skip_modules)),
      explicit_skip_count_(skip_modules_.size()),
      is_checkpoint_torchao_serialized_(is_checkpoint_torchao_serialized) {
  if (torchao_config_ != nullptr && torchao_config_->is_fqn_to_config()) {
    rules_ = std::make_shared<const FqnRules>(torchao_config_);
  }
}

std::span<const DType> TorchAOConfig::get_supported_act_dtypes() noexcept { return kActDTypes; }

std::span<const std::string> TorchAOConfig::explicit_skips() const noexcept {
  return std::span(skip_modules_).first(explicit_skip_count_);
}

TorchAOConfig TorchAOConfig::with_skip_modules(std::vector<std::string> more) const {
  TorchAOConfig out = *this;
  const auto end_of_explicit = out.skip_modules_.begin() + static_cast<std::ptrdiff_t>(explicit_skip_count_);
  out.skip_modules_.insert(end_of_explicit, more.begin(), more.end());
  out.explicit_skip_count_ += more.size();
  return out;
}

LayerDecision TorchAOConfig::decide(std::string_view prefix) const {
  if (torchao_config_ == nullptr) return {nullptr, Source::kNoQuantization, "", "the model has no quantization config"};
  if (mode_ == SelectionMode::kVllm) return decide_vllm(prefix);
  for (const auto& [fused, parts] : packed_modules_mapping_) {
    const auto parent = parent_of(prefix, fused);
    if (!parent || parts.empty()) continue;
    std::vector<std::string> names;
    for (const std::string& part : parts) names.push_back(std::string(*parent) + part);
    return decide_fused(prefix, names);
  }
  return decide_one(prefix);
}

LayerDecision TorchAOConfig::decide_vllm(std::string_view prefix) const {
  if (auto decision = skipped(prefix, explicit_skips(), kSkipEntry)) return *decision;
  if (auto decision = skipped(prefix, std::span(skip_modules_).subspan(explicit_skip_count_), kNullEntry)) return *decision;
  if (rules_ == nullptr) return whole_model(torchao_config_);
  if (const auto* entry = rules_->find_exact(prefix)) return by_exact(*entry);
  if (const auto* entry = rules_->find_regex({&prefix, 1})) return by_regex(*entry);
  return by_default_or_none(*rules_);
}

LayerDecision TorchAOConfig::decide_one(std::string_view prefix) const {
  if (auto decision = skipped(prefix, explicit_skips(), kSkipEntry)) return *decision;
  if (rules_ == nullptr) return whole_model(torchao_config_);
  const std::string parameter = std::string(prefix) + ".weight";
  const std::array<std::string_view, 2> names{parameter, prefix};
  for (const std::string_view name : names) {
    if (const auto* entry = rules_->find_exact(name)) return by_exact(*entry);
  }
  if (auto decision = skipped(prefix, rules_->null_names(), kNullEntry)) return *decision;
  if (const auto* entry = rules_->find_regex(names)) return by_regex(*entry);
  return by_default_or_none(*rules_);
}

LayerDecision TorchAOConfig::decide_fused(std::string_view prefix, const std::vector<std::string>& parts) const {
  // What names the fused layer itself was written for it.
  const LayerDecision own = decide_one(prefix);
  if (own.source == Source::kExactName || should_skip(prefix, explicit_skips())) return own;

  std::vector<LayerDecision> decisions;
  for (const std::string& part : parts) decisions.push_back(decide_one(part));
  // A rule such as re:.*qkv_proj, where nothing was said of the parts.
  const bool own_rule = own.source == Source::kRegex || own.source == Source::kSkipped;
  if (own_rule && std::all_of(decisions.begin(), decisions.end(), is_fallback)) return own;

  const LayerDecision& first = decisions.front();
  const auto agrees = [&](const LayerDecision& d) { return same_config(d.config, first.config); };
  if (std::all_of(decisions.begin(), decisions.end(), agrees)) {
    if (first.source == Source::kWholeModel) return own;
    LayerDecision decision = first;
    decision.reason += fmt::format(" (for '{}'; the parts of this layer agree)", parts.front());
    return decision;
  }
  std::string list;
  for (std::size_t i = 0; i < parts.size(); ++i) list += (i == 0 ? "" : ", ") + described(parts[i], decisions[i]);
  return {nullptr, Source::kPartsDisagree, "",
          fmt::format("'{}' is fused from parts that get different configs: {}; give the parts one rule, or keep them separate",
                      prefix, list)};
}

}  // namespace torchao_cpp
