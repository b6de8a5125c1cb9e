// SPDX-License-Identifier: Apache-2.0
// Times every kernel of the kernel list on the linears of real models.
//
// A benchmark is named kernel/config/model.layer/NxK/M:rows. Weights rotate through more memory
// than the last cache level, so that M = 1 is measured as decoding meets it. Counters: GB/s of
// packed weight read, the share of the measured read bandwidth, GFLOP/s. Choose with
// --benchmark_filter=REGEX; JSON with --benchmark_format=json.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/parallel.h"
#include "bench/machine.h"
#include "kernels/linear_kernel.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp::bench {
namespace {

struct LayerShape {
  std::string_view name;
  std::int64_t output_size;
  std::int64_t input_size;
};

constexpr LayerShape kShapes[] = {
    {"demo.gate_up_proj", 2048, 384},     {"qwen3-0.6b.qkv_proj", 4096, 1024},
    {"qwen3-0.6b.down_proj", 1024, 3072}, {"llama3.2-1b.gate_up_proj", 16384, 2048},
    {"llama3-8b.o_proj", 4096, 4096},     {"llama3-8b.down_proj", 4096, 14336},
};

constexpr std::int64_t kRows[] = {1, 8, 64, 512};

/// What a weight is quantized to; "" leaves it plain.
constexpr std::string_view kConfigs[] = {"",           "int8wo", "int8dq", "int4wo-128",
                                         "intx4wo-32", "8da4w",  "fp8wo",  "fp8dq-row"};

/// A reference kernel serves tests; above this many multiply-adds a run would take minutes.
constexpr std::int64_t kReferenceLimit = std::int64_t{1} << 28;

struct Case {
  const LinearKernel* kernel;
  std::string_view config;
  LayerShape layer;
  std::int64_t rows;
};

Tensor random_weight(const LayerShape& layer) {
  Tensor weight = Tensor::empty(DType::kFloat32, {layer.output_size, layer.input_size});
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> value(-0.05F, 0.05F);
  for (float& w : weight.mutable_span<float>()) w = value(generator);
  return weight.to(DType::kBFloat16);
}

/// The weight in the form kernels take, or nullopt where the config leaves it alone or refuses it.
struct BenchWeight {
  Tensor plain;
  std::optional<QuantizedWeight> quantized;

  LinearProblem problem() const {
    LinearProblem result;
    result.quantized = quantized ? &*quantized : nullptr;
    result.plain = quantized ? Tensor{} : plain;
    result.activation_dtype = DType::kBFloat16;
    return result;
  }
};

std::optional<BenchWeight> make_weight(std::string_view config, const LayerShape& layer) {
  BenchWeight weight{random_weight(layer), std::nullopt};
  if (config.empty()) return weight;
  const ConfigPtr parsed = config_from_shorthand(config);
  if (!parsed) return std::nullopt;
  try {
    const QuantizeOutcome outcome = quantize_tensor(weight.plain, *parsed);
    if (!outcome.weight) return std::nullopt;
    weight.quantized = outcome.weight->to_quantized_weight();
  } catch (const Error&) {
    return std::nullopt;
  }
  return weight;
}

/// Enough copies of the packed weight to overflow the last cache level, at most 64.
std::vector<std::unique_ptr<PackedWeight>> pack_copies(const LinearKernel& kernel,
                                                       const LinearProblem& problem) {
  std::vector<std::unique_ptr<PackedWeight>> copies;
  copies.push_back(kernel.pack(problem));
  const std::int64_t bytes = std::max<std::int64_t>(copies[0]->nbytes(), 1);
  const std::int64_t wanted =
      std::clamp<std::int64_t>(2 * last_level_cache_bytes() / bytes + 1, 2, 64);
  while (static_cast<std::int64_t>(copies.size()) < wanted) copies.push_back(kernel.pack(problem));
  return copies;
}

void run_case(benchmark::State& state, const Case& item, double bandwidth) {
  const std::optional<BenchWeight> weight = make_weight(item.config, item.layer);
  if (!weight) return state.SkipWithError("the config does not quantize this shape");
  const LinearProblem problem = weight->problem();
  const Support support = check_support(*item.kernel, problem);
  if (!support.ok) return state.SkipWithError(support.reason.c_str());
  const auto copies = pack_copies(*item.kernel, problem);

  const LayerShape& layer = item.layer;
  Tensor x = random_weight({"x", item.rows, layer.input_size});
  Tensor y = Tensor::zeros(DType::kBFloat16, {item.rows, layer.output_size});
  Tensor workspace = Tensor::empty(
      DType::kUInt8,
      {std::max<std::int64_t>(item.kernel->workspace_bytes(*copies[0], item.rows), 1)});
  LinearArgs args;
  args.m = item.rows;
  args.x = x.bytes();
  args.y = y.mutable_bytes();
  args.y_stride = layer.output_size;
  args.workspace = workspace.mutable_bytes();

  std::size_t next = 0;
  for (auto _ : state) {
    item.kernel->run(*copies[next], args);
    benchmark::ClobberMemory();
    next = (next + 1) % copies.size();
  }

  const double bytes =
      static_cast<double>(copies[0]->nbytes()) * static_cast<double>(state.iterations());
  const double flops = 2.0 * static_cast<double>(item.rows * layer.output_size * layer.input_size) *
                       static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, benchmark::Counter::kIsRate);
  state.counters["of_bandwidth"] =
      benchmark::Counter(bytes / bandwidth, benchmark::Counter::kIsRate);
  state.counters["GFLOP/s"] = benchmark::Counter(flops / 1e9, benchmark::Counter::kIsRate);
}

/// Asks each kernel on a small weight of each config, so that the list of benchmarks costs no large
/// weights.
void register_benchmarks(double bandwidth) {
  constexpr LayerShape kProbe{"probe", 64, 256};
  for (const std::string_view config : kConfigs) {
    const std::optional<BenchWeight> probe = make_weight(config, kProbe);
    if (!probe) continue;
    for (const LinearKernel& item : kernel_list()) {
      const LinearKernel* kernel = &item;
      if (!check_support(*kernel, probe->problem()).ok) continue;
      for (const LayerShape& layer : kShapes) {
        for (const std::int64_t rows : kRows) {
          const bool is_slow = rows * layer.output_size * layer.input_size > kReferenceLimit;
          if (kernel->isa == "ref" && is_slow) continue;
          const std::string name =
              fmt::format("{}/{}/{}/{}x{}/M:{}/", kernel->name(), config.empty() ? "plain" : config,
                          layer.name, layer.output_size, layer.input_size, rows);
          const Case item{kernel, config, layer, rows};
          benchmark::RegisterBenchmark(name.c_str(), [item, bandwidth](benchmark::State& state) {
            run_case(state, item, bandwidth);
          })->UseRealTime();
        }
      }
    }
  }
}

}  // namespace
}  // namespace torchao_cpp::bench

int main(int argc, char** argv) {
  using namespace torchao_cpp;
  const double bandwidth = bench::measure_read_bandwidth();
  benchmark::AddCustomContext("cpu", bench::cpu_name());
  benchmark::AddCustomContext("threads", fmt::format("{}", num_threads()));
  benchmark::AddCustomContext("read_bandwidth", fmt::format("{:.1f} GB/s", bandwidth / 1e9));
  benchmark::AddCustomContext("compiler", __VERSION__);
  bench::register_benchmarks(bandwidth);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
