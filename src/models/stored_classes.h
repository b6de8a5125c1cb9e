// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/tensor.h"
#include "torchao_cpp/torchao_config.h"

namespace torchao_cpp {

/// True for a class that torchao 0.18 puts into safetensors: with any other it neither saves nor
/// loads a model. Source: prototype/safetensors/safetensors_utils.py.
bool is_flattened_class(std::string_view class_name) noexcept;

/// What a checkpoint says of one quantized weight.
struct StoredClass {
  std::string fqn;
  std::string class_name;
  Shape shape;
  DType dtype = DType::kBFloat16;
};

/// One sentence for each pair of classes where `config` would make another class of a linear's
/// weight than the one it is stored as. Embeddings, the output head, and weights that the config
/// does not quantize here are not looked at.
std::vector<std::string> stored_class_notices(const TorchAOConfig& config,
                                              std::span<const StoredClass> weights);

}  // namespace torchao_cpp
