// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "console.h"
#include "row_grouping.h"
#include "table.h"

namespace torchao_cpp::cli {
namespace {

TEST(Table, AlignsColumnsAndLeavesEmptyOnesOut) {
  Table table({{"name"}, {"empty"}, {"n", true}});
  table.add({"a", "", "10"});
  table.add({"long name", "", "7"});
  EXPECT_EQ(table.text(),
            "name        n\n"
            "---------  --\n"
            "a          10\n"
            "long name   7\n");
}

TEST(Table, CountsCharactersNotBytes) {
  Table table({{"x"}, {"y"}});
  table.add({"\u00e9", "1"});
  table.add({"ab", "2"});
  EXPECT_EQ(table.text(), "x   y\n--  -\n\u00e9   1\nab  2\n");
}

TEST(Table, ControlCharactersDoNotReachTheTerminal) {
  Table table({{"x"}});
  table.add({"a\x1b[31m\n"});
  EXPECT_EQ(table.text().find('\x1b'), std::string::npos);
}

TEST(GroupRows, JoinsLayersWithEqualCells) {
  const std::vector<NamedRow> rows = group_rows({{"embed", {"1"}},
                                                 {"layers.0.q", {"2"}},
                                                 {"layers.0.k", {"3"}},
                                                 {"layers.1.q", {"2"}},
                                                 {"layers.1.k", {"4"}},
                                                 {"layers.3.q", {"2"}}});
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].fqn, "embed");
  EXPECT_EQ(rows[1].fqn, "layers.0-1,3.q");
  EXPECT_EQ(rows[1].count, 3u);
  EXPECT_EQ(rows[2].fqn, "layers.0.k");
  EXPECT_EQ(rows[3].fqn, "layers.1.k");
}

TEST(GroupRows, NumbersInsideWordsAreNoLayers) {
  const std::vector<NamedRow> rows = group_rows(
      {{"fc1.weight", {}}, {"fc2.weight", {}}, {"", {}}, {"99999999999999999999.w", {}}});
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[3].fqn, "99999999999999999999.w");
}

TEST(Format, BytesAndCounts) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(std::int64_t{3} << 40), "3.0 TiB");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-123456), "-123,456");
}

}  // namespace
}  // namespace torchao_cpp::cli
