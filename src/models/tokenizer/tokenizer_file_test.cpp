// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "models/tokenizer/testing_tokenizer.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

/// tokenizer.json files from strangers.
namespace torchao_cpp {
namespace {

using ::testing::HasSubstr;

/// Loads and uses the tokenizer that `spoil` made of a valid one; returns the message of the error.
template <typename ErrorType>
std::string message_after(const std::function<void(Json&)>& spoil) {
  Json json = small_tokenizer();
  spoil(json);
  const TokenizerFolder folder(json);
  try {
    Tokenizer(folder.path()).encode("abcabc");
  } catch (const ErrorType& error) {
    return error.what();
  }
  return "no error of this type";
}

std::string refused(const std::function<void(Json&)>& spoil) {
  return message_after<CheckpointError>(spoil);
}
std::string unsupported(const std::function<void(Json&)>& spoil) {
  return message_after<UnsupportedError>(spoil);
}

TEST(TokenizerFile, SmallTokenizerWorks) {
  const TokenizerFolder folder(small_tokenizer());
  EXPECT_EQ(Tokenizer(folder.path()).encode("abcab<|im_end|>c"),
            (std::vector<std::int32_t>{4, 3, 6, 2}));
}

TEST(TokenizerFile, MergesMayBeStrings) {
  Json json = small_tokenizer();
  json["model"]["merges"] = {"#version: 0.2", "a b", "ab c"};
  const TokenizerFolder folder(json);
  EXPECT_EQ(Tokenizer(folder.path()).encode("abcab"), (std::vector<std::int32_t>{4, 3}));
}

TEST(TokenizerFile, LaterOfEqualMergesHasTheRank) {
  Json json = small_tokenizer();
  json["model"]["vocab"]["bc"] = 7;
  json["model"]["merges"] = Json::parse(R"([["a","b"],["b","c"],["a","b"]])");
  const TokenizerFolder folder(json);
  EXPECT_EQ(Tokenizer(folder.path()).encode("abc"), (std::vector<std::int32_t>{0, 7}));
}

TEST(TokenizerFile, AbsentFileIsAnIoError) {
  EXPECT_THROW(Tokenizer("/no/such/folder"), IoError);
  EXPECT_THROW(Tokenizer(TORCHAO_CPP_TEST_DATA), IoError);
}

TEST(TokenizerFile, BrokenJsonIsRefused) {
  for (const char* text :
       {"", "{", "[]", "null", "{\"model\": }", "{\"model\": 1}", "{\"a\":1,\"a\":2}",
        "{\"model\": {\"vocab\": {\"a\": 0, \"a\": 1}}}", "\xFF",
        "{\"model\": {\"type\": \"BPE\", \"vocab\": 3, \"merges\": []}, \"decoder\": {\"type\": "
        "5}}"}) {
    const TokenizerFolder folder{std::string(text)};
    EXPECT_THROW(Tokenizer(folder.path()), CheckpointError) << text;
  }
  const TokenizerFolder deep{std::string(100'000, '[')};
  EXPECT_THROW(Tokenizer(deep.path()), CheckpointError);
}

TEST(TokenizerFile, BadIdsAreRefused) {
  const auto with_id = [](Json id) {
    return refused([&](Json& json) { json["model"]["vocab"]["a"] = id; });
  };
  EXPECT_THAT(with_id(-1), HasSubstr("'a'"));
  EXPECT_THAT(with_id(1.5), HasSubstr("'a'"));
  EXPECT_THAT(with_id("0"), HasSubstr("'a'"));
  EXPECT_THAT(with_id(1ull << 40), HasSubstr("'a'"));
  EXPECT_THAT(with_id(Json::array()), HasSubstr("model.vocab"));
  EXPECT_THAT(with_id(1), HasSubstr("belongs to another token"));
}

TEST(TokenizerFile, BadMergesAreRefused) {
  const auto with_merge = [](Json merge) {
    return refused([&](Json& json) { json["model"]["merges"].push_back(merge); });
  };
  EXPECT_THAT(with_merge({"a", "x"}), HasSubstr("'x'"));
  EXPECT_THAT(with_merge({"b", "a"}), HasSubstr("'ba'"));
  EXPECT_THAT(with_merge({"a"}), HasSubstr("two tokens"));
  EXPECT_THAT(with_merge({"a", "b", "c"}), HasSubstr("two tokens"));
  EXPECT_THAT(with_merge({"a", 1}), HasSubstr("two tokens"));
  EXPECT_THAT(with_merge("a"), HasSubstr("two tokens"));
  EXPECT_THAT(with_merge("a b c"), HasSubstr("two tokens"));
  EXPECT_THAT(with_merge(7), HasSubstr("two tokens"));
  EXPECT_THAT(with_merge(Json::object()), HasSubstr("model.merges"));
}

TEST(TokenizerFile, BadAddedTokensAreRefused) {
  const auto with_token = [](Json token) {
    return refused([&](Json& json) { json["added_tokens"].push_back(token); });
  };
  EXPECT_THAT(with_token({{"id", 7}}), HasSubstr("content"));
  EXPECT_THAT(with_token({{"content", "x"}}), HasSubstr("id"));
  EXPECT_THAT(with_token({{"id", 5}, {"content", "x"}}), HasSubstr("'<|im_start|>'"));
  EXPECT_THAT(with_token({{"id", 0}, {"content", "x"}}), HasSubstr("'a'"));
  EXPECT_THAT(with_token({{"id", 7}, {"content", "a"}}), HasSubstr("'model.vocab' gives it 0"));
  EXPECT_THAT(with_token({{"id", 7}, {"content", "<|im_end|>"}}), HasSubstr("twice"));
  EXPECT_THAT(with_token({{"id", 7}, {"content", "x"}, {"special", "yes"}}), HasSubstr("special"));
  EXPECT_THAT(with_token({{"id", 7}, {"content", std::string(5000, 'x')}}), HasSubstr("bytes"));
  EXPECT_THAT(with_token(3), HasSubstr("object"));
}

TEST(TokenizerFile, UnsupportedComponentsAreNamed) {
  EXPECT_THAT(unsupported([](Json& json) {
                json["normalizer"] = {{"type", "BertNormalizer"}};
              }),
              HasSubstr("normalizer: the type 'BertNormalizer'"));
  EXPECT_THAT(unsupported([](Json& json) {
                json["pre_tokenizer"] = {{"type", "Metaspace"}};
              }),
              HasSubstr("pre_tokenizer: the type 'Metaspace'"));
  EXPECT_THAT(unsupported([](Json& json) {
                json["post_processor"] = {{"type", "BertProcessing"}};
              }),
              HasSubstr("post_processor: the type 'BertProcessing'"));
  EXPECT_THAT(unsupported([](Json& json) {
                json["decoder"] = {{"type", "Metaspace"}};
              }),
              HasSubstr("decoder: the type 'Metaspace'"));
  EXPECT_THAT(unsupported([](Json& json) { json["decoder"] = nullptr; }), HasSubstr("decoder"));
  EXPECT_THAT(unsupported([](Json& json) { json["model"]["type"] = "Unigram"; }),
              HasSubstr("'Unigram'"));
  EXPECT_THAT(unsupported([](Json& json) { json["model"] = Json::object(); }),
              HasSubstr("'model.type' is null"));
  EXPECT_THAT(unsupported([](Json& json) { json["model"]["byte_fallback"] = true; }),
              HasSubstr("byte_fallback"));
  EXPECT_THAT(unsupported([](Json& json) { json["model"]["end_of_word_suffix"] = "</w>"; }),
              HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(unsupported([](Json& json) { json["model"]["dropout"] = 0.1; }),
              HasSubstr("dropout"));
}

TEST(TokenizerFile, UnknownUnkTokenIsRefused) {
  EXPECT_THAT(refused([](Json& json) { json["model"]["unk_token"] = "<unk>"; }),
              HasSubstr("'<unk>'"));
}

TEST(TokenizerFile, PatternsThatWouldBeReadInAnotherWayAreRefused) {
  const auto with_pattern = [](const char* pattern) {
    return unsupported([&](Json& json) {
      json["pre_tokenizer"] = {
          {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
    });
  };
  EXPECT_THAT(with_pattern("[a&&b]"), HasSubstr("intersection"));
  EXPECT_THAT(with_pattern("[a[b]]"), HasSubstr("nested"));
  EXPECT_THAT(with_pattern("\\h+"), HasSubstr("\\h"));
  EXPECT_THAT(with_pattern("(unclosed"), HasSubstr("(unclosed"));
  EXPECT_THAT(refused([](Json& json) {
                json["pre_tokenizer"] = {
                    {"type", "Split"}, {"pattern", {{"String", "-"}}}, {"behavior", "Sideways"}};
              }),
              HasSubstr("behavior"));
}

TEST(TokenizerFile, HugeIdsTakeNoHugeMemory) {
  EXPECT_THAT(refused([](Json& json) { json["model"]["vocab"]["a"] = 4294967295u; }),
              HasSubstr("'a'"));
  EXPECT_THAT(refused([](Json& json) { json["added_tokens"][0]["id"] = 4294967295u; }),
              HasSubstr("no integer from 0 to"));
}

}  // namespace
}  // namespace torchao_cpp
