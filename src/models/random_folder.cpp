// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <mutex>
#include <string>

#include "base/json.h"
#include "io/checkpoint_source.h"
#include "models/model_folder.h"
#include "models/random_parameters.h"

namespace torchao_cpp {
namespace {

/// Plain weights that are made when they are asked for. Those of a layer are those of every other,
/// so that one layer is all that is made and held.
class RandomSource final : public CheckpointSource {
 public:
  explicit RandomSource(const HfConfig& config)
      : RandomSource(config, DecoderConfig::from_hf_config(config)) {}

  CheckpointEntry entry(std::size_t index) const override {
    const RandomParameter& parameter = parameters_[index];
    const std::string_view name = name_in_layer(parameter.fqn);
    const std::scoped_lock lock(mutex_);
    auto found = made_.find(name);
    if (found == made_.end()) {
      found = made_.emplace(name, parameter.values(dtype_, deviation_, 0, name)).first;
    }
    return {parameter.fqn, found->second, std::nullopt, {}};
  }

 private:
  RandomSource(const HfConfig& config, const DecoderConfig& decoder)
      : dtype_(config.dtype.value_or(DType::kBFloat16)),
        deviation_(decoder.initializer_range),
        layers_(std::string(decoder.architecture->names->layers) + "."),
        parameters_(random_parameters(decoder)) {
    for (const RandomParameter& parameter : parameters_) {
      names.push_back(parameter.fqn);
      nbytes += shape_numel(parameter.shape) * dtype_size_bytes(dtype_);
    }
  }

  // "mlp.up_proj.weight" of any layer.
  std::string_view name_in_layer(std::string_view fqn) const {
    if (!fqn.starts_with(layers_)) return fqn;
    fqn.remove_prefix(layers_.size());
    return fqn.substr(fqn.find('.') + 1);
  }

  DType dtype_;
  double deviation_;
  std::string layers_;  ///< What the names of every layer's parameters begin with.
  std::vector<RandomParameter> parameters_;
  mutable std::mutex mutex_;
  mutable std::map<std::string_view, Tensor> made_;
};

}  // namespace

ModelFolder ModelFolder::with_random_weights(const std::filesystem::path& config_file) {
  Json json = read_json_file(config_file);
  if (json.is_object()) json.erase("quantization_config");
  HfConfig config = HfConfig::parse(json.dump(), config_file.string());
  auto source = std::make_unique<const RandomSource>(config);
  return {config_file, std::move(config), Checkpoint(std::move(source), config_file.string())};
}

}  // namespace torchao_cpp
