// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <chrono>

#include "bench/machine.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/linear.h"

namespace torchao_cpp {
namespace {

using Clock = std::chrono::steady_clock;

/// Seconds of one go. Throws UnsupportedError where the config leaves the weight plain.
double quantize_once(const Tensor& weight, const AOBaseConfig& config) {
  const Clock::time_point start = Clock::now();
  const QuantizedParam result = quantize_param_data(weight, config);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (!result.weight.quantized) throw UnsupportedError(result.reason);
  return seconds;
}

void measure_shape(const Tensor& weight, const AOBaseConfig& config, double least_seconds,
                   BenchQuantizeRow& row) {
  quantize_once(weight, config);  // Touches the pages and wakes the threads.
  std::vector<double> seconds;
  for (double total = 0; total < least_seconds || seconds.size() < 3; total += seconds.back())
    seconds.push_back(quantize_once(weight, config));
  row.input_bytes = weight.nbytes();
  row.seconds = median(std::move(seconds));
}

bool is_linear_weight(const CheckpointEntry& entry) {
  return entry.fqn.ends_with("_proj.weight") && entry.plain.defined() && entry.plain.dim() == 2 &&
         is_high_precision(entry.plain.dtype());
}

class Run {
 public:
  Run(const BenchQuantizeOptions& options, const BenchMachine& machine)
      : options_(options), machine_(machine) {}

  std::vector<BenchQuantizeRow> shapes() {
    total_ = static_cast<std::int64_t>(options_.shapes.size() * options_.configs.size());
    for (const WeightShape& shape : options_.shapes) {
      const Tensor weight = random_weight(shape, 1);
      for (const std::string& config : options_.configs) {
        add(fmt::format("{}x{}", shape.output_size, shape.input_size), config,
            [&](const AOBaseConfig& typed, BenchQuantizeRow& row) {
              measure_shape(weight, typed, options_.seconds, row);
            });
      }
    }
    return std::move(rows_);
  }

  std::vector<BenchQuantizeRow> model() {
    const Checkpoint checkpoint(options_.directory);
    total_ = static_cast<std::int64_t>(options_.configs.size());
    for (const std::string& config : options_.configs) {
      add(options_.directory.string(), config,
          [&](const AOBaseConfig& typed, BenchQuantizeRow& row) {
            for (const std::string& name : checkpoint.names()) {
              const CheckpointEntry entry = checkpoint.entry(name);
              if (!is_linear_weight(entry)) continue;
              // A copy: what is measured is not the disk.
              const Tensor weight = entry.plain.to(DType::kBFloat16).clone();
              row.seconds += quantize_once(weight, typed);
              row.input_bytes += weight.nbytes();
            }
            if (row.input_bytes == 0)
              throw UnsupportedError("the folder holds no unquantized weights of linears");
          });
    }
    return std::move(rows_);
  }

 private:
  template <typename F>
  void add(std::string what, const std::string& config, const F& fill) {
    if (options_.progress) {
      options_.progress(fmt::format("{} {}", what, config), static_cast<std::int64_t>(rows_.size()),
                        total_);
    }
    BenchQuantizeRow row;
    row.what = std::move(what);
    row.config = config;
    try {
      fill(*bench_config(config), row);
      row.bytes_per_second = static_cast<double>(row.input_bytes) / row.seconds;
      row.bandwidth_share = row.bytes_per_second / machine_.read_bandwidth;
    } catch (const Error& error) {
      row.problem = error.what();
    }
    rows_.push_back(std::move(row));
  }

  const BenchQuantizeOptions& options_;
  const BenchMachine& machine_;
  std::int64_t total_ = 0;
  std::vector<BenchQuantizeRow> rows_;
};

}  // namespace

std::vector<BenchQuantizeRow> bench_quantize(const BenchQuantizeOptions& options,
                                             const BenchMachine& machine) {
  for (const std::string& config : options.configs) bench_config(config);
  if (!options.directory.empty()) return Run(options, machine).model();
  check_shapes(options.shapes);
  return Run(options, machine).shapes();
}

}  // namespace torchao_cpp
