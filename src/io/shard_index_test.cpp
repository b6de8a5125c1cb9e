// SPDX-License-Identifier: Apache-2.0
#include "io/shard_index.h"

#include <gtest/gtest.h>

#include "io/testing_files.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;
using testing_files::kind_of;
using testing_files::ScratchFolder;
using testing_files::write_text;

std::string index_kind(std::string_view text) {
  return kind_of([&] { parse_shard_index(text, "index.json"); });
}

TEST(ShardIndex, KeepsTheMapAndTheTotalSize) {
  const ShardIndex index = parse_shard_index(
      R"({"metadata":{"total_size":12,"x":[{"total_size":3}]},"weight_map":{"b":"2.safetensors","a":"1.safetensors"},"more":{"weight_map":1}})",
      "index.json");
  ASSERT_EQ(index.weight_map.size(), 2u);
  EXPECT_EQ(index.weight_map[0].first, "b");
  EXPECT_EQ(index.weight_map[1].second, "1.safetensors");
  EXPECT_EQ(index.total_size, 12u);
  EXPECT_FALSE(parse_shard_index(R"({"metadata":{"total_size":1.5},"weight_map":{}})", "").total_size.has_value());
}

TEST(ShardIndex, RefusesWhatIsNoIndex) {
  for (const char* text : {"", "[]", "1", "{}", R"({"weight_map":[]})", R"({"weight_map":"a"})", R"({"weight_map":{"a":7}})",
                           R"({"weight_map":{"a":{}}})", R"({"weight_map":{"a":["x"]}})", R"({"weight_map":{"a":null}})",
                           R"({"weight_map":{"a":"x","a":"x"}})", R"({"weight_map":{},"weight_map":{}})",
                           R"({"metadata":{"k":1,"k":2},"weight_map":{}})", R"({"weight_map":{}} x)"}) {
    EXPECT_EQ(index_kind(text), "index.invalid") << text;
  }
  EXPECT_EQ(index_kind("{\"x\":" + std::string(100, '[') + std::string(100, ']') + ",\"weight_map\":{}}"), "index.invalid");
}

TEST(ShardIndex, RefusesNamesThatAreNoPlainFileNames) {
  for (const char* name : {"", ".", "..", "../x.safetensors", "/etc/passwd", "a/b", "a\\\\b", "x.safetensors\\u0000.txt"}) {
    EXPECT_EQ(index_kind("{\"weight_map\":{\"a\":\"" + std::string(name) + "\"}}"), "index.bad_path") << name;
  }
}

TEST(ResolveInFolder, FollowsLinksInsideTheFolderAndIntoAHubCacheOnly) {
  const ScratchFolder scratch;
  const fs::path model = scratch / "models--x/snapshots/abc";
  fs::create_directories(model / "sub");
  fs::create_directories(scratch / "models--x/blobs");
  write_text(scratch / "models--x/blobs/h1", "1");
  write_text(scratch / "models--x/other", "1");
  write_text(model / "sub/file", "1");
  fs::create_symlink("../../blobs/h1", model / "hub");
  fs::create_symlink("sub/file", model / "inside");
  fs::create_symlink("../../other", model / "outside");
  fs::create_symlink("nowhere", model / "broken");
  fs::create_symlink("broken2", model / "broken2");

  EXPECT_EQ(resolve_in_folder(model, "hub"), fs::canonical(scratch / "models--x/blobs/h1"));
  EXPECT_EQ(resolve_in_folder(model, "inside"), fs::canonical(model / "sub/file"));
  const auto kind = [&](const char* name) { return kind_of([&] { resolve_in_folder(model, name); }); };
  EXPECT_EQ(kind("outside"), "index.bad_path");
  EXPECT_EQ(kind("broken"), "index.missing_shard");
  EXPECT_EQ(kind("broken2"), "index.missing_shard");
  EXPECT_EQ(kind("sub"), "index.missing_shard");
  EXPECT_EQ(kind("none"), "index.missing_shard");

  // The same layout without the name "snapshots" is no hub cache.
  const fs::path plain = scratch / "a/b/c";
  fs::create_directories(plain);
  fs::create_directories(scratch / "a/blobs");
  write_text(scratch / "a/blobs/h", "1");
  fs::create_symlink("../../blobs/h", plain / "hub");
  EXPECT_EQ(kind_of([&] { resolve_in_folder(plain, "hub"); }), "index.bad_path");
  // The folder itself may be reached through a link.
  fs::create_directory_symlink(model, scratch / "link");
  EXPECT_EQ(kind_of([&] { resolve_in_folder(scratch / "link", "hub"); }), "ok");
}

}  // namespace
}  // namespace torchao_cpp
