// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "models/svg_chart.h"
#include "torchao_cpp/llm.h"

/// diff_plot: which rows of a DiffReport become which lines.
namespace torchao_cpp {
namespace {

/// "model.layers.3.self_attn.q_proj.weight" is a q_proj of layer 3.
struct ProjectionName {
  std::string kind;
  std::optional<int> layer;
};

std::optional<int> number_of(std::string_view component) {
  constexpr std::size_t kMostDigits = 8;  // more is no layer
  if (component.empty() || component.size() > kMostDigits) return std::nullopt;
  int number = 0;
  const char* end = component.data() + component.size();
  const auto [stop, error] = std::from_chars(component.data(), end, number);
  const bool is_number = error == std::errc() && stop == end && number >= 0;
  return is_number ? std::optional(number) : std::nullopt;
}

// The last word before ".weight"; a parameter of another name is a kind of its own.
ProjectionName projection_name(std::string_view fqn) {
  ProjectionName out;
  std::string_view rest = fqn;
  while (!rest.empty()) {
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view component = rest.substr(0, dot);
    rest.remove_prefix(std::min(dot + 1, rest.size()));
    const std::optional<int> number = number_of(component);
    if (number && !out.layer) out.layer = number;
    const bool is_leaf = rest.empty() && component == "weight" && !out.kind.empty();
    if (!number && !is_leaf) out.kind = component;
  }
  return out;
}

/// The rows of one kind.
struct Kind {
  std::string name;
  std::map<double, double> worst;  ///< x -> least SQNR; NaN counts as least.
  bool differs = false;

  double least() const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    double out = kInfinity;
    for (const auto& [x, sqnr] : worst) out = std::min(out, std::isnan(sqnr) ? -kInfinity : sqnr);
    return out;
  }
};

/// All kinds of a report, and where weights outside the layers stand.
class Kinds {
 public:
  explicit Kinds(const DiffReport& report) {
    for (const DiffReport::Row& row : report.rows) {
      if (!row.problem.empty() || row.shape.size() < 2) continue;
      if (const auto layer = projection_name(row.fqn).layer) {
        first_ = has_layers_ ? std::min(first_, *layer) : *layer;
        last_ = has_layers_ ? std::max(last_, *layer) : *layer;
        has_layers_ = true;
      }
    }
    for (const DiffReport::Row& row : report.rows) {
      if (row.problem.empty() && row.shape.size() >= 2) add(row);
    }
  }

  /// Moves the kinds that are to be drawn into `chart`, and says in its footnote what is left out.
  void draw(Chart& chart) {
    const bool any_differs =
        std::any_of(all_.begin(), all_.end(), [](const Kind& kind) { return kind.differs; });
    std::string equal;
    std::vector<Kind> shown;
    for (Kind& kind : all_) {
      if (kind.differs || !any_differs) {
        shown.push_back(std::move(kind));
      } else {
        equal += (equal.empty() ? "" : ", ") + kind.name;
      }
    }
    if (!equal.empty()) chart.footnote = "equal everywhere: " + equal;
    if (shown.size() > kMostChartSeries) {
      std::stable_sort(shown.begin(), shown.end(),
                       [](const Kind& a, const Kind& b) { return a.least() < b.least(); });
      chart.footnote = fmt::format("the {} worst of {} kinds", kMostChartSeries, shown.size());
      shown.resize(kMostChartSeries);
    }
    for (const Kind& kind : shown) chart.series.push_back(series_of(kind));
    if (has_layers_) {
      chart.x_first = first_;
      chart.x_last = last_;
    }
    add_marks(chart);
  }

 private:
  double front() const { return has_layers_ ? first_ - 1.0 : 0; }
  double back() const { return has_layers_ ? last_ + 1.0 : 1; }

  void add(const DiffReport::Row& row) {
    const ProjectionName name = projection_name(row.fqn);
    double x = back();
    if (name.layer) {
      x = *name.layer;
    } else if (name.kind.find("embed") != std::string::npos) {
      x = front();
    }
    Kind& kind = find_or_add(name.kind);
    kind.differs = kind.differs || !row.numbers.is_equal;
    const double sqnr = row.numbers.sqnr_db;
    const auto [it, is_new] = kind.worst.emplace(x, sqnr);
    if (!is_new && (std::isnan(sqnr) || sqnr < it->second)) it->second = sqnr;
  }

  Kind& find_or_add(const std::string& name) {
    const auto it =
        std::find_if(all_.begin(), all_.end(), [&](const Kind& kind) { return kind.name == name; });
    if (it != all_.end()) return *it;
    all_.push_back({name, {}, false});
    return all_.back();
  }

  ChartSeries series_of(const Kind& kind) const {
    ChartSeries series{kind.name, {}};
    for (const auto& [x, sqnr] : kind.worst) {
      const bool is_layer = has_layers_ && x >= first_ && x <= last_;
      series.points.push_back(
          {x, sqnr,
           fmt::format("{}{}: {:.2f} dB", kind.name,
                       is_layer ? fmt::format(", layer {:.0f}", x) : "", sqnr)});
    }
    return series;
  }

  // The names of what stands before and after the layers.
  void add_marks(Chart& chart) const {
    for (const double x : {front(), back()}) {
      std::string label;
      for (const ChartSeries& series : chart.series) {
        const bool is_there = std::any_of(series.points.begin(), series.points.end(),
                                          [&](const ChartPoint& point) { return point.x == x; });
        if (is_there) label = label.empty() ? series.name : "others";
      }
      if (!label.empty()) chart.x_marks.push_back({x, label});
    }
  }

  std::vector<Kind> all_;
  bool has_layers_ = false;
  int first_ = 0;
  int last_ = 0;
};

}  // namespace

std::string diff_plot(const DiffReport& report, std::string_view name_a, std::string_view name_b) {
  Chart chart;
  chart.title = "Signal to quantization noise by layer";
  chart.subtitle = fmt::format("{} against {}", name_b, name_a);
  chart.x_label = "layer";
  chart.y_label = "SQNR in dB (higher is closer)";
  chart.least_y_span = 1;
  chart.infinite_label = "equal";
  chart.not_finite_label = "no value";
  Kinds(report).draw(chart);
  return svg_chart(chart);
}

}  // namespace torchao_cpp
