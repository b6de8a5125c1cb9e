// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include "bench/machine.h"
#include "models/svg_chart.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/linear.h"

namespace torchao_cpp {
namespace {

using Clock = std::chrono::steady_clock;

// Up to so many rows a product is bound by reading the weight.
constexpr std::int64_t kFewRows = 16;
constexpr std::size_t kMostRuns = 100000;

/// The rate that the arithmetic of a kernel ("operation/isa") is held against.
std::string peak_of(std::string_view kernel, const BenchMachine& machine) {
  const std::size_t slash = kernel.find('/');
  const std::string_view operation = kernel.substr(0, slash);
  const std::string_view isa = kernel.substr(slash + 1);
  const bool is_integer =
      operation.starts_with("int8_dynamic") || operation.starts_with("int8_static");
  std::string name = "f32";
  if (isa.starts_with("amx")) {
    name = is_integer ? "int8_amx" : "bf16_amx";
  } else if (isa == "avx512_bf16") {
    name = "bf16_avx512";
  } else if (is_integer && (isa.find("vnni") != std::string_view::npos || isa == "onednn")) {
    name = "int8_vnni";
  }
  const bool is_measured = std::any_of(machine.peaks.begin(), machine.peaks.end(),
                                       [&](const PeakRate& peak) { return peak.name == name; });
  return is_measured ? name : "f32";
}

double peak_rate(const BenchMachine& machine, const std::string& name) {
  for (const PeakRate& peak : machine.peaks) {
    if (peak.name == name) return peak.operations_per_second;
  }
  return 0;
}

/// With memory of its own: kernels that do not repack would share the original's.
LoadedWeight deep_copy(const LoadedWeight& weight) {
  if (!weight.quantized) return {weight.plain.clone(), nullptr};
  TensorParts parts = weight.quantized->to_parts();
  for (auto& [name, tensor] : parts.parts) tensor = tensor.clone();
  return loaded_weight_from_parts(parts, "weight");
}

/// One weight many times, so that each run meets one that no cache holds.
class RotatingLinear {
 public:
  RotatingLinear(const WeightShape& shape, const std::string& config, std::string_view kernel)
      : kernel_(kernel) {
    weight_.plain = random_weight(shape, 1);
    if (config == kPlainConfig) {
      copies_.emplace_back(weight_, DType::kBFloat16, kernel_);
      return;
    }
    QuantizedParam quantized = quantize_param_data(weight_.plain, *bench_config(config));
    if (!quantized.weight.quantized) throw UnsupportedError(quantized.reason);
    weight_ = std::move(quantized.weight);
    copies_.emplace_back(weight_, DType::kBFloat16, kernel_);
  }

  void rotate_over(std::int64_t bytes) {
    const std::int64_t each = std::max<std::int64_t>(first().packed_bytes(), 1);
    while (static_cast<std::int64_t>(copies_.size()) * each < bytes)
      copies_.emplace_back(deep_copy(weight_), DType::kBFloat16, kernel_);
  }

  const Linear& first() const { return copies_.front(); }
  const Linear& next() { return copies_[next_++ % copies_.size()]; }
  std::size_t count() const { return copies_.size(); }

 private:
  std::string kernel_;
  LoadedWeight weight_;
  std::vector<Linear> copies_;
  std::size_t next_ = 0;
};

void measure(RotatingLinear& linear, const BenchLinearOptions& options, BenchLinearRow& row) {
  const WeightShape& shape = row.shape;
  const Tensor x = random_weight({row.rows, shape.input_size}, 2);
  Tensor y = Tensor::zeros(DType::kBFloat16, {row.rows, shape.output_size});
  Tensor workspace = Tensor::empty(
      DType::kUInt8, {std::max<std::int64_t>(linear.first().workspace_bytes(row.rows), 1)});
  const LinearContext context{workspace.mutable_bytes(), {}};
  std::vector<double> seconds;
  double total = 0;
  // The first runs touch every page and wake the threads.
  const std::size_t warm_up = row.rows <= kFewRows ? linear.count() : 1;
  for (std::size_t i = 0; i < kMostRuns + warm_up; ++i) {
    const Linear& copy = linear.next();
    const Clock::time_point start = Clock::now();
    copy.apply(x.bytes(), row.rows, nullptr, y.mutable_bytes(), shape.output_size, context);
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    if (i < warm_up) continue;
    seconds.push_back(elapsed);
    total += elapsed;
    if (total >= options.seconds && seconds.size() >= 5) break;
  }
  row.runs = static_cast<std::int64_t>(seconds.size());
  row.seconds = median(std::move(seconds));
}

void fill_rates(BenchLinearRow& row, const BenchMachine& machine) {
  const double multiply_adds = static_cast<double>(row.rows) *
                               static_cast<double>(row.shape.output_size) *
                               static_cast<double>(row.shape.input_size);
  row.peak = peak_of(row.kernel, machine);
  row.bytes_per_second = static_cast<double>(row.packed_bytes) / row.seconds;
  row.bandwidth_share = row.bytes_per_second / machine.read_bandwidth;
  row.operations_per_second = 2 * multiply_adds / row.seconds;
  row.peak_share = row.operations_per_second / peak_rate(machine, row.peak);
}

void check(const BenchLinearOptions& options) {
  check_shapes(options.shapes);
  for (const std::string& config : options.configs) {
    if (config != kPlainConfig) bench_config(config);
  }
  for (const std::int64_t m : options.rows) {
    if (m < 1) throw Error(fmt::format("M is {}; expected at least 1", m), "validation");
  }
}

}  // namespace

std::vector<BenchLinearRow> bench_linear(const BenchLinearOptions& options,
                                         const BenchMachine& machine) {
  check(options);
  std::vector<BenchLinearRow> rows;
  const auto total = static_cast<std::int64_t>(options.shapes.size() * options.configs.size() *
                                               options.rows.size());
  for (const WeightShape& shape : options.shapes) {
    for (const std::string& config : options.configs) {
      std::optional<RotatingLinear> linear;
      std::string problem;
      const std::string what = fmt::format("{}x{} {}", shape.output_size, shape.input_size, config);
      if (options.progress) options.progress(what, static_cast<std::int64_t>(rows.size()), total);
      try {
        linear.emplace(shape, config, options.force_kernel);
      } catch (const Error& error) {
        problem = error.what();
      }
      const bool has_few = std::any_of(options.rows.begin(), options.rows.end(),
                                       [](std::int64_t m) { return m <= kFewRows; });
      if (linear && has_few) linear->rotate_over(options.rotation_bytes);
      for (const std::int64_t m : options.rows) {
        if (options.progress) options.progress(what, static_cast<std::int64_t>(rows.size()), total);
        BenchLinearRow row;
        row.shape = shape;
        row.config = config;
        row.rows = m;
        row.problem = problem;
        if (linear) {
          row.kernel = linear->first().kernel_name();
          row.packed_bytes = linear->first().packed_bytes();
          measure(*linear, options, row);
          fill_rates(row, machine);
        }
        rows.push_back(std::move(row));
      }
    }
  }
  return rows;
}

std::string bench_linear_plot(const std::vector<BenchLinearRow>& rows,
                              const BenchMachine& machine) {
  // M grows by powers: its measured values stand at equal distances.
  std::map<std::int64_t, double> positions;
  for (const BenchLinearRow& row : rows) positions[row.rows] = 0;
  Chart chart;
  double next = 0;
  for (auto& [m, x] : positions) {
    x = next++;
    chart.x_marks.push_back({x, fmt::format("M = {}", m)});
  }
  for (const BenchLinearRow& row : rows) {
    if (!row.problem.empty()) continue;
    const std::string name =
        fmt::format("{} {}x{}", row.config, row.shape.output_size, row.shape.input_size);
    if (chart.series.empty() || chart.series.back().name != name) {
      if (chart.series.size() == kMostChartSeries) break;
      chart.series.push_back({name, {}});
    }
    const bool is_memory = row.bandwidth_share >= row.peak_share;
    chart.series.back().points.push_back(
        {positions[row.rows], 100 * std::max(row.bandwidth_share, row.peak_share),
         fmt::format("{}, M = {}: {:.1f} us, {:.0f} % of the {} limit", name, row.rows,
                     1e6 * row.seconds, 100 * std::max(row.bandwidth_share, row.peak_share),
                     is_memory ? "memory" : row.peak)});
  }
  for (ChartSeries& series : chart.series) {
    std::sort(series.points.begin(), series.points.end(),
              [](const ChartPoint& a, const ChartPoint& b) { return a.x < b.x; });
  }
  chart.title = "Linears: share of what the machine can do";
  chart.subtitle = fmt::format("{}, {} threads, {:.1f} GB/s", machine.cpu, machine.threads,
                               machine.read_bandwidth / 1e9);
  chart.x_label = "rows of the activation";
  chart.y_label = "% of the memory or arithmetic limit, the greater";
  chart.least_y_span = 10;
  chart.infinite_label = "none";
  chart.not_finite_label = "no value";
  return svg_chart(chart);
}

}  // namespace torchao_cpp
