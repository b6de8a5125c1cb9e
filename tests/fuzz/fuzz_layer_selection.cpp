// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "fuzz/fuzz_target.h"
#include "torchao_cpp/torchao_config.h"

// A config (torchao's dict or a quantization_config) and, behind the first 0xff, the name of a
// layer. Holds: only Error; a decision has a reason; a name in the skip list is skipped in both
// modes.
namespace torchao_cpp::fuzz {
namespace {

using Source = LayerDecision::Source;

void decide(const TorchAOConfig& config, std::string_view prefix) {
  accepts([&] {
    const LayerDecision decision = config.decide(prefix);
    hold(!decision.reason.empty(), "a decision without a reason");
    const bool has_no_config = decision.source == Source::kSkipped ||
                               decision.source == Source::kNoRule ||
                               decision.source == Source::kPartsDisagree;
    hold(!has_no_config || decision.config == nullptr, "a layer that is left alone has a config");
  });
  const TorchAOConfig skipping = config.with_skip_modules({std::string(prefix)});
  hold(skipping.decide(prefix).source == Source::kSkipped,
       "a name in the skip list is not skipped");
}

void run(std::string_view text, std::string_view prefix) {
  TorchAOConfig config = text.find("quant_type") != std::string_view::npos
                             ? TorchAOConfig::from_config(text)
                             : TorchAOConfig::from_config_dict_json(text);
  config.set_packed_modules_mapping(
      {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}}, {"gate_up_proj", {"gate_proj", "up_proj"}}});
  for (const SelectionMode mode : {SelectionMode::kPackedModules, SelectionMode::kVllm}) {
    config.set_selection_mode(mode);
    decide(config, prefix);
    decide(config, "model.layers.0.self_attn.qkv_proj");
  }
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp::fuzz;
  const auto [text, prefix] = split(as_text(data, size));
  accepts([&, text = text, prefix = prefix] { run(text, prefix); });
  return 0;
}
