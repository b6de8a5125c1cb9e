// SPDX-License-Identifier: Apache-2.0
#include "models/stored_classes.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "models/layer_selection.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/linear.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kLeaf = ".weight";
constexpr std::string_view kEmbedLeaf = ".embed_tokens";

// The class that quantizing gives, found on zeros; empty when the config leaves such a weight alone
// or cannot quantize here. No class depends on the number of rows beyond one block of 128.
std::string class_of_zeros(const AOBaseConfig& config, const StoredClass& weight) {
  constexpr std::int64_t kRows = 128;
  try {
    const Tensor zeros =
        Tensor::zeros(weight.dtype, {std::min(weight.shape[0], kRows), weight.shape[1]});
    const QuantizedParam made = quantize_param_data(zeros, config);
    return made.weight.quantized ? std::string(made.weight.quantized->class_name()) : "";
  } catch (const Error&) {
    return "";
  }
}

/// Remembers what a config makes of a shape.
class Classes {
 public:
  const std::string& find(const AOBaseConfig& config, const StoredClass& weight) {
    std::string key = fmt::format("{} {} {}", config_to_dict(config), dtype_name(weight.dtype),
                                  shape_to_string(weight.shape));
    const auto it = known_.find(key);
    if (it != known_.end()) return it->second;
    return known_.emplace(std::move(key), class_of_zeros(config, weight)).first->second;
  }

 private:
  std::map<std::string, std::string> known_;
};

bool is_linear(const StoredClass& weight) {
  const std::string_view fqn = weight.fqn;
  if (weight.shape.size() != 2 || !fqn.ends_with(kLeaf)) return false;
  const std::string_view prefix = fqn.substr(0, fqn.size() - kLeaf.size());
  return !prefix.ends_with(kEmbedLeaf) && prefix != kHeadPrefix;
}

}  // namespace

std::vector<std::string> stored_class_notices(const TorchAOConfig& config,
                                              std::span<const StoredClass> weights) {
  Classes classes;
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> differing;
  for (const StoredClass& weight : weights) {
    if (!is_linear(weight)) continue;
    const LayerDecision decision =
        config.decide(weight.fqn.substr(0, weight.fqn.size() - kLeaf.size()));
    if (decision.config == nullptr) continue;
    const std::string& made = classes.find(*decision.config, weight);
    if (!made.empty() && made != weight.class_name)
      differing[{made, weight.class_name}].push_back(weight.fqn);
  }
  std::vector<std::string> notices;
  for (const auto& [pair, names] : differing) {
    notices.push_back(fmt::format(
        "quantization_config makes {} of '{}'{}, but stored is {}; a loader that goes by the "
        "config "
        "alone, as vLLM does, does not take it",
        pair.first, names.front(),
        names.size() == 1 ? "" : fmt::format(" and {} more", names.size() - 1), pair.second));
  }
  return notices;
}

}  // namespace torchao_cpp
