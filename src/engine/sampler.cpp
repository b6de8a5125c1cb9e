// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

void check_params(const SamplingParams& p) {
  if (!(p.temperature >= 0) || !std::isfinite(p.temperature)) {
    throw Error(fmt::format("temperature is {}; expected 0 (greedy) or more", p.temperature),
                "sampling");
  }
  if (p.top_k < 0)
    throw Error(fmt::format("top_k is {}; expected 0 (all) or more", p.top_k), "sampling");
  if (!(p.top_p > 0) || !(p.top_p <= 1)) {
    throw Error(fmt::format("top_p is {}; expected a number above 0 and at most 1", p.top_p),
                "sampling");
  }
  if (p.max_new_tokens < 1)
    throw Error(fmt::format("max_new_tokens is {}; expected at least 1", p.max_new_tokens),
                "sampling");
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, std::int64_t vocab_size)
    : params_(params), random_(params.seed) {
  check_params(params);
  if (params_.temperature == 0) return;
  order_.resize(static_cast<std::size_t>(vocab_size));
  probability_.resize(static_cast<std::size_t>(vocab_size));
}

std::int32_t Sampler::next(std::span<const float> logits) {
  std::size_t best = 0;
  bool has_nan = false;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    has_nan = has_nan || std::isnan(logits[i]);
    if (logits[i] > logits[best]) best = i;
  }
  if (has_nan || !std::isfinite(logits[best])) {
    throw Error(
        "the logits hold NaN or infinity: the weights, or their quantization, overflow the compute "
        "dtype; try bfloat16 or float32",
        "not_finite");
  }
  return params_.temperature == 0 ? static_cast<std::int32_t>(best) : sample(logits, logits[best]);
}

std::int32_t Sampler::sample(std::span<const float> logits, float largest) {
  std::iota(order_.begin(), order_.end(), 0);
  const auto is_before = [&](std::int32_t a, std::int32_t b) {
    const float x = logits[static_cast<std::size_t>(a)];
    const float y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  std::size_t count = order_.size();
  if (params_.top_k > 0) count = std::min(count, static_cast<std::size_t>(params_.top_k));
  std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(count),
                    order_.end(), is_before);

  double total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double difference = static_cast<double>(logits[static_cast<std::size_t>(order_[i])]) -
                              static_cast<double>(largest);
    probability_[i] = std::exp(difference / params_.temperature);
    total += probability_[i];
  }
  double kept = 0;
  std::size_t nucleus = 0;
  while (nucleus < count && (nucleus == 0 || kept < params_.top_p * total))
    kept += probability_[nucleus++];

  const double uniform = static_cast<double>(random_() >> 11) * 0x1p-53;  // [0, 1)
  double threshold = uniform * kept;
  for (std::size_t i = 0; i < nucleus; ++i) {
    threshold -= probability_[i];
    if (threshold < 0) return order_[i];
  }
  return order_[nucleus - 1];
}

}  // namespace torchao_cpp
