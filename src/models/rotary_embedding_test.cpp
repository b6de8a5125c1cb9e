// SPDX-License-Identifier: Apache-2.0
#include "models/rotary_embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using testing::HasSubstr;

RopeParameters llama3() {
  RopeParameters rope;
  rope.rope_theta = 500000.0;
  rope.rope_type = "llama3";
  rope.numbers = {{"factor", 8.0},
                  {"low_freq_factor", 1.0},
                  {"high_freq_factor", 4.0},
                  {"original_max_position_embeddings", 8192.0}};
  return rope;
}

template <typename F>
std::string message_of(const F& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(RopeInverseFrequencies, Default) {
  const std::vector<float> f = rope_inverse_frequencies({}, 64, "c");
  ASSERT_EQ(f.size(), 32u);
  EXPECT_EQ(f[0], 1.0f);
  EXPECT_FLOAT_EQ(f[16], 0.01f);
}

TEST(RopeInverseFrequencies, LinearDividesByTheFactor) {
  RopeParameters rope;
  rope.rope_type = "linear";
  rope.numbers["factor"] = 4.0;
  EXPECT_EQ(rope_inverse_frequencies(rope, 64, "c")[0], 0.25f);
}

// Values of transformers 5.19 _compute_llama3_parameters: kept, interpolated, divided by 8.
TEST(RopeInverseFrequencies, Llama3KeepsShortAndDividesLongWavelengths) {
  const std::vector<float> plain = rope_inverse_frequencies(
      [] {
        RopeParameters rope;
        rope.rope_theta = 500000.0;
        return rope;
      }(),
      128, "c");
  const std::vector<float> f = rope_inverse_frequencies(llama3(), 128, "c");
  EXPECT_EQ(f[0], 1.0f);
  EXPECT_EQ(f[20], plain[20]);
  EXPECT_FLOAT_EQ(f[32], 0.000524846022f);
  EXPECT_EQ(f[63], plain[63] / 8.0f);
}

TEST(RotaryEmbedding, HoldsCosAndSinOfPositionTimesFrequency) {
  const RotaryEmbedding rope({}, 4, 10, DType::kFloat32, "c");
  EXPECT_EQ(rope.cos(0)[0], 1.0f);
  EXPECT_EQ(rope.sin(0)[1], 0.0f);
  EXPECT_FLOAT_EQ(rope.cos(9)[0], std::cos(9.0f));
  EXPECT_FLOAT_EQ(rope.sin(9)[1], std::sin(0.09f));
}

TEST(RotaryEmbedding, IsRoundedToTheComputeDtype) {
  const RotaryEmbedding rope({}, 4, 2, DType::kBFloat16, "c");
  EXPECT_EQ(rope.cos(1)[0], 0.5390625f);  // cos(1) = 0.5403
}

TEST(RopeInverseFrequencies, RefusesWhatItCannotCompute) {
  RopeParameters yarn;
  yarn.rope_type = "yarn";
  EXPECT_THAT(message_of([&] { rope_inverse_frequencies(yarn, 64, "dir/config.json"); }),
              HasSubstr("dir/config.json: rope type 'yarn' is not supported"));
  RopeParameters partial;
  partial.numbers["partial_rotary_factor"] = 0.5;
  EXPECT_THAT(message_of([&] { rope_inverse_frequencies(partial, 64, "c"); }),
              HasSubstr("'partial_rotary_factor' is 0.5"));
  RopeParameters sections;
  sections.other_keys = {"mrope_section"};
  EXPECT_THAT(message_of([&] { rope_inverse_frequencies(sections, 64, "c"); }),
              HasSubstr("'mrope_section'"));
  RopeParameters no_factor;
  no_factor.rope_type = "linear";
  EXPECT_THAT(message_of([&] { rope_inverse_frequencies(no_factor, 64, "c"); }),
              HasSubstr("rope type 'linear' has no 'factor'"));
  EXPECT_THAT(message_of([&] { rope_inverse_frequencies({}, 63, "c"); }),
              HasSubstr("head_dim is 63"));
  RopeParameters swapped = llama3();
  swapped.numbers["high_freq_factor"] = 1.0;
  EXPECT_THAT(message_of([&] { rope_inverse_frequencies(swapped, 64, "c"); }),
              HasSubstr("'high_freq_factor' is 1"));
}

}  // namespace
}  // namespace torchao_cpp
