// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

const std::vector<float> kLogits{0.0f, 2.0f, 1.0f, 2.0f, -1.0f};

std::map<std::int32_t, int> draws(const SamplingParams& params, int count) {
  Sampler sampler(params, static_cast<std::int64_t>(kLogits.size()));
  std::map<std::int32_t, int> out;
  for (int i = 0; i < count; ++i) ++out[sampler.next(kLogits)];
  return out;
}

TEST(Sampler, GreedyTakesTheFirstOfEqualLogits) {
  EXPECT_EQ(draws({}, 3), (std::map<std::int32_t, int>{{1, 3}}));
}

TEST(Sampler, TopKOfOneIsGreedy) {
  SamplingParams params;
  params.temperature = 1.5;
  params.top_k = 1;
  EXPECT_EQ(draws(params, 50), (std::map<std::int32_t, int>{{1, 50}}));
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  SamplingParams params;
  params.temperature = 1;
  params.top_p = 0.5;  // ids 1 and 3 have about 0.37 each
  const auto counts = draws(params, 400);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_NEAR(counts.at(1), 200, 60);
  EXPECT_NEAR(counts.at(3), 200, 60);
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  SamplingParams params;
  params.temperature = 1;
  const int n = 20000;
  const auto counts = draws(params, n);
  double total = 0;
  for (const float v : kLogits) total += std::exp(static_cast<double>(v));
  for (std::int32_t id = 0; id < 5; ++id) {
    const double p = std::exp(static_cast<double>(kLogits[static_cast<std::size_t>(id)])) / total;
    EXPECT_NEAR(counts.at(id), p * n, 5 * std::sqrt(n * p * (1 - p))) << id;
  }
}

// Ids far below the others count too: the cut must find them all, in order.
TEST(Sampler, CutsKeepWhatTheDefinitionKeeps) {
  std::vector<float> logits(3000);
  for (std::size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>((i * 7919) % 3000) * -0.02f;
  const auto kept = [&](std::int64_t top_k, double top_p) {
    SamplingParams params;
    params.temperature = 3;
    params.top_k = top_k;
    params.top_p = top_p;
    Sampler sampler(params, 3000);
    std::set<float> values;
    for (int i = 0; i < 20000; ++i)
      values.insert(logits[static_cast<std::size_t>(sampler.next(logits))]);
    return values;
  };
  // With steps of 0.02 / 3 the weights are a geometric series of ratio q.
  const double q = std::exp(-0.02 / 3);
  for (const double top_p : {0.3, 0.9}) {
    const double most = std::log(1 - top_p * (1 - std::pow(q, 3000))) / std::log(q);
    const std::set<float> values = kept(0, top_p);
    EXPECT_GE(*values.begin(), -0.02 * std::ceil(most) - 1e-3) << top_p;
    EXPECT_NEAR(*values.begin(), -0.02 * most, 0.1) << top_p;
    EXPECT_FLOAT_EQ(*values.rbegin(), 0) << top_p;
  }
  EXPECT_FLOAT_EQ(*kept(40, 1).begin(), -0.02f * 39);
  EXPECT_EQ(kept(40, 1).size(), 40u);
}

TEST(Sampler, SeedDecides) {
  SamplingParams params;
  params.temperature = 1;
  params.seed = 5;
  const auto first = draws(params, 100);
  EXPECT_EQ(first, draws(params, 100));
  params.seed = 6;
  EXPECT_NE(first, draws(params, 100));
}

TEST(Sampler, RefusesParametersOutOfRange) {
  const auto refused = [](auto change) {
    SamplingParams params;
    change(params);
    EXPECT_THROW(Sampler(params, 5), Error);
  };
  refused([](SamplingParams& p) { p.temperature = -1; });
  refused([](SamplingParams& p) { p.temperature = std::numeric_limits<double>::quiet_NaN(); });
  refused([](SamplingParams& p) { p.top_k = -1; });
  refused([](SamplingParams& p) { p.top_p = 0; });
  refused([](SamplingParams& p) { p.top_p = 1.5; });
  refused([](SamplingParams& p) { p.max_new_tokens = 0; });
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  Sampler sampler({}, 2);
  const std::vector<float> with_nan{0.0f, std::numeric_limits<float>::quiet_NaN()};
  const std::vector<float> with_inf{0.0f, std::numeric_limits<float>::infinity()};
  EXPECT_THROW(sampler.next(with_nan), Error);
  EXPECT_THROW(sampler.next(with_inf), Error);
}

}  // namespace
}  // namespace torchao_cpp
