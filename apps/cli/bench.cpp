// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/bench.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <memory>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "table.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

/// `torchao bench`: speed of linears, of quantizing and of models, as shares of what the machine
/// can do.
namespace torchao_cpp::cli {
namespace {

std::vector<WeightShape> parse_shapes(const std::vector<std::string>& texts) {
  std::vector<WeightShape> shapes;
  for (const std::string& text : texts) {
    WeightShape shape;
    const char* const end = text.data() + text.size();
    const auto n = std::from_chars(text.data(), end, shape.output_size);
    const bool has_cross = n.ec == std::errc() && n.ptr != end && *n.ptr == 'x';
    const auto k = std::from_chars(has_cross ? n.ptr + 1 : end, end, shape.input_size);
    constexpr std::int64_t kMost = std::int64_t{1} << 24;
    if (!has_cross || k.ec != std::errc() || k.ptr != end || shape.output_size < 1 ||
        shape.input_size < 1 || shape.output_size > kMost || shape.input_size > kMost) {
      throw UsageError(fmt::format("'{}': expected a shape NxK such as 4096x1024, each at most {}",
                                   text, kMost));
    }
    shapes.push_back(shape);
  }
  return shapes;
}

// Said before the work rather than after it.
void check_file(const std::string& path) {
  if (path.empty()) return;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    throw IoError(fmt::format("{}: is a folder; expected the name of a file", path));
  if (!folder.empty() && !std::filesystem::is_directory(folder, error))
    throw IoError(fmt::format("{}: its folder does not exist", path));
}

// Under another name first: a file of that name is whole or not there.
void write_file(const std::string& path, const std::string& text) {
  if (path.empty()) return;
  const std::string temporary = path + ".part";
  std::ofstream file(temporary, std::ios::binary);
  file << text;
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(temporary, path, error);
  if (!file || error) {
    std::filesystem::remove(temporary, error);
    throw IoError(fmt::format("{}: the file cannot be written there", path));
  }
}

Json machine_as_json(const BenchMachine& machine) {
  Json peaks = Json::object();
  for (const PeakRate& peak : machine.peaks) peaks[peak.name] = peak.operations_per_second;
  return {{"gpu", machine.gpu.empty() ? Json() : Json(machine.gpu)},
          {"cpu", machine.cpu},
          {"threads", machine.threads},
          {"read_bytes_per_second", machine.read_bandwidth},
          {"peak_operations_per_second", std::move(peaks)},
          {"version", version()}};
}

void print_machine(const BenchMachine& machine) {
  const std::string what =
      machine.gpu.empty() ? fmt::format("{}, {} threads", printable(machine.cpu), machine.threads)
                          : printable(machine.gpu);
  std::string text = fmt::format("{}: reads {:.1f} GB/s", what, machine.read_bandwidth / 1e9);
  for (const PeakRate& peak : machine.peaks)
    text += fmt::format(", {} {:.0f} GOP/s", peak.name, peak.operations_per_second / 1e9);
  write_out(text + "\n\n");
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }
std::string percent(double share) { return fmt::format("{:.1f}", 100 * share); }

BenchProgress progress_on(ProgressBar& bar) {
  return [&bar](std::string_view what, std::int64_t done, std::int64_t total) {
    check_interrupted();
    bar.update(what, done, total, false);
  };
}

/// What all three take.
struct Common {
  int threads = 0;
  std::string json;

  void declare(CLI::App& command) {
    command.add_option("--threads", threads, "CPU threads (default: all)")
        ->check(CLI::Range(1, 4096));
    command.add_option("--json", json, "JSON file to write");
  }
  void start() const {
    watch_interrupts();
    check_file(json);
    if (threads > 0) set_threads(threads);
  }
};

struct LinearArguments {
  Common common;
  std::vector<std::string> shapes{"4096x4096", "14336x4096", "4096x14336", "3072x1024"};
  std::string plot;
  BenchLinearOptions options;
  double rotation_mib = 1024;

  LinearArguments() {
    options.configs = {"plain", "int8wo", "int8dq", "int4wo-128", "8da4w", "fp8wo"};
    options.rows = {1, 4, 16, 64, 512};
  }
};

Json row_as_json(const BenchLinearRow& row) {
  Json out = {{"shape", {row.shape.output_size, row.shape.input_size}},
              {"config", row.config},
              {"m", row.rows},
              {"problem", text_or_null(row.problem)}};
  if (!row.problem.empty()) return out;
  out["kernel"] = row.kernel;
  out["packed_bytes"] = row.packed_bytes;
  out["runs"] = row.runs;
  out["seconds"] = row.seconds;
  out["bytes_per_second"] = row.bytes_per_second;
  out["bandwidth_share"] = row.bandwidth_share;
  out["operations_per_second"] = row.operations_per_second;
  out["peak"] = row.peak;
  out["peak_share"] = row.peak_share;
  return out;
}

int run_linear(LinearArguments arguments) {
  arguments.options.shapes = parse_shapes(arguments.shapes);
  arguments.options.rotation_bytes = static_cast<std::int64_t>(arguments.rotation_mib * 1048576);
  arguments.common.start();
  check_file(arguments.plot);
  const BenchMachine machine = measure_machine();
  ProgressBar bar;
  arguments.options.progress = progress_on(bar);
  const std::vector<BenchLinearRow> rows = bench_linear(arguments.options, machine);
  bar.clear();
  Table table({{"N x K"},
               {"config"},
               {"kernel"},
               {"M", true},
               {"us", true},
               {"GB/s", true},
               {"% of read", true},
               {"GOP/s", true},
               {"% of peak", true},
               {"peak"},
               {"remark"}});
  Json list = Json::array();
  for (const BenchLinearRow& row : rows) {
    list.push_back(row_as_json(row));
    Table::Row cells{fmt::format("{}x{}", row.shape.output_size, row.shape.input_size), row.config,
                     row.kernel, fmt::format("{}", row.rows)};
    if (row.problem.empty()) {
      cells.insert(cells.end(),
                   {fmt::format("{:.1f}", 1e6 * row.seconds),
                    fmt::format("{:.1f}", row.bytes_per_second / 1e9), percent(row.bandwidth_share),
                    fmt::format("{:.0f}", row.operations_per_second / 1e9), percent(row.peak_share),
                    row.peak, ""});
    } else {
      cells.insert(cells.end(), {"", "", "", "", "", "", row.problem});
    }
    table.add(std::move(cells));
  }
  print_machine(machine);
  write_out(table.text());
  if (!arguments.common.json.empty()) {
    write_file(arguments.common.json,
               json_text({{"machine", machine_as_json(machine)}, {"linears", std::move(list)}}));
  }
  if (!arguments.plot.empty()) write_file(arguments.plot, bench_linear_plot(rows, machine));
  return 0;
}

struct QuantizeArguments {
  Common common;
  std::string directory;
  std::vector<std::string> shapes;
  BenchQuantizeOptions options;

  QuantizeArguments() { options.configs = {"int8wo", "int4wo-128", "8da4w", "fp8wo"}; }
};

int run_quantize(QuantizeArguments arguments) {
  if (arguments.directory.empty() == arguments.shapes.empty())
    throw UsageError("bench quantize: give either DIR or --shapes");
  arguments.options.directory = arguments.directory;
  arguments.options.shapes = parse_shapes(arguments.shapes);
  arguments.common.start();
  const BenchMachine machine = measure_machine();
  ProgressBar bar;
  arguments.options.progress = progress_on(bar);
  const std::vector<BenchQuantizeRow> rows = bench_quantize(arguments.options, machine);
  bar.clear();
  Table table({{"weight"},
               {"config"},
               {"input"},
               {"ms", true},
               {"GB/s of bf16", true},
               {"% of read", true},
               {"remark"}});
  Json list = Json::array();
  for (const BenchQuantizeRow& row : rows) {
    Json out = {
        {"weight", row.what}, {"config", row.config}, {"problem", text_or_null(row.problem)}};
    if (row.problem.empty()) {
      out.update({{"input_bytes", row.input_bytes},
                  {"seconds", row.seconds},
                  {"bytes_per_second", row.bytes_per_second},
                  {"bandwidth_share", row.bandwidth_share}});
      table.add({printable(row.what), row.config, format_bytes(row.input_bytes),
                 fmt::format("{:.2f}", 1e3 * row.seconds),
                 fmt::format("{:.2f}", row.bytes_per_second / 1e9), percent(row.bandwidth_share),
                 ""});
    } else {
      table.add({printable(row.what), row.config, "", "", "", "", row.problem});
    }
    list.push_back(std::move(out));
  }
  print_machine(machine);
  write_out(table.text());
  if (!arguments.common.json.empty()) {
    write_file(arguments.common.json,
               json_text({{"machine", machine_as_json(machine)}, {"quantize", std::move(list)}}));
  }
  return 0;
}

struct ModelRunArguments {
  ModelArguments model;
  std::string json;
  BenchModelOptions options;

  ModelRunArguments() { options.batches = {1, 8}; }
};

Json shares_as_json(const BenchModelReport& report, const BenchShares& shares) {
  if (!report.has_shares) return {};
  return {{"linears", shares.linears},
          {"attention", shares.attention},
          {"other", shares.other},
          {"sampling", shares.sampling}};
}

Json report_as_json(const BenchModelReport& report, const BenchMachine& machine,
                    const ModelRunArguments& arguments) {
  Json rows = Json::array();
  for (const BenchModelRow& row : report.rows) {
    rows.push_back({{"batch", row.batch},
                    {"prefill_tokens_per_second", row.prefill_tokens_per_second},
                    {"decode_tokens_per_second", row.decode_tokens_per_second},
                    {"prefill_shares", shares_as_json(report, row.prefill)},
                    {"decode_shares", shares_as_json(report, row.decode)},
                    {"decode_bytes", row.decode_bytes},
                    {"decode_limit_tokens_per_second", row.decode_limit},
                    {"decode_limit_share", row.decode_limit_share}});
  }
  return {{"machine", machine_as_json(machine)},
          {"model", arguments.model.directory},
          {"quantization", text_or_null(arguments.model.quantization)},
          {"prompt_tokens", arguments.options.prompt_tokens},
          {"decode_tokens", arguments.options.decode_tokens},
          {"repeats", arguments.options.repeats},
          {"weight_bytes", report.weight_bytes},
          {"linear_weight_bytes", report.linear_weight_bytes},
          {"kv_bytes_per_token", report.kv_bytes_per_token},
          {"load_seconds", report.load_seconds},
          {"batches", std::move(rows)}};
}

void print_report(const BenchModelReport& report, const BenchMachine& machine,
                  const ModelRunArguments& arguments) {
  print_machine(machine);
  write_out(
      fmt::format("weights {}, of which linears {}; keys and values {} a token; prompts of {} "
                  "tokens, {} decoded; loaded in {:.1f} s\n\n",
                  format_bytes(report.weight_bytes), format_bytes(report.linear_weight_bytes),
                  format_bytes(report.kv_bytes_per_token), arguments.options.prompt_tokens,
                  arguments.options.decode_tokens, report.load_seconds));
  Table table({{"batch", true},
               {"phase"},
               {"tokens/s", true},
               {"limit", true},
               {"% of limit", true},
               {"linears %", true},
               {"attention %", true},
               {"other %", true},
               {"sampling %", true}});
  const auto add = [&](const BenchModelRow& row, const char* phase, double rate,
                       const BenchShares& shares, std::string limit, std::string share) {
    const auto part = [&](double of_all) { return report.has_shares ? percent(of_all) : ""; };
    table.add({fmt::format("{}", row.batch), phase, fmt::format("{:.1f}", rate), std::move(limit),
               std::move(share), part(shares.linears), part(shares.attention), part(shares.other),
               part(shares.sampling)});
  };
  for (const BenchModelRow& row : report.rows) {
    add(row, "prefill", row.prefill_tokens_per_second, row.prefill, "", "");
    add(row, "decode", row.decode_tokens_per_second, row.decode,
        fmt::format("{:.1f}", row.decode_limit), percent(row.decode_limit_share));
  }
  write_out(table.text());
}

int run_model(ModelRunArguments arguments) {
  watch_interrupts();
  check_file(arguments.json);
  const std::int64_t length = arguments.options.model.max_model_len;
  arguments.options.model = arguments.model.to_options();
  arguments.options.model.max_model_len = length;
  const BenchMachine machine = measure_machine(arguments.options.model.device);
  ProgressBar bar;
  arguments.options.model.progress = [&bar](std::string_view stage, std::int64_t done,
                                            std::int64_t total) {
    check_interrupted();
    bar.update(stage, done, total);
  };
  arguments.options.progress = progress_on(bar);
  const BenchModelReport report =
      bench_model(arguments.model.directory, arguments.options, machine);
  bar.clear();
  write_notes(report.notices);
  print_report(report, machine, arguments);
  if (!arguments.json.empty())
    write_file(arguments.json, json_text(report_as_json(report, machine, arguments)));
  return 0;
}

void add_linear(CLI::App& bench, Command& chosen) {
  auto arguments = std::make_shared<LinearArguments>();
  CLI::App* command = bench.add_subcommand("linear", "Time linears over shapes, configs and rows");
  command->add_option("--shapes", arguments->shapes, "Weights NxK: 4096x4096,3072x1024")
      ->delimiter(',');
  command
      ->add_option("--configs", arguments->options.configs,
                   "Shorthands of 'torchao configs', or 'plain' for an unquantized weight")
      ->delimiter(',');
  command
      ->add_option("--m", arguments->options.rows, "Rows of the activation (default 1,4,16,64,512)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--kernel", arguments->options.force_kernel,
                      "A kernel or instruction set of 'torchao kernels'");
  command
      ->add_option("--seconds", arguments->options.seconds,
                   "Least seconds of each measurement (default 0.3)")
      ->check(CLI::Range(0.0, 3600.0));
  command
      ->add_option("--rotation-mib", arguments->rotation_mib,
                   "MiB of distinct weights that few rows go through (default 1024)")
      ->check(CLI::Range(0.0, 1048576.0));
  command->add_option("--plot", arguments->plot, "SVG file to write: shares of the limits over M");
  arguments->common.declare(*command);
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return run_linear(*arguments); }; });
}

void add_quantize_bench(CLI::App& bench, Command& chosen) {
  auto arguments = std::make_shared<QuantizeArguments>();
  CLI::App* command = bench.add_subcommand("quantize", "Time quantizing, in memory");
  command->add_option("DIR", arguments->directory, "Model folder: the weights of its linears");
  command->add_option("--shapes", arguments->shapes, "Random weights NxK: 4096x4096")
      ->delimiter(',');
  command->add_option("--configs", arguments->options.configs, "Shorthands of 'torchao configs'")
      ->delimiter(',');
  command
      ->add_option("--seconds", arguments->options.seconds,
                   "Least seconds of each shape's measurement (default 0.5)")
      ->check(CLI::Range(0.0, 3600.0));
  arguments->common.declare(*command);
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return run_quantize(*arguments); }; });
}

void add_model(CLI::App& bench, Command& chosen) {
  auto arguments = std::make_shared<ModelRunArguments>();
  CLI::App* command =
      bench.add_subcommand("model",
                           "Time prefill and decode of a model, on random ids. DIR may be a "
                           "config.json by any name: its weights are then random");
  arguments->model.declare_without_json(*command);
  BenchModelOptions& options = arguments->options;
  command->add_option("--batch", options.batches, "Sequences at once (default 1,8)")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  command->add_option("--prompt-tokens", options.prompt_tokens, "Length of a prompt (default 1024)")
      ->check(CLI::Range(1, 1 << 24));
  command
      ->add_option("--decode-tokens", options.decode_tokens,
                   "Tokens decoded after the first (default 64)")
      ->check(CLI::Range(1, 1 << 24));
  command
      ->add_option("--context", options.model.max_model_len,
                   "Longest sequence the model is loaded for (default: prompt and decoded tokens)")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--repeats", options.repeats, "Runs of each batch size (default 3)")
      ->check(CLI::Range(1, 1000));
  command->add_option("--json", arguments->json, "JSON file to write");
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return run_model(*arguments); }; });
}

}  // namespace

void add_bench(CLI::App& app, Command& chosen) {
  CLI::App* bench =
      app.add_subcommand("bench", "Measure speed beside what the machine can do at best");
  bench->require_subcommand(1);
  add_model(*bench, chosen);
  add_linear(*bench, chosen);
  add_quantize_bench(*bench, chosen);
}

}  // namespace torchao_cpp::cli
