// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "models/conversion.h"
#include "models/layer_selection.h"
#include "models/normal_values.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

/// make_random_model: the parameters of an architecture, named and initialised as transformers
/// does.
namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

enum class Init : std::uint8_t { kNormal, kOnes, kZeros };

struct Parameter {
  std::string fqn;
  Shape shape;
  Init init;
};

std::vector<Parameter> layer_parameters(const DecoderConfig& config, std::int64_t index) {
  const std::string prefix = layer_prefix(index);
  std::vector<Parameter> out;
  for (const DecoderLinear& linear : decoder_linears(config, index)) {
    const Shape shape{linear.output_size, linear.input_size};
    out.push_back({linear.prefix + ".weight", shape, Init::kNormal});
    if (linear.has_bias)
      out.push_back({linear.prefix + ".bias", {linear.output_size}, Init::kZeros});
  }
  if (config.architecture->has_qk_norm) {
    out.push_back({prefix + ".self_attn.q_norm.weight", {config.head_dim}, Init::kOnes});
    out.push_back({prefix + ".self_attn.k_norm.weight", {config.head_dim}, Init::kOnes});
  }
  out.push_back({prefix + ".input_layernorm.weight", {config.hidden_size}, Init::kOnes});
  out.push_back({prefix + ".post_attention_layernorm.weight", {config.hidden_size}, Init::kOnes});
  return out;
}

std::vector<Parameter> all_parameters(const DecoderConfig& config) {
  const Shape table{config.vocab_size, config.hidden_size};
  std::vector<Parameter> out{{std::string(kEmbedPrefix) + ".weight", table, Init::kNormal}};
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    std::vector<Parameter> layer = layer_parameters(config, i);
    std::move(layer.begin(), layer.end(), std::back_inserter(out));
  }
  out.push_back({"model.norm.weight", {config.hidden_size}, Init::kOnes});
  if (!config.tie_word_embeddings)
    out.push_back({std::string(kHeadPrefix) + ".weight", table, Init::kNormal});
  return out;
}

Tensor initial_values(const Parameter& parameter, DType dtype, double deviation,
                      std::uint64_t seed) {
  if (parameter.init == Init::kZeros) return Tensor::zeros(dtype, parameter.shape);
  if (parameter.init == Init::kOnes) {
    const std::vector<float> ones(static_cast<std::size_t>(shape_numel(parameter.shape)), 1.0F);
    return Tensor::from_values<float>(DType::kFloat32, parameter.shape, ones).to(dtype);
  }
  Tensor values = Tensor::empty(dtype, parameter.shape);
  fill_normal(values, deviation, normal_key(seed, parameter.fqn));
  return values;
}

}  // namespace

RandomModelReport make_random_model(const fs::path& config_file, const fs::path& destination,
                                    const RandomModelOptions& options) {
  Json json = read_json_file(config_file);
  RandomModelReport report;
  if (json.is_object() && json.contains("quantization_config")) {
    json.erase("quantization_config");
    report.notices.push_back(
        fmt::format("{}: has a quantization_config, which was left out: the weights are plain",
                    config_file.string()));
  }
  const HfConfig config = HfConfig::parse(json.dump(), config_file.string());
  const DecoderConfig decoder = DecoderConfig::from_hf_config(config);
  report.dtype = options.dtype.value_or(config.dtype.value_or(DType::kBFloat16));
  check_result_dtype(report.dtype);
  set_dtype(json, report.dtype);

  CheckpointWriter writer(destination, options.max_shard_bytes);
  for (Parameter& parameter : all_parameters(decoder)) {
    ++report.tensors;
    report.num_parameters += shape_numel(parameter.shape);
    const std::string fqn = parameter.fqn;
    const Shape shape = parameter.shape;
    writer.add(fqn, report.dtype, shape, [&, parameter = std::move(parameter)] {
      check_not_cancelled(options.cancelled);
      return initial_values(parameter, report.dtype, config.initializer_range, options.seed);
    });
  }
  report.nbytes = report.num_parameters * dtype_size_bytes(report.dtype);
  writer.add_file("config.json", dump_json_python(json, 2) + "\n");
  copy_tokenizer_files(fs::absolute(config_file).parent_path(), writer);
  writer.finish([&](std::int64_t done, std::int64_t total) {
    check_not_cancelled(options.cancelled);
    if (options.progress) options.progress("write", done, total);
  });
  return report;
}

}  // namespace torchao_cpp
