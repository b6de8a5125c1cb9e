// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "io/checkpoint_source.h"

namespace torchao_cpp {

/// A model that was saved without its head, as the published OPT models were, has names without
/// the leading "model."; of such a source one with the names that it has with the head, any other
/// source itself. `embed_tokens`: name of the embedding with the head.
/// Source: base_model_prefix of transformers, hf_to_vllm_mapper of vLLM's opt.py.
std::unique_ptr<const CheckpointSource> with_model_prefix(
    std::unique_ptr<const CheckpointSource> source, std::string_view embed_tokens);

}  // namespace torchao_cpp
