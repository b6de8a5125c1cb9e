// SPDX-License-Identifier: Apache-2.0
#include "selection/python_regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

bool matches(std::string_view pattern, std::string_view text) {
  return PythonRegex(pattern, pattern).matches(text);
}

std::string error_of(std::string_view pattern) {
  try {
    PythonRegex regex(pattern, "re:KEY");
  } catch (const ConfigError& e) {
    return e.kind() + ": " + e.what();
  }
  return "no error";
}

void expect_refused(std::initializer_list<std::string_view> patterns) {
  for (const std::string_view pattern : patterns) {
    const std::string error = error_of(pattern);
    EXPECT_THAT(error, StartsWith("validation: the key 're:KEY' ")) << pattern;
    EXPECT_THAT(error, HasSubstr(" at offset ")) << pattern;
  }
}

// Expected values of every table here are those of Python 3.11's re.fullmatch.
struct Case {
  std::string_view pattern;
  std::string_view text;
  bool expected;
};
void expect_all(std::initializer_list<Case> cases) {
  for (const Case& c : cases) {
    EXPECT_EQ(matches(c.pattern, c.text), c.expected) << c.pattern << " on " << c.text;
  }
}

TEST(PythonRegex, MatchesTheWholeName) {
  expect_all({{"down_proj", "model.layers.1.mlp.down_proj", false},
              {"model", "model.layers.1", false},
              {R"(model\.layers\.\d+\.mlp\..*)", "model.layers.10.mlp.up_proj", true},
              {R"(.*\.q_proj)", "model.layers.0.self_attn.q_proj", true},
              {"", "", true},
              {"", "a", false}});
}

TEST(PythonRegex, TriesLaterAlternativesForAFullMatch) {
  expect_all({{"a|ab", "ab", true},
              {"(?:a|ab)(?:c|bcd)", "abcd", true},
              {"a??", "a", true},
              {"(?>a|ab)c", "abc", false},
              {"a*+a", "aaa", false}});
}

TEST(PythonRegex, DotAndDollarKnowTheLineFeedAlone) {
  expect_all({{"a.c", "a\nc", false},
              {"a.c", "a\rc", true},
              {"(?s)a.c", "a\nc", true},
              {"a$", "a", true},
              {"a$", "a\n", false},
              {"a$\n", "a\n", true},
              {R"(\Aabc\Z)", "abc", true}});
}

TEST(PythonRegex, IsUnicode) {
  expect_all({{".", "é", true},
              {R"(\w+)", "été", true},
              {R"(\d+)", "٣", true},
              {"(?i)É", "é", true},
              {R"(\x41\u0042\U00000043)", "ABC", true}});
}

TEST(PythonRegex, CountsRepeatsAsPython) {
  expect_all({{"a{,2}", "", true},
              {"a{,2}", "aa", true},
              {"a{,2}", "aaa", false},
              {"a{,}", "aaa", true},
              {"a{x}", "a{x}", true},
              {"a{}", "a{}", true},
              {"a{1,2", "a{1,2", true},
              {"a{2}?", "aa", true}});
}

TEST(PythonRegex, ReadsCharacterClassesAsPython) {
  expect_all({{"[]a]", "]", true},
              {"[^]a]", "b", true},
              {"[^]a]", "]", false},
              {"[[a]", "[", true},
              {"[[:alpha:]]", "a", false},
              {"[[:alpha:]]", ":]", true},
              {R"([\b])", "\x08", true},
              {R"([\101])", "A", true}});
}

TEST(PythonRegex, ReadsNumbersAsGroupsOrOctal) {
  expect_all({{R"((a)\1)", "aa", true},
              {R"((a)\1)", "a1", false},
              {R"(\101)", "A", true},
              {R"(\0)", std::string_view("\0", 1), true},
              {R"(\v)", "\x0b", true}});
}

TEST(PythonRegex, NamesAndConditionsAreGroups) {
  expect_all({{"(?P<x>a)(?P=x)", "aa", true},
              {"(a)?(?(1)b|c)", "ab", true},
              {"(a)?(?(1)b|c)", "c", true},
              {"(?P<x>a)?(?(x)b|c)", "ac", false},
              {"(?P<R>a)?(?(R)b|c)", "ab", true},
              {"(?P<DEFINE>a)?(?(DEFINE)b|c)", "ab", true}});
}

TEST(PythonRegex, LooksAhead) {
  expect_all({{"(?!lm_head).*", "lm_head", false},
              {"(?!lm_head).*", "model.x", true},
              {"(?=.*mlp).*proj", "a.mlp.down_proj", true},
              {"a(?<=a)b", "ab", true}});
}

TEST(PythonRegex, FlagsHoldWherePythonHasThem) {
  expect_all({{"(?i)ABC|x", "X", true},
              {"(?i)(?m)a", "A", true},
              {"(?#note)(?i)a", "A", true},
              {"(?u)a", "A", false},
              {"(?i:a)b", "Ab", true},
              {"(?i:a)b", "AB", false},
              {"(?i:a(?-i:b)c)", "AbC", true},
              {"(?i:a(?-i:b)c)", "ABC", false}});
}

TEST(PythonRegex, VerboseIgnoresSpacesAndComments) {
  expect_all({{"(?x) a b # c [", "ab", true},
              {"(?x) a # (\n b", "ab", true},
              {R"((?x)a\ b)", "a b", true},
              {"(?x)[ #]", "#", true},
              {"(?x: a #c[ \n )b", "ab", true},
              {"((?x:a #)\n)b) #", "ab #", true},
              {"(?x)(?-x:a #)b", "a #b", true},
              {"a#b", "a#b", true},
              {"a(?#note)b", "ab", true}});
}

TEST(PythonRegex, RefusesWhatIsNoExpression) {
  expect_refused({"(",      "a)",       "[",       "[a",     "[]",       "*a",
                  "+",      "a**",      "a{2}{3}", "x{2,1}", "[z-a]",    "(?P<n>a)(?P<n>b)",
                  "(?P<n",  "(?P=x)",   "(?(2)a)", "(?#",    "(?<=a*)b", "\\",
                  "a\\",    R"((a)\2)", R"(\400)", R"(\x4)", R"(\u12)",  R"(\U00110000)",
                  R"([\8])"});
}

TEST(PythonRegex, RefusesWhatOnlyPcreKnows) {
  expect_refused({R"(\K)",       R"(\R)",
                  R"(\pL)",      R"(\Qa\E)",
                  R"(\h)",       R"(\C)",
                  R"(\G)",       R"(\z)",
                  R"(\X)",       R"(\o{101})",
                  R"(\x{41})",   R"((a)\g<1>)",
                  "(?R)",        "(?1)(a)",
                  "(?|a)",       "(?<n>a)",
                  "(?'n'a)",     "(?&n)",
                  "(?P>n)",      "(?C1)",
                  "(*FAIL)",     "(?(R)a|b)",
                  "(?(R1)a)",    "(?(DEFINE)a)",
                  "(?(?=a)b|c)", "(?(VERSION>=10)a)"});
}

TEST(PythonRegex, RefusesFlagsWherePythonDoes) {
  expect_refused({"a(?i)b", "((?i)a)", "b|(?i)a", "(?-i)a", "(?i-i:a)", "(?i-:a)", "(?z)", "(?i"});
}

TEST(PythonRegex, NamesThePartsItDoesNotSupport) {
  EXPECT_THAT(error_of("(?a)x"), HasSubstr("the flag 'a' is not supported at offset 2"));
  EXPECT_THAT(error_of("(?L)x"), HasSubstr("the flag 'L' is not supported"));
  EXPECT_THAT(error_of(R"(x\N{DIGIT ONE})"), HasSubstr(R"(\N{NAME} is not supported at offset 1)"));
}

TEST(PythonRegex, RunawayPatternsEndInAnError) {
  const std::string name = std::string(5'000, 'a') + '!';
  for (const std::string_view pattern :
       {"(a+)+$", "(a|a)*b?", "(a*)*c?", "(?:a|aa)+", "(.*)(.*)(.*)(.*)(.*)x"}) {
    const PythonRegex regex(pattern, "re:KEY");
    const auto start = std::chrono::steady_clock::now();
    try {
      EXPECT_FALSE(regex.matches(name)) << pattern;
    } catch (const ConfigError& e) {
      EXPECT_EQ(e.kind(), "validation") << pattern;
      EXPECT_THAT(e.what(), HasSubstr("the key 're:KEY' cannot be matched against 'aaa"));
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5)) << pattern;
  }
}

TEST(PythonRegex, ARunawayPatternIsNotTakenForNoMatch) {
  EXPECT_THROW(matches("(a+)+b?", std::string(64, 'a') + '!'), ConfigError);
  EXPECT_TRUE(matches("(a+)+$", std::string(5'000, 'a')));
}

TEST(PythonRegex, DeepAndHugePatternsAreRefused) {
  expect_refused({std::string(10'000, '(') + std::string(10'000, ')'),
                  "((((a{1000}){1000}){1000}){1000})", "x{99999999999}"});
}

TEST(PythonRegex, ANameThatIsNoUtf8IsAnError) {
  EXPECT_THROW(matches(".*", "\xff\xfe"), ConfigError);
}

TEST(PythonRegex, CanBeMovedAndUsedAgain) {
  PythonRegex a("a+", "re:a+");
  PythonRegex b = std::move(a);
  EXPECT_TRUE(b.matches("aa"));
  b = PythonRegex("b", "re:b");
  EXPECT_TRUE(b.matches("b"));
  EXPECT_FALSE(b.matches("aa"));
}

TEST(PythonRegexToPcre2, LeavesThePlainPartsAlone) {
  const std::string_view pattern = R"(model\.layers\.[0-9]+\.(?:q|k)_proj)";
  EXPECT_EQ(python_regex_to_pcre2(pattern, pattern), pattern);
}

}  // namespace
}  // namespace torchao_cpp
