// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "torchao_cpp/torchao_config.h"

namespace torchao_cpp {
namespace {

bool skips(std::string_view prefix, const std::vector<std::string>& entries) {
  return should_skip(prefix, entries);
}

TEST(ShouldSkip, NoEntryMeansNo) {
  EXPECT_FALSE(skips("model.layers.0.mlp.down_proj", {}));
  EXPECT_FALSE(skips("", {}));
}

TEST(ShouldSkip, TakesTheWholeName) {
  EXPECT_TRUE(skips("lm_head", {"lm_head"}));
  EXPECT_TRUE(skips("model.model.layers.1.q_proj", {"model.model.layers.1.q_proj"}));
}

TEST(ShouldSkip, TakesARunOfWholeComponentsAnywhere) {
  EXPECT_TRUE(skips("visual.model.layers.1.q_proj", {"visual"}));
  EXPECT_TRUE(skips("model.model.layers.10.o_proj", {"o_proj"}));
  EXPECT_TRUE(skips("model.model.layers.1.q_proj", {"layers.1"}));
  EXPECT_TRUE(skips("a.b.c", {"b.c"}));
}

TEST(ShouldSkip, FragmentsOfComponentsDoNotCount) {
  EXPECT_FALSE(skips("model.model.layers.11.q_proj", {"layers.1"}));
  EXPECT_FALSE(skips("model.layers.1.q_proj", {"ayers.1"}));
  EXPECT_FALSE(skips("model.layers.1.q_proj", {"proj"}));
  EXPECT_FALSE(skips("lm_head", {"lm"}));
}

TEST(ShouldSkip, ComponentsMustBeNeighbours) { EXPECT_FALSE(skips("a.b.c", {"a.c"})); }

TEST(ShouldSkip, ALongerEntryDoesNotSkipItsParent) {
  EXPECT_FALSE(skips("a.b", {"a.b.c"}));
  EXPECT_FALSE(skips("lm_head", {"lm_head.weight"}));
}

TEST(ShouldSkip, CaseCounts) { EXPECT_FALSE(skips("model.Visual.proj", {"visual"})); }

TEST(ShouldSkip, EntriesAreNoPatterns) {
  EXPECT_FALSE(skips("model.layers.1.q_proj", {"re:.*"}));
  EXPECT_FALSE(skips("model.layers.1.q_proj", {".*"}));
  EXPECT_FALSE(skips("model.layers.1.q_proj", {"*"}));
  EXPECT_FALSE(skips("axb", {"a.b"}));
}

TEST(ShouldSkip, DotsAtTheEdgeOfAnEntryCount) {
  EXPECT_FALSE(skips("a.b.c", {"a.b.c."}));
  EXPECT_FALSE(skips("a.b.c", {".a"}));
}

TEST(ShouldSkip, AnEmptyEntryIsAnEmptyComponent) {
  EXPECT_FALSE(skips("a.b", {""}));
  EXPECT_TRUE(skips("a..b", {""}));
  EXPECT_TRUE(skips("", {""}));
}

TEST(ShouldSkip, AnyEntrySuffices) {
  EXPECT_TRUE(skips("model.visual.proj", {"lm_head", "", "visual"}));
  EXPECT_FALSE(skips("model.visual.proj", {"lm_head", "layers"}));
}

TEST(ShouldSkip, LongNamesAreFine) {
  std::string name = "a";
  for (int i = 0; i < 100'000; ++i) name += ".b";
  EXPECT_TRUE(skips(name + ".c", {"b.c"}));
  EXPECT_FALSE(skips(name, {"b.c"}));
}

}  // namespace
}  // namespace torchao_cpp
