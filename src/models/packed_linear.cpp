// SPDX-License-Identifier: Apache-2.0
#include "models/packed_linear.h"

#include <fmt/format.h>

#include <algorithm>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// Different classes (or plain beside quantized) cannot be one fused weight.
bool classes_differ(const PackedLinear::Description& description, const WeightLoader& loader) {
  const std::string first = loader.class_name(description.part_prefixes.front() + ".weight");
  return std::any_of(
      description.part_prefixes.begin(), description.part_prefixes.end(),
      [&](const std::string& prefix) { return loader.class_name(prefix + ".weight") != first; });
}

bool is_quantized_class(const std::string& class_name) {
  return !class_name.empty() && class_name != "Tensor";
}

}  // namespace

LinearBuild LinearBuild::make(const ModelFolder& folder, const ModelOptions& options,
                              const ModelQuantization& quantization) {
  LinearBuild out;
  out.dtype = options.dtype.value_or(folder.config.dtype.value_or(DType::kFloat32));
  if (!is_high_precision(out.dtype)) {
    throw UnsupportedError(fmt::format("compute dtype {}: expected float32, float16 or bfloat16",
                                       dtype_name(out.dtype)));
  }
  out.quantization = quantization.config ? &*quantization.config : nullptr;
  out.is_serialized = quantization.is_serialized;
  out.dequantize = options.dequantize_weights;
  out.force_kernel = options.force_kernel;
  out.device = options.device;
  return out;
}

LinearOptions LinearBuild::options(std::string prefix, bool has_bias,
                                   bool is_stored_quantized) const {
  LinearOptions out;
  out.bias = has_bias;
  out.params_dtype = dtype;
  // A module of a quantized checkpoint is quantized exactly where its weight is, whatever the rules
  // say.
  const bool obeys_rules =
      quantization != nullptr && (!is_serialized || is_stored_quantized) && !dequantize;
  out.quant_config = obeys_rules ? quantization : nullptr;
  out.prefix = std::move(prefix);
  out.force_kernel = force_kernel;
  out.device = device;
  return out;
}

LoadedWeight prepared_weight(LoadedWeight weight, const LinearBuild& build,
                             const std::string& prefix) {
  const bool quantize_here = build.dequantize && build.quantization != nullptr &&
                             !build.is_serialized && !weight.quantized;
  if (!quantize_here) return weight;
  const LayerDecision decision = build.quantization->decide(prefix);
  if (decision.config == nullptr) return weight;
  const LoadedWeight quantized = quantize_param_data(weight.plain, *decision.config).weight;
  if (quantized.quantized) weight.plain = quantized.quantized->dequantize(build.dtype);
  return weight;
}

void load_linear(LinearBase& layer, const LinearBuild& build, WeightLoader& loader) {
  const Shape shape{layer.output_size(), layer.input_size()};
  layer.load_weight(
      prepared_weight(loader.take(layer.prefix() + ".weight", shape), build, layer.prefix()));
  if (layer.has_bias())
    layer.load_bias(loader.take_plain(layer.prefix() + ".bias", {layer.output_size()}));
  layer.process_weights_after_loading();
}

PackedLinear::PackedLinear(const Description& description, const LinearBuild& build,
                           WeightLoader& loader)
    : dtype_(build.dtype) {
  for (const std::int64_t size : description.output_sizes) {
    offsets_.push_back(total_);
    total_ += size;
  }
  const std::string fused_class = loader.class_name(description.prefix + ".weight");
  const std::string part_class = loader.class_name(description.part_prefixes.front() + ".weight");
  const bool is_one = description.part_prefixes.front() == description.prefix;
  if (!is_one && !fused_class.empty() && !part_class.empty()) {
    throw CheckpointError(
        fmt::format("weight '{}.weight' is in the checkpoint twice: also as its part '{}.weight'",
                    description.prefix, description.part_prefixes.front()),
        "duplicate");
  }
  const bool is_stored_fused = !fused_class.empty();
  const bool rules_disagree = build.quantization != nullptr && !build.is_serialized &&
                              build.quantization->decide(description.prefix).source ==
                                  LayerDecision::Source::kPartsDisagree;
  is_fused_ = is_stored_fused || !(rules_disagree || classes_differ(description, loader));
  if (is_fused_) {
    load_fused(description, build, loader,
               is_quantized_class(is_stored_fused ? fused_class : part_class));
  } else {
    load_apart(description, build, loader);
  }
}

void PackedLinear::load_fused(const Description& description, const LinearBuild& build,
                              WeightLoader& loader, bool is_stored_quantized) {
  LinearBuild own = build;
  // Weights of one class can still come from rules that disagree; the stored weights decide.
  if (build.is_serialized && build.quantization != nullptr &&
      build.quantization->decide(description.prefix).source ==
          LayerDecision::Source::kPartsDisagree) {
    own.quantization = nullptr;
  }
  linears_.push_back(description.make_fused(
      own.options(description.prefix, description.has_bias, is_stored_quantized)));
  LinearBase& layer = *linears_.front();
  if (loader.contains(description.prefix + ".weight")) {
    load_linear(layer, build, loader);
    return;
  }
  for (std::size_t i = 0; i < description.part_prefixes.size(); ++i) {
    const std::string& prefix = description.part_prefixes[i];
    const Shape shape{description.output_sizes[i], description.input_size};
    layer.load_weight(prepared_weight(loader.take(prefix + ".weight", shape), build, prefix),
                      static_cast<ShardId>(i));
    if (description.has_bias) {
      layer.load_bias(loader.take_plain(prefix + ".bias", {description.output_sizes[i]}),
                      static_cast<ShardId>(i));
    }
  }
  layer.process_weights_after_loading();
}

void PackedLinear::load_apart(const Description& description, const LinearBuild& build,
                              WeightLoader& loader) {
  for (std::size_t i = 0; i < description.part_prefixes.size(); ++i) {
    const std::string& prefix = description.part_prefixes[i];
    const bool is_stored_quantized = is_quantized_class(loader.class_name(prefix + ".weight"));
    linears_.push_back(std::make_unique<ColumnParallelLinear>(
        description.input_size, description.output_sizes[i],
        build.options(prefix, description.has_bias, is_stored_quantized)));
    load_linear(*linears_.back(), build, loader);
  }
}

void PackedLinear::apply(const void* x, std::int64_t m, void* y,
                         const LinearContext& context) const noexcept {
  auto* out = static_cast<std::byte*>(y);
  for (const auto& linear : linears_) {
    linear->apply(x, m, out, context);
    out += m * linear->output_size_per_partition() * dtype_size_bytes(dtype_);
  }
}

RowView PackedLinear::part(std::size_t index, const void* y, std::int64_t m) const noexcept {
  const auto* base = static_cast<const std::byte*>(y);
  const std::int64_t element = dtype_size_bytes(dtype_);
  if (is_fused_) return {base + offsets_[index] * element, total_};
  return {base + offsets_[index] * m * element, linears_[index]->output_size_per_partition()};
}

std::int64_t PackedLinear::workspace_bytes(std::int64_t m) const noexcept {
  std::int64_t most = 0;
  for (const auto& linear : linears_) most = std::max(most, linear->workspace_bytes(m));
  return most;
}

void PackedLinear::add_reports(std::vector<LinearReport>& reports) const {
  for (const auto& linear : linears_) reports.push_back(linear->report());
}

}  // namespace torchao_cpp
