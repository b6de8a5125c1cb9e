// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "models/tokenizer/testing_tokenizer.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {
namespace {

using ::testing::HasSubstr;

const Json& fixtures() {
  static const Json kJson = read_json_file(TORCHAO_CPP_TEST_DATA "/tokenizer/cases.json");
  return kJson;
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string stream_all(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  Tokenizer::Stream stream(tokenizer);
  std::string text;
  for (const std::int32_t id : ids) text += stream.put(id);
  return text + stream.flush();
}

void expect_cases(const Tokenizer& tokenizer, const Json& cases, const std::string& name) {
  ASSERT_FALSE(cases.empty());
  for (const Json& one : cases) {
    const auto text = one.at("text").get<std::string>();
    const auto ids = one.at("ids").get<std::vector<std::int32_t>>();
    EXPECT_EQ(tokenizer.encode(text), ids) << name << ": " << one.at("text");
    EXPECT_EQ(tokenizer.decode(ids), one.at("decoded").get<std::string>())
        << name << ": " << one.at("text");
    EXPECT_EQ(tokenizer.decode(ids, false), one.at("decoded_with_special").get<std::string>())
        << name << ": " << one.at("text");
    EXPECT_EQ(stream_all(tokenizer, ids), one.at("decoded").get<std::string>())
        << name << ": " << one.at("text");
  }
}

TEST(Tokenizer, EveryVariantGivesTheReferenceIds) {
  for (const Json& suite : fixtures().at("suites")) {
    Json json = suite.at("tokenizer");
    json["model"]["vocab"] = fixtures().at("vocab");
    json["model"]["merges"] = fixtures().at("merges");
    const TokenizerFolder folder(json);
    expect_cases(Tokenizer(folder.path()), suite.at("cases"), suite.at("name").get<std::string>());
  }
}

TEST(Tokenizer, DemoModelGivesTheReferenceIds) {
  expect_cases(Tokenizer(TORCHAO_CPP_DEMO_MODEL), fixtures().at("demo_model_cases"), "demo");
}

TEST(Tokenizer, HeldOutTextHasTheReferenceCountAndComesBack) {
  const Tokenizer tokenizer{TORCHAO_CPP_DEMO_MODEL "/tokenizer.json"};
  const std::string text = read_text(TORCHAO_CPP_DEMO_MODEL "/heldout_text.txt");
  const auto start = std::chrono::steady_clock::now();
  const std::vector<std::int32_t> ids = tokenizer.encode(text);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(ids.size(), 52084u);
  EXPECT_EQ(tokenizer.decode(ids, false), text);
  EXPECT_LT(seconds, 5) << "200 KB take about 0.03 s in a release build";
}

TEST(Tokenizer, BrokenUtf8BecomesReplacementCharacters) {
  const Tokenizer tokenizer{TORCHAO_CPP_DEMO_MODEL};
  const auto same = [&](const std::string& broken, const std::string& repaired) {
    EXPECT_EQ(tokenizer.encode(broken), tokenizer.encode(repaired));
  };
  same(
      "a\xFF"
      "b",
      "a\uFFFDb");
  same("\xF0\x9F\x98", "\uFFFD");
  same("\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD");
  same("\xC0\x80", "\uFFFD\uFFFD");
  same("\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD");
  same("\xE6\xBC", "\uFFFD");
}

TEST(Tokenizer, StreamHoldsUnfinishedCharactersBack) {
  const Tokenizer tokenizer{TORCHAO_CPP_DEMO_MODEL};
  const std::vector<std::int32_t> ids = tokenizer.encode("\U0001F600\U0001F468\u200d\U0001F469x");
  ASSERT_GT(ids.size(), 4u);
  Tokenizer::Stream stream(tokenizer);
  std::string text;
  for (const std::int32_t id : ids) {
    const std::string piece = stream.put(id);
    EXPECT_EQ(piece.find("\uFFFD"), std::string::npos);
    text += piece;
  }
  EXPECT_EQ(text, "\U0001F600\U0001F468\u200d\U0001F469x");
  EXPECT_EQ(stream.flush(), "");
}

TEST(Tokenizer, StreamFlushesABrokenEnd) {
  const Tokenizer tokenizer{TORCHAO_CPP_DEMO_MODEL};
  const std::vector<std::int32_t> ids = tokenizer.encode("\U0001F600");
  ASSERT_GT(ids.size(), 1u);
  Tokenizer::Stream stream(tokenizer);
  EXPECT_EQ(stream.put(ids.front()), "");
  EXPECT_EQ(stream.flush(), "\uFFFD");
}

TEST(Tokenizer, StreamIgnoresPaddedAndSpecialIds) {
  const Tokenizer tokenizer{TORCHAO_CPP_DEMO_MODEL};
  Tokenizer::Stream stream(tokenizer);
  EXPECT_EQ(stream.put(1 << 20), "");
  EXPECT_EQ(stream.put(-1), "");
  EXPECT_EQ(stream.put(*tokenizer.token_to_id("<|im_end|>")), "");
}

TEST(Tokenizer, DecodeRefusesIdsOutsideTheVocabulary) {
  const Tokenizer tokenizer{TORCHAO_CPP_DEMO_MODEL};
  EXPECT_EQ(tokenizer.vocab_size(), 8192);
  for (const std::int32_t id : {-1, 8192, 2147483647}) {
    EXPECT_THROW(tokenizer.decode(std::vector<std::int32_t>{id}), Error) << id;
  }
}

TEST(Tokenizer, KnowsSpecialTokens) {
  const Tokenizer tokenizer{TORCHAO_CPP_DEMO_MODEL};
  EXPECT_EQ(tokenizer.token_to_id("<|endoftext|>"), 8189);
  EXPECT_EQ(tokenizer.token_to_id("no such token"), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(8191));
  EXPECT_FALSE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(-1));
}

TEST(Tokenizer, LongWordsTakeNearlyLinearTime) {
  const Tokenizer tokenizer{TORCHAO_CPP_DEMO_MODEL};
  const auto start = std::chrono::steady_clock::now();
  for (const char* unit : {"a", " ", "ab", "\u0301", "!"}) {
    std::string text;
    while (text.size() < 200'000) text += unit;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 30);
}

TEST(Tokenizer, ExplodingPatternIsAnError) {
  Json json = small_tokenizer();
  json["pre_tokenizer"] = Json::parse(
      R"({"type":"Split","pattern":{"Regex":"(a|aa)+$|(?:a*)*b"},"behavior":"Isolated","invert":false})");
  const TokenizerFolder folder(json);
  const Tokenizer tokenizer(folder.path());
  EXPECT_THROW(tokenizer.encode(std::string(5000, 'a') + "c"), Error);
}

TEST(Tokenizer, PatternThatAlmostExplodesAtEveryWordIsAnError) {
  Json json = small_tokenizer();
  json["pre_tokenizer"] = Json::parse(
      R"({"type":"Split","pattern":{"Regex":"(a+)+c|."},"behavior":"Isolated","invert":false})");
  const TokenizerFolder folder(json);
  const Tokenizer tokenizer(folder.path());
  std::string text;
  for (int i = 0; i < 2000; ++i) text += std::string(20, 'a') + ' ';
  EXPECT_THROW(tokenizer.encode(text), Error);
}

TEST(Tokenizer, StepsThatMultiplyTheTextAreRefused) {
  const Json byte_level = small_tokenizer()["pre_tokenizer"];
  Json json = small_tokenizer();
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {byte_level, byte_level}}};
  EXPECT_THROW(Tokenizer(TokenizerFolder(json).path()), UnsupportedError);
  json = small_tokenizer();
  json["normalizer"] = {{"type", "Sequence"},
                        {"normalizers", std::vector<Json>(65, Json{{"type", "NFKD"}})}};
  EXPECT_THROW(Tokenizer(TokenizerFolder(json).path()), UnsupportedError);
}

TEST(Tokenizer, ManyAddedTokensTakeNearlyLinearTime) {
  Json json = small_tokenizer();
  for (int i = 0; i < 100'000; ++i) {
    const std::string content =
        fmt::format("<{}{}>", std::string(static_cast<std::size_t>(i % 97), 'x'), i);
    json["added_tokens"].push_back({{"id", 100 + i}, {"content", content}, {"special", true}});
  }
  const auto start = std::chrono::steady_clock::now();
  const TokenizerFolder folder(json);
  const Tokenizer tokenizer(folder.path());
  EXPECT_THAT(tokenizer.encode("<xx99>"), testing::ElementsAre(199));
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 30);
}

TEST(Tokenizer, ChatMlMessage) {
  const Tokenizer tokenizer{TORCHAO_CPP_DEMO_MODEL};
  EXPECT_EQ(tokenizer.apply_chat_template("Hi"),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Tokenizer, ChatMlMessageWithDefaultSystemTurn) {
  const TokenizerFolder folder(small_tokenizer());
  folder.write(
      "tokenizer_config.json",
      R"({"chat_template": "{% if a %}{{ '<|im_start|>system\n' + m + '<|im_end|>\n' }}{% else %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"})");
  EXPECT_EQ(Tokenizer(folder.path()).apply_chat_template("Hi"),
            "<|im_start|>system\nBe "
            "kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Tokenizer, OtherChatTemplatesAreRefused) {
  const TokenizerFolder folder(small_tokenizer());
  const Tokenizer tokenizer(folder.path());
  EXPECT_THROW(tokenizer.apply_chat_template("Hi"), UnsupportedError);
  folder.write("tokenizer_config.json", R"({"chat_template": "[INST] {{ m }} [/INST]"})");
  EXPECT_THROW(tokenizer.apply_chat_template("Hi"), UnsupportedError);
  folder.write("tokenizer_config.json", R"({"chat_template": )");
  EXPECT_THROW(tokenizer.apply_chat_template("Hi"), CheckpointError);
}

}  // namespace
}  // namespace torchao_cpp
