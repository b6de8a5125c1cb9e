// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "models/conversion.h"
#include "models/layer_selection.h"
#include "models/stored_classes.h"
#include "torchao_cpp/error.h"

/// quantize_model and dequantize_model: a checkpoint in, a checkpoint out, one weight at a time.
namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPlainClass = "Tensor";

Tensor converted(const Tensor& tensor, std::optional<DType> dtype) {
  return dtype && is_high_precision(tensor.dtype()) ? tensor.to(*dtype) : tensor;
}

// fqn of every weight that may be quantized -> what is decided for it.
std::map<std::string, LayerDecision, std::less<>> decide_weights(
    const DecoderConfig& config, const TorchAOConfig& quantization) {
  std::map<std::string, LayerDecision, std::less<>> out;
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    for (const DecoderLinear& linear : decoder_linears(config, i))
      out.emplace(linear.prefix + ".weight", quantization.decide(linear.prefix));
  }
  for (const DecoderLinear& linear : projections(config))
    out.emplace(linear.prefix + ".weight", quantization.decide(linear.prefix));
  out.emplace(std::string(kHeadPrefix) + ".weight",
              decide_head(quantization, config.tie_word_embeddings));
  // A tied head would have to be quantized with the embedding.
  const std::string_view embed_tokens = config.architecture->names->embed_tokens;
  LayerDecision embedding = decide_embedding(quantization, embed_tokens);
  if (embedding.config != nullptr && config.tie_word_embeddings) {
    embedding.config = nullptr;
    embedding.reason = "the embedding is tied to the output head, which stays unquantized";
  }
  out.emplace(std::string(embed_tokens) + ".weight", std::move(embedding));
  return out;
}

ConvertReport::Row quantize_entry(Conversion& conversion, const CheckpointEntry& entry,
                                  const Tensor& weight, const LayerDecision& decision) {
  ConvertReport::Row row{entry.fqn, kPlainClass, decision.reason, entry.plain.nbytes(),
                         weight.nbytes()};
  if (decision.config != nullptr) {
    const QuantizedParam result = quantize_param_data(weight, *decision.config);
    if (result.weight.quantized) {
      row.weight_class = result.weight.quantized->class_name();
      row.bytes_after = result.weight.quantized->nbytes();
      if (!result.notice.empty()) row.reason += "; " + result.notice;
      conversion.add_quantized(entry.fqn, result.weight.quantized->to_parts());
      return row;
    }
    row.reason = result.reason;
  }
  conversion.add_plain(entry.fqn, weight);
  return row;
}

// Written for us alone; said once for each class.
void add_unloadable_notices(ConvertReport& report) {
  std::set<std::string> classes;
  for (const ConvertReport::Row& row : report.rows) {
    if (row.weight_class != kPlainClass && !is_safetensors_serializable(row.weight_class))
      classes.insert(row.weight_class);
  }
  for (const std::string& name : classes) {
    report.notices.push_back(fmt::format(
        "{} is not among the classes that torchao 0.18 loads from safetensors; only torchao.cpp "
        "reads the result",
        name));
  }
}

ConvertReport finished(Conversion& conversion, const Json& config, ConvertReport report) {
  conversion.finish(config);
  report.bytes_before = conversion.bytes_before();
  report.bytes_after = conversion.bytes_after();
  return report;
}

// transformers leaves the head out by itself only while modules_to_not_convert is null.
TorchAOConfig with_head_skipped(const TorchAOConfig& quantization, bool is_head_quantized) {
  const Json written = Json::parse(quantization.to_quantization_config_json(-1));
  const Json& skips = written.at("modules_to_not_convert");
  if (is_head_quantized || skips.is_null() ||
      std::find(skips.begin(), skips.end(), kHeadPrefix) != skips.end())
    return quantization;
  return quantization.with_skip_modules({kHeadPrefix});
}

}  // namespace

ConvertReport quantize_model(const fs::path& source, const fs::path& destination,
                             const ConvertOptions& options) {
  check_result_dtype(options.dtype);
  if (options.quantization.torchao_config() == nullptr)
    throw ConfigError("no quantization config is given", "validation");
  const ModelFolder folder = ModelFolder::open(source);
  const DecoderConfig decoder = DecoderConfig::from_hf_config(folder.config);
  if (folder.checkpoint.is_torchao_serialized()) {
    throw ConfigError(fmt::format("{}: the checkpoint is already quantized; start from the "
                                  "unquantized model, or dequantize it first",
                                  source.string()),
                      "validation");
  }
  const TorchAOConfig quantization = as_on_the_fly(options.quantization);
  const auto decisions = decide_weights(decoder, quantization);

  Conversion conversion(folder, destination, "quantize", options.progress, options.cancelled);
  ConvertReport report;
  conversion.for_each_entry([&](const CheckpointEntry& entry) {
    if (conversion.is_tied_head(entry.fqn)) return;
    const Tensor weight = converted(entry.plain, options.dtype);
    const auto decision = decisions.find(entry.fqn);
    if (decision == decisions.end()) {
      conversion.add_plain(entry.fqn, weight);
    } else {
      report.rows.push_back(quantize_entry(conversion, entry, weight, decision->second));
    }
  });
  add_unloadable_notices(report);
  Json config = read_json_file(source / "config.json");
  if (options.dtype) set_dtype(config, *options.dtype);
  const bool is_head_quantized =
      decisions.find(std::string(kHeadPrefix) + ".weight")->second.config != nullptr;
  config["quantization_config"] = Json::parse(
      with_head_skipped(quantization, is_head_quantized).to_quantization_config_json(-1));
  return finished(conversion, config, std::move(report));
}

ConvertReport dequantize_model(const fs::path& source, const fs::path& destination,
                               std::optional<DType> dtype, const ProgressCallback& progress,
                               const std::atomic<bool>* cancelled) {
  check_result_dtype(dtype);
  const ModelFolder folder = ModelFolder::open(source);
  Conversion conversion(folder, destination, "dequantize", progress, cancelled);
  ConvertReport report;
  conversion.for_each_entry([&](const CheckpointEntry& entry) {
    if (conversion.is_tied_head(entry.fqn)) return;
    if (!entry.parts) {
      conversion.add_plain(entry.fqn, converted(entry.plain, dtype));
      return;
    }
    const WeightTensorPtr weight = loaded_weight_from_parts(*entry.parts, entry.fqn).quantized;
    const Tensor plain = converted(weight->dequantize(), dtype);
    report.rows.push_back({entry.fqn, std::string(weight->class_name()),
                           fmt::format("dequantized to {}", dtype_name(plain.dtype())),
                           weight->nbytes(), plain.nbytes()});
    conversion.add_plain(entry.fqn, plain);
  });
  Json config = read_json_file(source / "config.json");
  if (dtype) set_dtype(config, *dtype);
  config.erase("quantization_config");
  return finished(conversion, config, std::move(report));
}

}  // namespace torchao_cpp
