// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <map>

#include "models/layer_selection.h"
#include "models/model_folder.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {
namespace {

/// Reports of linears without their values: layers are built on zeros (or on the stored quantized
/// weight), once for each different combination of shape, decision and stored form.
class Explainer {
 public:
  Explainer(const ModelFolder& folder, const LinearBuild& build)
      : folder_(folder),
        build_(build),
        loader_(folder.checkpoint, build.dtype, build.dequantize, nullptr) {
    loader_.replace_plain_by_zeros();
  }

  /// The reports of one layer's packed linears.
  void explain(const PackedLinear::Description& description) {
    std::string key =
        fmt::format("{} {} {}", description.input_size, shape_to_string(description.output_sizes),
                    rule_key(description.prefix));
    for (const std::string& prefix : description.part_prefixes)
      key += stored_key(prefix) + rule_key(prefix);
    key += stored_key(description.prefix);
    const std::vector<LinearReport>& known = find_or_make(key, [&] {
      std::vector<LinearReport> reports;
      PackedLinear(description, build_, loader_).add_reports(reports);
      return reports;
    });
    const std::string parent = description.prefix.substr(0, description.prefix.rfind('.'));
    for (const LinearReport& report : known)
      add(report, parent + report.prefix.substr(report.prefix.rfind('.')));
  }

  void explain(const DecoderLinear& linear) {
    const std::string key =
        fmt::format("{} {} {}", linear.input_size, linear.output_size, rule_key(linear.prefix)) +
        stored_key(linear.prefix);
    const std::vector<LinearReport>& known = find_or_make(key, [&] {
      const auto layer = make_row_parallel(linear, build_, is_quantized(linear.prefix));
      load_linear(*layer, build_, loader_);
      return std::vector<LinearReport>{layer->report()};
    });
    add(known.front(), linear.prefix);
  }

  void explain_head(const DecoderConfig& config) {
    const bool is_tied = config.tie_word_embeddings;
    const std::string stored(is_tied ? config.architecture->names->embed_tokens : kHeadPrefix);
    LinearBuild own = build_;
    LayerDecision decision{nullptr, LayerDecision::Source::kNoQuantization, "",
                           "the model has no quantization config"};
    if (build_.quantization != nullptr) decision = decide_head(*build_.quantization, is_tied);
    if (decision.config == nullptr) own.quantization = nullptr;
    ReplicatedLinear head(config.embedding_dim, config.vocab_size,
                          own.options(kHeadPrefix, false, is_quantized(stored)));
    head.load_weight(
        prepared_weight(loader_.take(stored + ".weight", {config.vocab_size, config.embedding_dim}),
                        own, kHeadPrefix));
    head.process_weights_after_loading();
    reports_.push_back(head.report());
    if (is_quantized(stored)) decision.reason = "the checkpoint holds it quantized";
    if (own.quantization == nullptr) reports_.back().reason = decision.reason;
  }

  std::vector<LinearReport> take_reports() { return std::move(reports_); }

 private:
  template <typename F>
  const std::vector<LinearReport>& find_or_make(const std::string& key, const F& make) {
    const auto it = known_.find(key);
    return it != known_.end() ? it->second : known_.emplace(key, make()).first->second;
  }

  void add(LinearReport report, const std::string& prefix) {
    report.prefix = prefix;
    reports_.push_back(std::move(report));
  }

  bool is_quantized(const std::string& prefix) const {
    const std::string name = loader_.class_name(prefix + ".weight");
    return !name.empty() && name != "Tensor";
  }

  std::string rule_key(const std::string& prefix) const {
    if (build_.quantization == nullptr) return "-";
    const LayerDecision decision = build_.quantization->decide(prefix);
    return fmt::format("|{}|{}|{}|{}", static_cast<int>(decision.source), decision.rule,
                       decision.reason, decision.config ? config_to_dict(*decision.config) : "");
  }

  std::string stored_key(const std::string& prefix) const {
    const std::string fqn = prefix + ".weight";
    if (!loader_.contains(fqn)) return "|absent";
    const CheckpointEntry entry = folder_.checkpoint.entry(fqn);
    if (!entry.parts) return fmt::format("|{}", dtype_name(entry.plain.dtype()));
    return "|" + entry.parts->class_name +
           loaded_weight_from_parts(*entry.parts, fqn).quantized->describe();
  }

  const ModelFolder& folder_;
  const LinearBuild& build_;
  WeightLoader loader_;
  std::map<std::string, std::vector<LinearReport>> known_;
  std::vector<LinearReport> reports_;
};

}  // namespace

std::vector<LinearReport> explain_model(const std::filesystem::path& directory,
                                        const ModelOptions& options,
                                        std::vector<std::string>* notices) {
  const ModelFolder folder = ModelFolder::open(directory);
  const DecoderConfig config = DecoderConfig::from_hf_config(folder.config);
  const ModelQuantization quantization = resolve_quantization(
      folder, options.quantization ? &*options.quantization : nullptr, options.selection_mode);
  if (notices != nullptr)
    notices->insert(notices->end(), quantization.notices.begin(), quantization.notices.end());
  const LinearBuild build = LinearBuild::make(folder, options, quantization);
  Explainer explainer(folder, build);
  const std::vector<DecoderLinear> outer = projections(config);
  if (!outer.empty()) explainer.explain(outer.front());
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    const std::vector<DecoderLinear> linears = decoder_linears(config, i);
    explainer.explain(qkv_proj_of(config, i));
    explainer.explain(linears[kO]);
    explainer.explain(mlp_in_of(config, i));
    explainer.explain(linears.back());
  }
  if (!outer.empty()) explainer.explain(outer.back());
  explainer.explain_head(config);
  return explainer.take_reports();
}

}  // namespace torchao_cpp
