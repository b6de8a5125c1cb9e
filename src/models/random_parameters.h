// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/decoder_config.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// A parameter of an untrained model, initialised as transformers does.
struct RandomParameter {
  enum class Init : std::uint8_t { kNormal, kOnes, kZeros };

  std::string fqn;
  Shape shape;
  Init init = Init::kNormal;

  /// kNormal: of normal(0, deviation); they depend on `seed` and `name` alone.
  Tensor values(DType dtype, double deviation, std::uint64_t seed, std::string_view name) const;
};

/// All of a decoder, under the names of transformers.
std::vector<RandomParameter> random_parameters(const DecoderConfig& config);

}  // namespace torchao_cpp
