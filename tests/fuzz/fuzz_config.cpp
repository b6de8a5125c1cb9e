// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "fuzz/fuzz_target.h"
#include "torchao_cpp/quantize.h"
#include "torchao_cpp/torchao_config.h"

// JSON text of torchao's config_to_dict, of a Hugging Face quantization_config, or a shorthand.
// Holds: only Error, whatever the text is and whatever weight the config is applied to; what was
// parsed is written as text that parses to the same text again; a config that was upgraded is
// today's.
namespace torchao_cpp::fuzz {
namespace {

// A weight as small as every family can quantize: K is a multiple of the usual group sizes.
Tensor small_weight() {
  Tensor weight = Tensor::empty(DType::kFloat32, {16, 256});
  float value = -3.0F;
  for (float& w : weight.mutable_span<float>()) w = value = value > 3.0F ? -3.0F : value + 0.37F;
  return weight;
}

void quantize(const AOBaseConfig& config) {
  if (config.is_fqn_to_config()) return;
  static const Tensor weight = small_weight();
  accepts([&] {
    const QuantizeOutcome outcome = quantize_tensor(weight, config);
    hold(outcome.weight != nullptr || !outcome.reason.empty(),
         "a weight left alone without a reason");
    if (outcome.weight == nullptr) return;
    hold(outcome.weight->shape() == weight.shape(), "a quantized weight of another shape");
    outcome.weight->dequantize();
    outcome.weight->to_quantized_weight();
  });
}

void parse_config(std::string_view text) {
  accepts([&] {
    const ConfigPtr config = config_from_dict(text);
    const std::string written = config_to_dict(*config);
    ConfigPtr again;
    hold(accepts([&] { again = config_from_dict(written); }),
         "a config that was written does not parse: " + written);
    hold(config_to_dict(*again) == written,
         "a config changes when it is written and read: " + written);
    quantize(*config);
  });
}

void parse_quantization_config(std::string_view text) {
  accepts([&] {
    const TorchAOConfig config = TorchAOConfig::from_config(text);
    const std::string written = config.to_quantization_config_json();
    hold(accepts([&] {
           hold(TorchAOConfig::from_config(written).to_quantization_config_json() == written,
                "a quantization_config changes when it is written and read: " + written);
         }),
         "a quantization_config that was written does not parse: " + written);
  });
}

void upgrade(std::string_view text) {
  accepts([&] {
    std::vector<ConfigWarning> warnings;
    const std::string upgraded = upgrade_legacy_config(text, &warnings);
    hold(!warnings.empty() || upgraded == text, "a config was changed without a warning");
    hold(upgrade_legacy_config(upgraded) == upgraded,
         "an upgraded config is no config of today: " + upgraded);
  });
}

void run(std::string_view text) {
  parse_config(text);
  parse_quantization_config(text);
  upgrade(text);
  accepts([&] { TorchAOConfig::from_config_dict_json(text); });
  accepts([&] {
    if (const ConfigPtr config = config_from_shorthand(text)) quantize(*config);
  });
  // Any other text could name a file.
  if (text.starts_with('{')) accepts([&] { TorchAOConfig::from_user(text); });
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  torchao_cpp::fuzz::run(torchao_cpp::fuzz::as_text(data, size));
  return 0;
}
