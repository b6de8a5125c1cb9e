// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "io/hf_config.h"
#include "torchao_cpp/dtype.h"

namespace torchao_cpp {

/// cos and sin of every position, computed in float32 and rounded to the compute dtype, as
/// transformers does. rope types "default", "linear" and "llama3". Source: transformers 5.19
/// modeling_rope_utils.py.
class RotaryEmbedding {
 public:
  /// `head_dim` even. Throws UnsupportedError naming the rope type or the parameter, ConfigError
  /// for a missing one.
  RotaryEmbedding(const RopeParameters& parameters, std::int64_t head_dim, std::int64_t max_length,
                  DType dtype, std::string_view where);

  /// [head_dim / 2] values; 0 <= position < max_length.
  const float* cos(std::int64_t position) const noexcept { return cos_.data() + position * half_; }
  const float* sin(std::int64_t position) const noexcept { return sin_.data() + position * half_; }

 private:
  std::int64_t half_;
  std::vector<float> cos_;
  std::vector<float> sin_;
};

/// The [head_dim / 2] inverse frequencies. Throws as the constructor does.
std::vector<float> rope_inverse_frequencies(const RopeParameters& parameters, std::int64_t head_dim,
                                            std::string_view where);

}  // namespace torchao_cpp
