// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "models/decoder_ops.h"
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

void check_finite(float largest) {
  if (std::isfinite(largest)) return;
  throw Error(
      "the logits hold NaN or infinity: the weights, or their quantization, overflow the compute "
      "dtype; try bfloat16 or float32",
      "not_finite");
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, std::int64_t vocab_size)
    : params_(params), random_(params.seed) {
  check_params(params);
  if (params_.temperature == 0) return;
  weights_.resize(static_cast<std::size_t>(vocab_size));
  if (is_cut()) order_.reserve(static_cast<std::size_t>(vocab_size));
}

std::int32_t Sampler::take_best(const BestLogit& best) {
  check_finite(best.logit);
  return best.id;
}

std::int32_t Sampler::next(std::span<const float> logits) {
  const float largest = largest_logit(logits);
  check_finite(largest);
  if (is_greedy()) {
    return static_cast<std::int32_t>(std::find(logits.begin(), logits.end(), largest) -
                                     logits.begin());
  }
  logit_weights(logits, largest, params_.temperature, weights_.data());
  if (is_cut()) return sample_cut(logits);
  const double total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
  double threshold = uniform() * total;
  std::int32_t last = 0;
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] == 0) continue;
    last = static_cast<std::int32_t>(i);
    threshold -= static_cast<double>(weights_[i]);
    if (threshold < 0) break;
  }
  return last;
}

double Sampler::uniform() { return static_cast<double>(random_() >> 11) * 0x1p-53; }

// The ids whose weights are at least `least`, best first.
void Sampler::order_above(std::span<const float> logits, float least) {
  order_.clear();
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] >= least) order_.push_back(static_cast<std::int32_t>(i));
  }
  std::sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
    const float x = logits[static_cast<std::size_t>(a)];
    const float y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  });
}

std::int32_t Sampler::sample_cut(std::span<const float> logits) {
  const std::size_t most = params_.top_k > 0
                               ? std::min(weights_.size(), static_cast<std::size_t>(params_.top_k))
                               : weights_.size();
  double total = params_.top_k > 0 ? 0 : std::accumulate(weights_.begin(), weights_.end(), 0.0);
  // Few ids hold nearly all of the weight: only those above a bound are sorted, and the bound falls
  // until they are enough.
  for (float least = 1e-2f;; least = least > 1e-30f ? least * 1e-3f : 0) {
    order_above(logits, least);
    if (order_.size() >= most) {
      order_.resize(most);
      if (params_.top_k > 0) total = weight_of(most);
      break;
    }
    if (params_.top_k == 0 && weight_of(order_.size()) >= params_.top_p * total) break;
  }
  double kept = 0;
  std::size_t nucleus = 0;
  while (nucleus < order_.size() && (nucleus == 0 || kept < params_.top_p * total))
    kept += weight_at(nucleus++);
  double threshold = uniform() * kept;
  for (std::size_t i = 0; i < nucleus; ++i) {
    threshold -= weight_at(i);
    if (threshold < 0) return order_[i];
  }
  return order_[nucleus - 1];
}

double Sampler::weight_at(std::size_t rank) const {
  return static_cast<double>(weights_[static_cast<std::size_t>(order_[rank])]);
}

double Sampler::weight_of(std::size_t count) const {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += weight_at(i);
  return sum;
}

}  // namespace torchao_cpp
