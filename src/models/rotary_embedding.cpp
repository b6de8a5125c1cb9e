// SPDX-License-Identifier: Apache-2.0
#include "models/rotary_embedding.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "core/float_formats.h"
#include "models/quoted_list.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

double required(const RopeParameters& parameters, std::string_view key, std::string_view where) {
  const auto it = parameters.numbers.find(key);
  if (it == parameters.numbers.end()) {
    throw ConfigError(
        fmt::format("{}: rope type '{}' has no '{}'", where, parameters.rope_type, key),
        "missing_field");
  }
  if (!(it->second > 0) || !std::isfinite(it->second)) {
    throw ConfigError(fmt::format("{}: rope parameter '{}' is {}; expected a number above 0", where,
                                  key, it->second),
                      "validation");
  }
  return it->second;
}

void scale_linear(const RopeParameters& parameters, std::string_view where,
                  std::vector<float>& inv_freq) {
  const auto factor = static_cast<float>(required(parameters, "factor", where));
  for (float& f : inv_freq) f /= factor;
}

// Long wavelengths are divided by the factor, short ones kept, those between interpolated; in
// float32 as the reference.
void scale_llama3(const RopeParameters& parameters, std::string_view where,
                  std::vector<float>& inv_freq) {
  const auto factor = static_cast<float>(required(parameters, "factor", where));
  const double low_freq_factor = required(parameters, "low_freq_factor", where);
  const double high_freq_factor = required(parameters, "high_freq_factor", where);
  const double old_length = required(parameters, "original_max_position_embeddings", where);
  if (high_freq_factor <= low_freq_factor) {
    throw ConfigError(
        fmt::format(
            "{}: rope parameter 'high_freq_factor' is {}; expected more than 'low_freq_factor', {}",
            where, high_freq_factor, low_freq_factor),
        "validation");
  }
  const auto low_wavelength = static_cast<float>(old_length / low_freq_factor);
  const auto high_wavelength = static_cast<float>(old_length / high_freq_factor);
  const auto low = static_cast<float>(low_freq_factor);
  const auto range = static_cast<float>(high_freq_factor - low_freq_factor);
  for (float& f : inv_freq) {
    const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / f;
    if (wavelength > low_wavelength) {
      f /= factor;
    } else if (!(wavelength < high_wavelength)) {
      const float smooth = (static_cast<float>(old_length) / wavelength - low) / range;
      f = (1.0f - smooth) * f / factor + smooth * f;
    }
  }
}

void check_supported(const RopeParameters& parameters, std::string_view where) {
  if (!parameters.other_keys.empty()) {
    throw UnsupportedError(fmt::format("{}: rope parameters {} are not supported", where,
                                       quoted_list(parameters.other_keys)));
  }
  const auto partial = parameters.numbers.find("partial_rotary_factor");
  if (partial != parameters.numbers.end() && partial->second != 1.0) {
    throw UnsupportedError(
        fmt::format("{}: rope parameter 'partial_rotary_factor' is {}; only 1 is supported", where,
                    partial->second));
  }
}

}  // namespace

std::vector<float> rope_inverse_frequencies(const RopeParameters& parameters, std::int64_t head_dim,
                                            std::string_view where) {
  check_supported(parameters, where);
  if (head_dim % 2 != 0) {
    throw ConfigError(
        fmt::format("{}: head_dim is {}; rotary embeddings need an even one", where, head_dim),
        "validation");
  }
  std::vector<float> inv_freq(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t i = 0; i < inv_freq.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    inv_freq[i] =
        1.0f / static_cast<float>(std::pow(parameters.rope_theta, static_cast<double>(exponent)));
  }
  if (parameters.rope_type == "linear") {
    scale_linear(parameters, where, inv_freq);
  } else if (parameters.rope_type == "llama3") {
    scale_llama3(parameters, where, inv_freq);
  } else if (parameters.rope_type != "default") {
    throw UnsupportedError(
        fmt::format("{}: rope type '{}' is not supported; supported: 'default', 'linear', 'llama3'",
                    where, parameters.rope_type));
  }
  return inv_freq;
}

RotaryEmbedding::RotaryEmbedding(const RopeParameters& parameters, std::int64_t head_dim,
                                 std::int64_t max_length, DType dtype, std::string_view where)
    : half_(head_dim / 2) {
  const std::vector<float> inv_freq = rope_inverse_frequencies(parameters, head_dim, where);
  cos_.reserve(static_cast<std::size_t>(max_length * half_));
  sin_.reserve(static_cast<std::size_t>(max_length * half_));
  for (std::int64_t position = 0; position < max_length; ++position) {
    for (const float f : inv_freq) {
      const float angle = static_cast<float>(position) * f;
      cos_.push_back(round_to(dtype, static_cast<float>(std::cos(static_cast<double>(angle)))));
      sin_.push_back(round_to(dtype, static_cast<float>(std::sin(static_cast<double>(angle)))));
    }
  }
}

}  // namespace torchao_cpp
