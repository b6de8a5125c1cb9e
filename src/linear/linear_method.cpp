// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "linear/linear_layer.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

/// What both methods share: the decision, and running what finish() packed.
class LinearMethodOfDecision : public LinearMethod {
 public:
  explicit LinearMethodOfDecision(LayerDecision decision) : decision_(std::move(decision)) {}

  const LayerDecision& decision() const noexcept override { return decision_; }

  void create_weights(LinearBase& layer, std::int64_t input_size_per_partition,
                      std::span<const std::int64_t> output_partition_sizes,
                      std::int64_t /*input_size*/, std::int64_t /*output_size*/,
                      DType params_dtype) override {
    LinearLayerAccess::of(layer).create(input_size_per_partition, output_partition_sizes,
                                        params_dtype);
  }

  void apply(const LinearBase& layer, const void* x, std::int64_t m, void* y,
             const LinearContext& context) const noexcept override {
    LinearLayerAccess::of(layer).apply(x, m, y, context);
  }

 protected:
  LayerDecision decision_;
};

/// The weight as it came; one that the checkpoint holds quantized runs quantized.
class UnquantizedLinearMethod final : public LinearMethodOfDecision {
 public:
  using LinearMethodOfDecision::LinearMethodOfDecision;

  std::string_view name() const noexcept override {
    return is_stored_quantized_ ? "TorchAOLinearMethod" : "UnquantizedLinearMethod";
  }

  void process_weights_after_loading(LinearBase& layer) override {
    auto& state = LinearLayerAccess::of(layer);
    is_stored_quantized_ =
        std::any_of(state.pieces.begin(), state.pieces.end(),
                    [](const auto& piece) { return piece.weight.quantized != nullptr; });
    if (is_stored_quantized_) decision_.reason = "the checkpoint holds it quantized";
    state.finish();
  }

 private:
  bool is_stored_quantized_ = false;
};

/// The weight as the checkpoint holds it, or quantized here by the config.
class TorchAOLinearMethod final : public LinearMethodOfDecision {
 public:
  TorchAOLinearMethod(LayerDecision decision, bool is_checkpoint_torchao_serialized)
      : LinearMethodOfDecision(std::move(decision)),
        is_serialized_(is_checkpoint_torchao_serialized) {}

  std::string_view name() const noexcept override { return "TorchAOLinearMethod"; }

  void process_weights_after_loading(LinearBase& layer) override {
    auto& state = LinearLayerAccess::of(layer);
    for (auto& piece : state.pieces) {
      if (piece.weight.quantized) continue;
      if (is_serialized_) {
        state.left_plain_reason = "the checkpoint holds it plain";
        continue;
      }
      // Parts are quantized one by one, as torchao quantizes the model before it is fused.
      QuantizedParam result = quantize_param_data(piece.weight.plain, *decision_.config);
      piece.weight = std::move(result.weight);
      if (!result.reason.empty()) state.left_plain_reason = std::move(result.reason);
      if (!result.notice.empty()) state.notice = std::move(result.notice);
    }
    state.finish();
  }

 private:
  bool is_serialized_;
};

}  // namespace

std::unique_ptr<LinearMethod> make_unquantized_linear_method(LayerDecision decision) {
  return std::make_unique<UnquantizedLinearMethod>(std::move(decision));
}

std::unique_ptr<LinearMethod> get_quant_method(const TorchAOConfig& config,
                                               std::string_view prefix) {
  LayerDecision decision = config.decide(prefix);
  if (decision.source == LayerDecision::Source::kPartsDisagree) {
    throw ConfigError(fmt::format("layer '{}': {}; a fused layer needs one config: make the rules "
                                  "agree or keep its parts "
                                  "as separate linears",
                                  prefix, decision.reason),
                      "validation");
  }
  if (decision.config == nullptr) return make_unquantized_linear_method(std::move(decision));
  return std::make_unique<TorchAOLinearMethod>(std::move(decision),
                                               config.is_checkpoint_torchao_serialized());
}

QuantizedParam quantize_param_data(const Tensor& weight, const AOBaseConfig& config) {
  QuantizeOutcome outcome = quantize_tensor(weight, config);
  if (outcome.weight)
    return {{Tensor{}, std::move(outcome.weight)}, {}, std::move(outcome.notice)};
  return {{weight, nullptr}, std::move(outcome.reason), {}};
}

}  // namespace torchao_cpp
