// SPDX-License-Identifier: Apache-2.0
#include "models/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "models/tokenizer/text.h"

namespace torchao_cpp {
namespace {

// Pixels.
constexpr double kWidth = 1200;
constexpr double kHeight = 600;
constexpr double kLeft = 90;
constexpr double kRight = 960;
constexpr double kTop = 84;
constexpr double kBottom = 510;
constexpr double kLane = 34;
constexpr double kLegendLine = 23;

constexpr const char* kInk = "#222222";
constexpr const char* kFaint = "#666666";
constexpr const char* kGrid = "#dddddd";

// Okabe and Ito's palette without its yellow, then further ones that differ from those in lightness
// as well; the marker's shape tells apart what the eye cannot.
constexpr auto kColours =
    std::to_array<const char*>({"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
                                "#000000", "#8b4513", "#7f3c8d", "#808000", "#c0003c", "#777777"});

const char* colour_of(std::size_t index) { return kColours[index % kColours.size()]; }

// A colour that comes again comes dashed.
const char* dashes_of(std::size_t index) {
  return index < kColours.size() ? "" : " stroke-dasharray=\"7 3\"";
}

/// What stands where.
class Frame {
 public:
  explicit Frame(const Chart& chart) {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    double x_low = low;
    double x_high = high;
    for (const ChartSeries& series : chart.series) {
      for (const ChartPoint& point : series.points) {
        x_low = std::min(x_low, point.x);
        x_high = std::max(x_high, point.x);
        if (std::isfinite(point.y)) {
          low = std::min(low, point.y);
          high = std::max(high, point.y);
        } else {
          (is_infinite(point.y) ? has_infinite_ : has_not_finite_) = true;
        }
      }
    }
    constexpr int kMostTicks = 8;
    const double missing = std::max(0.0, chart.least_y_span - (high - low)) / 2;
    if (low <= high) ticks_ = round_ticks(low - missing, high + missing, kMostTicks);
    constexpr double kMargin = 0.5;  // so that the first point does not lie on the axis
    x_low_ = (x_low <= x_high ? x_low : 0) - kMargin;
    x_high_ = (x_low <= x_high ? x_high : 0) + kMargin;
  }

  static bool is_infinite(double y) { return std::isinf(y) && y > 0; }

  double x(double value) const {
    return kLeft + (value - x_low_) / (x_high_ - x_low_) * (kRight - kLeft);
  }
  double y(double value) const {
    if (is_infinite(value)) return infinite_y();
    if (!std::isfinite(value)) return not_finite_y();
    return bottom() -
           (value - ticks_.front()) / (ticks_.back() - ticks_.front()) * (bottom() - top());
  }
  double top() const { return has_infinite_ ? kTop + kLane : kTop; }
  double bottom() const { return has_not_finite_ ? kBottom - kLane : kBottom; }
  static double infinite_y() { return kTop + kLane / 2; }
  static double not_finite_y() { return kBottom - kLane / 2; }

  bool has_infinite() const { return has_infinite_; }
  bool has_not_finite() const { return has_not_finite_; }
  const std::vector<double>& ticks() const { return ticks_; }

 private:
  bool has_infinite_ = false;
  bool has_not_finite_ = false;
  std::vector<double> ticks_;
  double x_low_ = 0;
  double x_high_ = 0;
};

/// Appends elements to the text of one SVG.
class Drawing {
 public:
  explicit Drawing(const Chart& chart) : chart_(chart), frame_(chart) {}

  std::string run() {
    out_ = fmt::format(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
        "{1}\" font-family=\"DejaVu Sans, Arial, sans-serif\">\n"
        "<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n",
        kWidth, kHeight);
    titles();
    y_axis();
    x_axis();
    line(kLeft, kTop, kLeft, kBottom, kInk, 1.2);
    line(kLeft, kBottom, kRight, kBottom, kInk, 1.2);
    for (std::size_t i = 0; i < chart_.series.size(); ++i) draw(chart_.series[i], i);
    for (std::size_t i = 0; i < chart_.series.size(); ++i) legend_entry(chart_.series[i], i);
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  void text(double x, double y, int size, const char* anchor, const char* fill,
            const std::string& escaped, const std::string& more = "") {
    out_ += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{}\" text-anchor=\"{}\" fill=\"{}\"{}>{}"
        "</text>\n",
        x, y, size, anchor, fill, more, escaped);
  }

  void line(double x1, double y1, double x2, double y2, const char* stroke, double width,
            const char* more = "") {
    out_ += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" "
        "stroke-width=\"{}\"{}/>\n",
        x1, y1, x2, y2, stroke, width, more);
  }

  // Characters that fit at their sizes, by the width of digits and small letters.
  void titles() {
    text(kLeft, 34, 20, "start", kInk, xml_text(chart_.title, 95), " font-weight=\"bold\"");
    text(kLeft, 60, 14, "start", kFaint, xml_text(chart_.subtitle, 135));
    text(kLeft, 590, 12, "start", kFaint, xml_text(chart_.footnote, 160));
    text((kLeft + kRight) / 2, 566, 15, "middle", kInk, xml_text(chart_.x_label, 80));
    const double middle = (kTop + kBottom) / 2;
    text(28, middle, 15, "middle", kInk, xml_text(chart_.y_label, 50),
         fmt::format(" transform=\"rotate(-90 28 {:.1f})\"", middle));
  }

  void y_axis() {
    const auto& ticks = frame_.ticks();
    const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : 1;
    const int digits = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 9);
    for (const double tick : ticks) {
      const double y = frame_.y(tick);
      line(kLeft, y, kRight, y, kGrid, 1);
      line(kLeft - 5, y, kLeft, y, kInk, 1.2);
      text(kLeft - 10, y + 4.5, 13, "end", kInk, fmt::format("{:.{}f}", tick, digits));
    }
    if (frame_.has_infinite()) lane(frame_.top(), Frame::infinite_y(), chart_.infinite_label);
    if (frame_.has_not_finite())
      lane(frame_.bottom(), Frame::not_finite_y(), chart_.not_finite_label);
  }

  void lane(double edge, double y, const std::string& label) {
    line(kLeft, edge, kRight, edge, kFaint, 1, " stroke-dasharray=\"3 4\"");
    text(kLeft - 10, y + 4.5, 13, "end", kInk, xml_text(label, 9));
  }

  void x_axis() {
    constexpr double kMostTicks = 24;
    double step = 1;
    for (int i = 0; (chart_.x_last - chart_.x_first) / step >= kMostTicks; ++i)
      step *= i % 3 == 1 ? 2.5 : 2;
    for (double x = std::ceil(chart_.x_first / step) * step; x <= chart_.x_last; x += step)
      x_tick(x, kBottom + 21, fmt::format("{:.0f}", x));
    // One line lower: names are wider than the distance of layers.
    for (const ChartMark& mark : chart_.x_marks)
      x_tick(mark.x, kBottom + 38, xml_text(mark.label, 14));
  }

  void x_tick(double x, double text_y, const std::string& escaped) {
    line(frame_.x(x), kBottom, frame_.x(x), kBottom + 5, kInk, 1.2);
    text(frame_.x(x), text_y, 13, "middle", kInk, escaped);
  }

  void draw(const ChartSeries& series, std::size_t index) {
    std::string path;
    bool is_open = false;
    for (const ChartPoint& point : series.points) {
      const bool is_finite = std::isfinite(point.y);
      if (is_finite) {
        path += fmt::format("{}{:.1f} {:.1f}", is_open ? " L" : " M", frame_.x(point.x),
                            frame_.y(point.y));
      }
      is_open = is_finite;
    }
    if (!path.empty()) {
      out_ += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>\n",
                          path.substr(1), colour_of(index), dashes_of(index));
    }
    for (const ChartPoint& point : series.points)
      marker(frame_.x(point.x), frame_.y(point.y), index, point.hint);
  }

  // Circle, square, triangles and diamond of about the same area.
  void marker(double x, double y, std::size_t index, const std::string& hint) {
    const char* colour = colour_of(index);
    const std::string title =
        hint.empty() ? "" : fmt::format("<title>{}</title>", xml_text(hint, 200));
    constexpr auto kPolygons = std::to_array<std::array<double, 8>>({
        {-4, -4, 4, -4, 4, 4, -4, 4},
        {0, -5.5, 5, 4, -5, 4, -5, 4},
        {0, -5.5, 5.5, 0, 0, 5.5, -5.5, 0},
        {0, 5.5, 5, -4, -5, -4, -5, -4},
    });
    const std::size_t shape = index % (kPolygons.size() + 1);
    if (shape == 0) {
      out_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.5\" fill=\"{}\">{}</circle>\n",
                          x, y, colour, title);
      return;
    }
    std::string points;
    const auto& corners = kPolygons[shape - 1];
    for (std::size_t i = 0; i < corners.size(); i += 2) {
      points +=
          fmt::format("{}{:.1f},{:.1f}", i == 0 ? "" : " ", x + corners[i], y + corners[i + 1]);
    }
    out_ += fmt::format("<polygon points=\"{}\" fill=\"{}\">{}</polygon>\n", points, colour, title);
  }

  void legend_entry(const ChartSeries& series, std::size_t index) {
    const double x = kRight + 28;
    const double y = kTop + 8 + kLegendLine * static_cast<double>(index);
    line(x, y, x + 34, y, colour_of(index), 2, dashes_of(index));
    marker(x + 17, y, index, "");
    text(x + 44, y + 4.5, 14, "start", kInk, xml_text(series.name, 18));
  }

  const Chart& chart_;
  Frame frame_;
  std::string out_;
};

std::string_view entity_of(char32_t c) {
  switch (c) {
    case U'&':
      return "&amp;";
    case U'<':
      return "&lt;";
    case U'>':
      return "&gt;";
    case U'"':
      return "&quot;";
    case U'\'':
      return "&apos;";
    default:
      return {};
  }
}

}  // namespace

std::string svg_chart(const Chart& chart) { return Drawing(chart).run(); }

std::vector<double> round_ticks(double low, double high, int most) {
  // A flat line gets room above and below it.
  const double least = std::max(std::fabs(high), 1.0) * 1e-6;
  if (high - low < least) {
    low -= 1;
    high += 1;
  }
  const double raw = (high - low) / most;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power >= raw * (1 - 1e-9)) step = factor * power;
  }
  std::vector<double> ticks;
  const double first = std::floor(low / step);
  // Counted, not summed: the last tick must not be lost to rounding. Outwards rounding of both ends
  // adds at most two.
  const int count = static_cast<int>(std::ceil(high / step) - first);
  for (int i = 0; i <= count; ++i) ticks.push_back((first + i) * step);
  return ticks;
}

std::string xml_text(std::string_view text, std::size_t most) {
  const std::string valid = replace_broken_utf8(text);
  std::string out;
  std::size_t count = 0;
  for (std::size_t i = 0; i < valid.size();) {
    if (count++ == most) return out + "\u2026";
    const CodePoint c = code_point_at(valid, i);
    const std::string_view entity = entity_of(c.value);
    if (!entity.empty()) {
      out += entity;
    } else if (c.value < 0x20 || c.value == 0x7F || c.value == 0xFFFE || c.value == 0xFFFF) {
      out += "\uFFFD";
    } else {
      out += valid.substr(i, c.length);
    }
    i += c.length;
  }
  return out;
}

}  // namespace torchao_cpp
