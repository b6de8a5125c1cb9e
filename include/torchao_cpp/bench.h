// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/export.h"
#include "torchao_cpp/llm.h"

/// Speed of linears, of quantizing and of whole models, beside what the machine could do at best.
namespace torchao_cpp {

/// Operations a second that the arithmetic units reach without any memory, on all threads. A multiply-add is two.
struct PeakRate {
  std::string name;  ///< "f32", "int8_vnni", "bf16_avx512", "int8_amx", "bf16_amx"
  double operations_per_second = 0;
};

/// What the figures of a run are compared with; measured in that run.
struct BenchMachine {
  std::string gpu;  ///< The driver's name; empty: the figures are the CPU's.
  std::string cpu;  ///< As /proc/cpuinfo names it, or "unknown".
  int threads = 0;
  double read_bandwidth = 0;  ///< Bytes a second that all threads read from memory; a GPU, from its own.
  std::vector<PeakRate> peaks;
};
/// Takes a second or two and up to 1 GiB of memory. Peaks are those of the instruction sets that kernels may use here; of
/// a GPU none are measured. Throws DeviceError or UnsupportedError for a GPU that is not there.
TORCHAO_CPP_EXPORT BenchMachine measure_machine(Device device = {});

/// Says what is being measured and how many of how many measurements are done. May throw to stop.
using BenchProgress = std::function<void(std::string_view what, std::int64_t done, std::int64_t total)>;

/// A weight [N, K].
struct WeightShape {
  std::int64_t output_size = 0;
  std::int64_t input_size = 0;
};

/// Name of an unquantized weight among the configs of a benchmark.
inline constexpr std::string_view kPlainConfig = "plain";

struct BenchLinearOptions {
  std::vector<WeightShape> shapes;
  std::vector<std::string> configs;  ///< Shorthands, or kPlainConfig.
  std::vector<std::int64_t> rows;    ///< M
  std::string force_kernel;          ///< As LinearOptions::force_kernel; empty: the kernel that a model would get.
  double seconds = 0.3;              ///< Of each measurement, at least.
  /// Bytes of distinct packed weights that few rows (at most 16) go through in turn, so that no cache holds them.
  std::int64_t rotation_bytes = std::int64_t{1} << 30;
  BenchProgress progress;
};

/// One shape, config and M.
struct BenchLinearRow {
  WeightShape shape;
  std::string config;
  std::int64_t rows = 0;
  std::string problem;  ///< Why there are no figures; empty otherwise.
  std::string kernel;
  std::int64_t packed_bytes = 0;
  std::int64_t runs = 0;
  double seconds = 0;  ///< Median of the runs.
  std::string peak;    ///< PeakRate::name that the kernel's arithmetic is compared with.
  double bytes_per_second = 0;
  double bandwidth_share = 0;  ///< Of BenchMachine::read_bandwidth.
  double operations_per_second = 0;
  double peak_share = 0;
};
/// Random bfloat16 weights and activations. Throws Error for an unknown config, no shapes, a size below 1.
TORCHAO_CPP_EXPORT std::vector<BenchLinearRow> bench_linear(const BenchLinearOptions& options, const BenchMachine& machine);

/// Self-contained SVG of 1200 x 600: shares of the memory and arithmetic limits over M, the greater of the two, one line for each config
/// and shape (the first 18).
TORCHAO_CPP_EXPORT std::string bench_linear_plot(const std::vector<BenchLinearRow>& rows, const BenchMachine& machine);

struct BenchQuantizeOptions {
  /// A model folder whose linears' weights are quantized; empty: random weights of `shapes`.
  std::filesystem::path directory;
  std::vector<WeightShape> shapes;
  std::vector<std::string> configs;  ///< Shorthands.
  double seconds = 0.5;              ///< Of each measurement of a shape, at least. A model is quantized once.
  BenchProgress progress;
};

/// One config, over one shape or over a model.
struct BenchQuantizeRow {
  std::string what;  ///< "4096x4096", or the folder.
  std::string config;
  std::string problem;  ///< Why there are no figures; empty otherwise.
  std::int64_t input_bytes = 0;  ///< bfloat16
  double seconds = 0;            ///< Median for a shape, the sum for a model.
  double bytes_per_second = 0;   ///< Of input.
  double bandwidth_share = 0;
};
/// Quantizes in memory; writes nothing. Throws as bench_linear and Checkpoint do.
TORCHAO_CPP_EXPORT std::vector<BenchQuantizeRow> bench_quantize(const BenchQuantizeOptions& options, const BenchMachine& machine);

struct BenchModelOptions {
  ModelOptions model;  ///< max_batch and max_model_len are set from what follows, the latter unless it is given.
  std::vector<std::int64_t> batches;
  std::int64_t prompt_tokens = 1024;
  std::int64_t decode_tokens = 64;
  std::int64_t repeats = 3;
  BenchProgress progress;
};

/// Where a phase's time went, as parts of 1.
struct BenchShares {
  double linears = 0;
  double attention = 0;
  double other = 0;  ///< Norms, rotation, activation function, embedding, scheduling.
  double sampling = 0;
};

/// One batch size. Rates are medians over the repeats, shares are over all of them.
struct BenchModelRow {
  std::int64_t batch = 0;
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;  ///< Of all sequences together.
  BenchShares prefill;
  BenchShares decode;
  std::int64_t decode_bytes = 0;   ///< Read for one token of each sequence: weights of the linears once, the caches.
  double decode_limit = 0;         ///< Tokens a second if reading these were all there is to do.
  double decode_limit_share = 0;   ///< decode_tokens_per_second / decode_limit
};

struct BenchModelReport {
  std::int64_t weight_bytes = 0;
  std::int64_t linear_weight_bytes = 0;
  std::int64_t kv_bytes_per_token = 0;
  double load_seconds = 0;
  bool has_shares = true;  ///< False on a GPU, which has no clock for the parts of a step.
  std::vector<BenchModelRow> rows;
  std::vector<std::string> notices;
};
/// Prompts of random ids; end-of-sequence ids are ignored. A `directory` that is a file is the config.json of a model whose
/// weights are random (ModelOptions::random_weights). Throws as LLM does, and Error for a size below 1.
TORCHAO_CPP_EXPORT BenchModelReport bench_model(const std::filesystem::path& directory, const BenchModelOptions& options,
                                                const BenchMachine& machine);

}  // namespace torchao_cpp
