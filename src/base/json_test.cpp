// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string problem_kind(std::string_view text, const JsonLimits& limits = {}) {
  Json out;
  const auto problem = try_parse_json(text, out, limits);
  return problem ? problem->kind : "none";
}

TEST(Json, KeepsTheOrderOfKeysAndEveryKindOfValue) {
  const std::string text =
      R"({"z":[1,-2,2.5,"a\u00e9",true,null],"a":{"y":{},"b":[]},"m":18446744073709551615})";
  EXPECT_EQ(parse_json(text, "t").dump(),
            R"({"z":[1,-2,2.5,"aé",true,null],"a":{"y":{},"b":[]},"m":18446744073709551615})");
  EXPECT_EQ(parse_json("7", "t"), Json(7));
  EXPECT_EQ(parse_json(" \n[] ", "t"), Json::array());
}

TEST(Json, RefusesDuplicateKeysAtAnyLevel) {
  EXPECT_EQ(problem_kind(R"({"a":1,"a":2})"), "duplicate_key");
  EXPECT_EQ(problem_kind(R"([{"x":{"a":1,"b":[],"a":{}}}])"), "duplicate_key");
  EXPECT_EQ(problem_kind(R"({"a":{"a":{"a":1}},"b":{"a":1}})"), "none");
}

TEST(Json, RefusesWhatIsNoJson) {
  for (const char* text : {"", "{", "[1,]", "{\"a\":1} x", "NaN", "Infinity", "// c\n1", "'a'",
                           "01", "1e999", "\xEF\xBB\xBF{}x"})
    EXPECT_EQ(problem_kind(text), "syntax") << text;
  EXPECT_EQ(problem_kind("\"\xff\""), "utf8");
  EXPECT_EQ(problem_kind("\xEF\xBB\xBF{}"), "syntax");
  EXPECT_EQ(problem_kind(std::string_view("{}\0", 3)), "syntax");
  EXPECT_EQ(problem_kind(std::string_view("{}\0 and more", 12)), "syntax");
}

TEST(Json, BoundsDepthAndSize) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(problem_kind(nested(64)), "none");
  EXPECT_EQ(problem_kind(nested(65)), "depth");
  EXPECT_EQ(problem_kind(std::string(1000000, '[')), "depth");
  EXPECT_EQ(problem_kind("[1,2]", {.max_depth = 64, .max_bytes = 4}), "size");
}

TEST(Json, TakesTimeLinearInTheNumberOfKeys) {
  std::string text = "{";
  for (int i = 0; i < 400000; ++i)
    text += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\":" + std::to_string(i);
  text += "}";
  Json out;
  ASSERT_FALSE(
      try_parse_json(text, out).has_value());  // by comparing each key with every other: minutes
  EXPECT_EQ(out.size(), 400000u);
  EXPECT_EQ(out.begin().key(), "k0");
}

TEST(Json, ErrorsNameTheFile) {
  try {
    parse_json("{\"a\":1,\"a\":1}", "config.json");
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_EQ(e.kind(), "json");
    EXPECT_THAT(e.what(), AllOf(HasSubstr("config.json"), HasSubstr("\"a\" occurs twice")));
  }
  EXPECT_THROW(read_json_file("/nonexistent/config.json"), IoError);
  EXPECT_THROW(read_json_file("/"), IoError);
}

TEST(Json, DumpsAsPythonDoes) {
  const Json value = parse_json(R"({"a":[1,2.0,1e-7,"é"],"b":{},"c":[]})", "t");
  EXPECT_EQ(dump_json_python(value), R"({"a": [1, 2.0, 1e-07, "\u00e9"], "b": {}, "c": []})");
  EXPECT_EQ(dump_json_python(parse_json(R"({"a":[1],"b":{}})", "t"), 2),
            "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
}

}  // namespace
}  // namespace torchao_cpp
