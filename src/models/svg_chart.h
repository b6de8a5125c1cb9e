// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

/// Line charts as self-contained SVG text.
namespace torchao_cpp {

/// A point whose y may be infinite or NaN: such points stand in lanes of their own above (infinite)
/// or below (anything else) the finite ones.
struct ChartPoint {
  double x = 0;
  double y = 0;
  std::string hint;  ///< Shown by browsers under the pointer.
};

/// One line; points by rising x.
struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points;
};

/// A named position on the x axis, such as one before the first number.
struct ChartMark {
  double x = 0;
  std::string label;
};

/// At most kMostChartSeries series; x are whole numbers, and their axis is numbered from x_first to
/// x_last (no numbers where x_last is less).
struct Chart {
  std::string title;
  std::string subtitle;
  std::string footnote;
  std::string x_label;
  std::string y_label;
  std::string infinite_label;    ///< Of the lane above.
  std::string not_finite_label;  ///< Of the lane below.
  double x_first = 0;
  double x_last = -1;
  std::vector<ChartMark> x_marks;
  double least_y_span =
      0;  ///< The y axis covers at least this much, so that noise looks like noise.
  std::vector<ChartSeries> series;
};

inline constexpr std::size_t kMostChartSeries = 18;

/// 1200 x 600, UTF-8, white background. Texts are escaped and cut where they would not fit.
std::string svg_chart(const Chart& chart);

/// Round numbers that cover [low, high] from the first to the last, at most `most` + 2 of them;
/// low <= high, both finite.
std::vector<double> round_ticks(double low, double high, int most);

/// Text for XML content and attributes: entities for & < > " ', U+FFFD for what XML cannot hold
/// (control characters, bytes that are no UTF-8); cut with "…" after `most` characters.
std::string xml_text(std::string_view text, std::size_t most);

}  // namespace torchao_cpp
