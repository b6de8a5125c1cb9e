// SPDX-License-Identifier: Apache-2.0
#include "models/svg_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "torchao_cpp/llm.h"

namespace torchao_cpp {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(XmlText, EscapesWhatXmlReadsOtherwise) {
  EXPECT_EQ(xml_text("a<b>&\"c'", 99), "a&lt;b&gt;&amp;&quot;c&apos;");
  EXPECT_EQ(xml_text("größe", 99), "größe");
}

TEST(XmlText, ReplacesWhatXmlCannotHold) {
  EXPECT_EQ(xml_text("a\x1b\nb\xff", 99), "a\uFFFD\uFFFDb\uFFFD");
  EXPECT_EQ(xml_text(std::string_view("\0", 1), 99), "\uFFFD");
  EXPECT_EQ(xml_text("\uFFFE", 99), "\uFFFD");
}

TEST(XmlText, CutsByCharacters) {
  EXPECT_EQ(xml_text("ééé", 3), "ééé");
  EXPECT_EQ(xml_text("é&é", 2), "é&amp;\u2026");
}

TEST(RoundTicks, CoverTheRangeInStepsOf1And2And5) {
  EXPECT_THAT(round_ticks(0, 10, 8), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(round_ticks(43.2, 47.9, 8), ElementsAre(43, 44, 45, 46, 47, 48));
  EXPECT_THAT(round_ticks(-30, 90, 6), ElementsAre(-40, -20, 0, 20, 40, 60, 80, 100));
  EXPECT_THAT(round_ticks(7, 7, 4), ElementsAre(6, 6.5, 7, 7.5, 8));
  for (const double high : {1e-9, 0.3, 1e9, 1e300}) {
    const std::vector<double> ticks = round_ticks(0, high, 8);
    EXPECT_LE(ticks.front(), 0);
    EXPECT_GE(ticks.back(), high);
    EXPECT_LE(ticks.size(), 10u) << high;
  }
}

TEST(SvgChart, DrawsInfinityAndNaNInLanesOfTheirOwn) {
  Chart chart;
  chart.infinite_label = "equal";
  chart.not_finite_label = "no value";
  chart.series = {{"s", {{0, 1, ""}, {1, 2, ""}}}};
  EXPECT_THAT(svg_chart(chart), Not(HasSubstr("equal")));
  chart.series[0].points.push_back({2, std::numeric_limits<double>::infinity(), ""});
  EXPECT_THAT(svg_chart(chart), HasSubstr(">equal<"));
  chart.series[0].points.push_back({3, std::numeric_limits<double>::quiet_NaN(), ""});
  const std::string svg = svg_chart(chart);
  EXPECT_THAT(svg, HasSubstr(">no value<"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

TEST(SvgChart, IsDrawnWithoutAnyPoint) { EXPECT_THAT(svg_chart({}), HasSubstr("</svg>")); }

DiffReport::Row row(const std::string& fqn, double sqnr) {
  DiffReport::Row out;
  out.fqn = fqn;
  out.shape = {4, 4};
  out.numbers.sqnr_db = sqnr;
  out.numbers.is_equal = sqnr == std::numeric_limits<double>::infinity();
  return out;
}

TEST(DiffPlot, HasALineForEachKindThatDiffers) {
  DiffReport report;
  const double inf = std::numeric_limits<double>::infinity();
  report.rows = {row("model.embed_tokens.weight", inf),
                 row("model.layers.0.self_attn.q_proj.weight", 40),
                 row("model.layers.1.self_attn.q_proj.weight", inf),
                 row("model.layers.10.self_attn.q_proj.weight", 41),
                 row("model.layers.0.mlp.experts.0.up_proj.weight", 30),
                 row("model.layers.0.mlp.experts.7.up_proj.weight", 20),
                 row("lm_head.weight", 50)};
  const std::string svg = diff_plot(report, "a<", "b");
  EXPECT_THAT(svg, HasSubstr(">q_proj<"));
  EXPECT_THAT(svg, HasSubstr("q_proj, layer 10: 41.00 dB"));
  EXPECT_THAT(svg, HasSubstr("up_proj, layer 0: 20.00 dB"));
  EXPECT_THAT(svg, Not(HasSubstr("30.00 dB")));
  EXPECT_THAT(svg, HasSubstr("lm_head: 50.00 dB"));
  EXPECT_THAT(svg, HasSubstr("equal everywhere: embed_tokens"));
  EXPECT_THAT(svg, HasSubstr("b against a&lt;"));
}

TEST(DiffPlot, KeepsTheWorstOfMoreKindsThanItCanDraw) {
  DiffReport report;
  for (int i = 0; i < 40; ++i)
    report.rows.push_back(
        row("layers.0.kind_" + std::string(1, static_cast<char>('A' + i)) + "_.weight", 60 - i));
  const std::string svg = diff_plot(report, "a", "b");
  EXPECT_THAT(svg, HasSubstr("the 18 worst of 40 kinds"));
  EXPECT_THAT(svg, HasSubstr("21.00 dB"));
  EXPECT_THAT(svg, Not(HasSubstr("60.00 dB")));
}

TEST(DiffPlot, TakesNamesOfEveryForm) {
  DiffReport report;
  for (const char* name :
       {"", ".", "weight", "..weight", "0", "99999999999.weight", "a.\x1b<.weight",
        "model.layers.99999999.x.weight", "model.layers.-1.x.weight"})
    report.rows.push_back(row(name, 10));
  EXPECT_THAT(diff_plot(report, "", "\xff"), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace torchao_cpp
