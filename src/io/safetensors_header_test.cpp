// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_header.h"

#include <gtest/gtest.h>

#include <random>

#include "io/testing_files.h"

namespace torchao_cpp {
namespace {

using testing_files::as_bytes;
using testing_files::kind_of;
using testing_files::message_of;
using testing_files::raw_safetensors;

SafetensorsHeader parse(const std::string& file) { return parse_safetensors_header(as_bytes(file), "f.safetensors"); }

std::string kind(std::string_view header, std::string_view data = {}) {
  return kind_of([&] { parse(raw_safetensors(header, data)); });
}

TEST(SafetensorsHeader, ReadsEntriesMetadataScalarsAndEmptyTensors) {
  const SafetensorsHeader h = parse(raw_safetensors(
      R"({"b":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"__metadata__":{"k":"v","":""},)"
      R"("e":{"shape":[0,7],"data_offsets":[8,8],"dtype":"F32"},"größe\u0000/..":{"dtype":"U8","shape":[2],"data_offsets":[8,10]}}   )",
      std::string(10, 'x')));
  ASSERT_EQ(h.entries.size(), 3u);
  EXPECT_EQ(h.entries[0].name, "b");
  EXPECT_EQ(h.entries[0].shape, Shape{});
  EXPECT_EQ(h.entries[0].dtype->dtype, DType::kInt64);
  EXPECT_EQ(h.entries[0].end - h.entries[0].begin, 8u);
  EXPECT_EQ(h.entries[1].shape, (Shape{0, 7}));
  using namespace std::string_literals;
  EXPECT_EQ(h.entries[2].name, "größe\0/.."s);
  ASSERT_EQ(h.metadata.size(), 2u);
  EXPECT_EQ(h.metadata[0], std::pair("k"s, "v"s));
}

TEST(SafetensorsHeader, AcceptsNoTensorsAndEmptyOnesAtOnePosition) {
  EXPECT_EQ(kind("{}"), "ok");
  EXPECT_EQ(kind(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[4,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                 R"("c":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]}})",
                 "1234"),
            "ok");
}

TEST(SafetensorsHeader, RefusesAFileWithoutAWholeHeader) {
  EXPECT_EQ(kind_of([] { parse(""); }), "st.truncated");
  EXPECT_EQ(kind_of([] { parse("1234567"); }), "st.truncated");
  EXPECT_EQ(kind_of([] { parse(raw_safetensors("{}").substr(0, 9)); }), "st.truncated");
  EXPECT_EQ(kind_of([] { parse(std::string(8, '\0')); }), "st.header_invalid");
  const auto with_length = [](std::uint64_t length) {
    std::string file = raw_safetensors("{}");
    std::memcpy(file.data(), &length, sizeof length);
    return kind_of([&] { parse(file); });
  };
  EXPECT_EQ(with_length(kMaxHeaderBytes), "st.truncated");
  EXPECT_EQ(with_length(kMaxHeaderBytes + 1), "st.header_too_large");
  EXPECT_EQ(with_length(std::uint64_t{1} << 63), "st.header_too_large");
  EXPECT_EQ(with_length(~std::uint64_t{0}), "st.header_too_large");
}

TEST(SafetensorsHeader, RefusesWhatIsNoPlainJsonObject) {
  using namespace std::string_literals;
  for (const std::string& header :
       {"[]"s, "1"s, " {}"s, "{}x"s, "{} {}"s, "{}\n"s, "{}\0"s, "{}\0}"s, "{\"a\":}"s, "{"s, "{,}"s, "\xEF\xBB\xBF{}"s, "//{}"s,
        "{\"\xff\":{}}"s, "{/**/}"s, "{\"__metadata__\":[]}"s, "{\"__metadata__\":\"x\"}"s, "{\"__metadata__\":{\"a\":1}}"s,
        "{\"__metadata__\":{\"a\":{}}}"s, "{\"a\":1}"s, "{\"a\":[]}"s, "{\"a\":null}"s}) {
    EXPECT_EQ(kind(header), "st.header_invalid") << header;
  }
  EXPECT_EQ(kind("{\"__metadata__\":{\"a\":" + std::string(5000, '[') + std::string(5000, ']') + "}}"), "st.header_invalid");
}

TEST(SafetensorsHeader, RefusesDuplicateKeysAtEveryLevel) {
  EXPECT_EQ(kind(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
            "st.duplicate_key");
  EXPECT_EQ(kind(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})"), "st.duplicate_key");
  EXPECT_EQ(kind(R"({"__metadata__":{"a":"1","a":"1"}})"), "st.duplicate_key");
  EXPECT_EQ(kind(R"({"__metadata__":{},"__metadata__":{}})"), "st.duplicate_key");
}

TEST(SafetensorsHeader, RefusesWrongFields) {
  for (const char* entry :
       {R"({})", R"({"dtype":"U8","shape":[2]})", R"({"dtype":"U8","data_offsets":[0,2]})", R"({"shape":[2],"data_offsets":[0,2]})",
        R"({"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1})", R"({"dtype":8,"shape":[2],"data_offsets":[0,2]})",
        R"({"dtype":["U8"],"shape":[2],"data_offsets":[0,2]})", R"({"dtype":"U8","shape":2,"data_offsets":[0,2]})",
        R"({"dtype":"U8","shape":[[2]],"data_offsets":[0,2]})", R"({"dtype":"U8","shape":{},"data_offsets":[0,2]})",
        R"({"dtype":"U8","shape":[2.0],"data_offsets":[0,2]})", R"({"dtype":"U8","shape":[2e0],"data_offsets":[0,2]})",
        R"({"dtype":"U8","shape":[-2],"data_offsets":[0,2]})", R"({"dtype":"U8","shape":[2],"data_offsets":[-0,2]})",
        R"({"dtype":"U8","shape":["2"],"data_offsets":[0,2]})", R"({"dtype":"U8","shape":[2],"data_offsets":[0]})",
        R"({"dtype":"U8","shape":[2],"data_offsets":[0,2,2]})", R"({"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,2]})",
        R"({"dtype":"U8","shape":[true],"data_offsets":[0,2]})", R"({"dtype":"U8","shape":[null],"data_offsets":[0,2]})"}) {
    EXPECT_EQ(kind(std::string("{\"a\":") + entry + "}", "12"), "st.header_invalid") << entry;
  }
  EXPECT_EQ(kind(R"({"a":{"dtype":"I4","shape":[2],"data_offsets":[0,1]}})", "1"), "st.unknown_dtype");
}

TEST(SafetensorsHeader, RefusesRangesThatDoNotFit) {
  const auto one = [](std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return "{\"a\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":" + std::string(shape) + ",\"data_offsets\":" + std::string(offsets) + "}}";
  };
  EXPECT_EQ(kind(one("U8", "[4]", "[0,4]"), "123"), "st.bad_offsets");
  EXPECT_EQ(kind(one("U8", "[0]", "[2,1]"), "123"), "st.bad_offsets");
  EXPECT_EQ(kind(one("U8", "[4]", "[0,18446744073709551615]"), "1234"), "st.bad_offsets");
  EXPECT_EQ(kind(one("U8", "[3]", "[0,4]"), "1234"), "st.size_mismatch");
  EXPECT_EQ(kind(one("F32", "[]", "[0,2]"), "12"), "st.size_mismatch");
  EXPECT_EQ(kind(one("U8", "[4294967296,4294967296]", "[0,4]"), "1234"), "st.overflow");
  EXPECT_EQ(kind(one("U8", "[0,4294967296,4294967296]", "[0,0]")), "st.overflow");
  EXPECT_EQ(kind(one("F4", "[18446744073709551615]", "[0,4]"), "1234"), "st.overflow");
  EXPECT_EQ(kind(one("F64", "[2305843009213693952]", "[0,0]")), "st.overflow");
}

TEST(SafetensorsHeader, CountsSubByteTypesInBits) {
  const auto one = [](std::string_view dtype, int n, int bytes) {
    return kind("{\"a\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":[" + std::to_string(n) + "],\"data_offsets\":[0," +
                    std::to_string(bytes) + "]}}",
                std::string(static_cast<std::size_t>(bytes), 'x'));
  };
  EXPECT_EQ(one("F4", 4, 2), "ok");
  EXPECT_EQ(one("F4", 3, 2), "st.size_mismatch");
  EXPECT_EQ(one("F4", 3, 1), "st.size_mismatch");
  EXPECT_EQ(one("F6_E2M3", 4, 3), "ok");
  EXPECT_EQ(one("F6_E3M2", 4, 4), "st.size_mismatch");
}

TEST(SafetensorsHeader, RefusesRangesThatDoNotTileTheData) {
  const auto two = [](std::string_view a, std::string_view b, std::string_view data) {
    return kind("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" + std::string(a) +
                    "},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" + std::string(b) + "}}",
                data);
  };
  EXPECT_EQ(two("[0,2]", "[2,4]", "1234"), "ok");
  EXPECT_EQ(two("[2,4]", "[0,2]", "1234"), "ok");
  EXPECT_EQ(two("[0,2]", "[1,3]", "123"), "st.overlap");
  EXPECT_EQ(two("[0,2]", "[0,2]", "12"), "st.overlap");
  EXPECT_EQ(two("[0,2]", "[3,5]", "12345"), "st.hole");
  EXPECT_EQ(two("[1,3]", "[3,5]", "12345"), "st.hole");
  EXPECT_EQ(two("[0,2]", "[2,4]", "12345"), "st.trailing_data");
  EXPECT_EQ(kind("{}", "1"), "st.trailing_data");
  // An empty tensor inside of another one.
  EXPECT_EQ(kind(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})", "1234"),
            "st.overlap");
}

TEST(SafetensorsHeader, MessagesNameFileEntryAndSizes) {
  const std::string message = message_of([] {
    parse(raw_safetensors(R"({"m\n.w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,4]}})", "1234"));
  });
  EXPECT_EQ(message,
            "f.safetensors: 'm\\x0a.w' (F32 [2, 3], data_offsets [0, 4]): the range has 4 bytes; shape times dtype is 24");
}

// Whatever bytes change, the reader throws one of its errors or returns entries that lie in the file.
TEST(SafetensorsHeader, SurvivesRandomMutations) {
  const std::string good = raw_safetensors(
      R"({"__metadata__":{"format":"pt","tensor_names":"[\"m.w\"]"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b.c":{"dtype":"F4","shape":[4],"data_offsets":[24,26]},"e":{"dtype":"I8","shape":[0],"data_offsets":[26,26]}}   )",
      std::string(26, 'd'));
  constexpr std::string_view kTokens = R"({}[]":,0123456789eE.-+\u"FU8I tnull)";
  std::mt19937 random(20240611);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string file = good;
    const unsigned changes = 1 + random() % 4;
    for (unsigned c = 0; c < changes; ++c) {
      const std::size_t at = random() % (file.size() - 26);
      switch (random() % 4) {
        case 0:
          file[at] = static_cast<char>(random());
          break;
        case 1:
          file[at] = kTokens[random() % kTokens.size()];
          break;
        case 2:
          file.erase(at, 1 + random() % 3);
          break;
        default:
          file.insert(at, 1, kTokens[random() % kTokens.size()]);
      }
    }
    try {
      for (const SafetensorsEntry& e : parse(file).entries) {
        ASSERT_LE(e.begin, e.end) << "round " << round;
        ASSERT_LE(e.end, file.size()) << "round " << round;
      }
      ++accepted;
    } catch (const CheckpointError& e) {
      ASSERT_TRUE(e.kind().starts_with("st.")) << "round " << round << ": " << e.what();
    }
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace torchao_cpp
