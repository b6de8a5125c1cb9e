// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <map>
#include <memory>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "table.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

/// `torchao quantize`, `torchao dequantize` and `torchao convert`: a model folder in, a model
/// folder out.
namespace torchao_cpp::cli {
namespace {

struct Arguments {
  std::string source;
  std::string destination;
  std::string quantization;
  std::vector<std::string> skip;
  std::string dtype;
  std::string to{kConvertTarget};
  int threads = 0;
  bool json = false;

  void declare(CLI::App& command) {
    command.add_option("SRC", source, "Model folder to read")->required();
    command.add_option("DST", destination, "New model folder")->required();
    command.add_option("--threads", threads, "CPU threads (default: all)")
        ->check(CLI::Range(1, 4096));
    declare_json(command, json);
  }
};

void print_as_json(const ConvertReport& report, const std::string& destination) {
  Json rows = Json::array();
  for (const ConvertReport::Row& row : report.rows) {
    rows.push_back({{"fqn", row.fqn},
                    {"weight_class", row.weight_class},
                    {"reason", row.reason},
                    {"bytes_before", row.bytes_before},
                    {"bytes_after", row.bytes_after}});
  }
  print_json({{"destination", destination},
              {"weights", std::move(rows)},
              {"bytes_before", report.bytes_before},
              {"bytes_after", report.bytes_after},
              {"notices", report.notices}});
}

void print_as_text(const ConvertReport& report, const std::string& destination) {
  struct Total {
    std::int64_t count = 0;
    std::int64_t before = 0;
    std::int64_t after = 0;
  };
  std::map<std::pair<std::string, std::string>, Total> totals;
  for (const ConvertReport::Row& row : report.rows) {
    Total& total = totals[{row.weight_class, row.reason}];
    ++total.count;
    total.before += row.bytes_before;
    total.after += row.bytes_after;
  }
  Table table({{"class"}, {"weights", true}, {"before", true}, {"after", true}, {"why"}});
  for (const auto& [key, t] : totals)
    table.add({key.first, format_count(t.count), format_bytes(t.before), format_bytes(t.after),
               key.second});
  const double ratio = report.bytes_after == 0 ? 0
                                               : static_cast<double>(report.bytes_before) /
                                                     static_cast<double>(report.bytes_after);
  write_out(table.text() + fmt::format("\nwrote {}: {} -> {} (all tensors; {:.2f} to 1)\n",
                                       printable(destination), format_bytes(report.bytes_before),
                                       format_bytes(report.bytes_after), ratio));
}

void print_as_json(const ConvertModelReport& report, const Arguments& arguments) {
  Json rows = Json::array();
  for (const ConvertModelReport::Row& row : report.rows) {
    rows.push_back({{"fqn", row.fqn},
                    {"class_before", row.class_before},
                    {"class_after", row.class_after},
                    {"changes", row.changes},
                    {"bytes_before", row.bytes_before},
                    {"bytes_after", row.bytes_after}});
  }
  Json classes = Json::array();
  for (const ConvertModelReport::ClassTotal& total : report.classes) {
    classes.push_back({{"class_before", total.class_before},
                       {"class_after", total.class_after},
                       {"changes", total.changes},
                       {"count", total.count},
                       {"bytes_before", total.bytes_before},
                       {"bytes_after", total.bytes_after}});
  }
  print_json({{"destination", arguments.destination},
              {"to", arguments.to},
              {"form_before", report.form_before},
              {"form_after", report.form_after},
              {"classes", std::move(classes)},
              {"weights", std::move(rows)},
              {"bytes_before", report.bytes_before},
              {"bytes_after", report.bytes_after},
              {"notices", report.notices}});
}

std::string what_changed(const ConvertModelReport::ClassTotal& total,
                         const std::string& unchanged) {
  if (!total.changes.empty()) return fmt::format("{}", fmt::join(total.changes, "; "));
  return total.class_before == total.class_after ? unchanged : "the class";
}

void print_as_text(const ConvertModelReport& report, const Arguments& arguments) {
  Table table({{"class"},
               {"weights", true},
               {"before", true},
               {"after", true},
               {"what changed"},
               {"class before"}});
  const bool same_form = report.form_before == report.form_after;
  const std::string unchanged = same_form ? "nothing" : "the form alone";
  for (const ConvertModelReport::ClassTotal& t : report.classes) {
    table.add({t.class_after, format_count(t.count), format_bytes(t.bytes_before),
               format_bytes(t.bytes_after), what_changed(t, unchanged),
               t.class_before == t.class_after ? "" : t.class_before});
  }
  const std::string form =
      same_form ? report.form_after : report.form_before + " -> " + report.form_after;
  write_out(table.text() +
            fmt::format("\nform: {}\nall values are the same bit for bit\nwrote {}: {} -> {}\n",
                        form, printable(arguments.destination), format_bytes(report.bytes_before),
                        format_bytes(report.bytes_after)));
}

int finish(const ConvertReport& report, const Arguments& arguments) {
  write_notes(report.notices);
  if (arguments.json) {
    print_as_json(report, arguments.destination);
  } else {
    print_as_text(report, arguments.destination);
  }
  return 0;
}

int run_quantize(const Arguments& arguments) {
  if (arguments.threads > 0) set_threads(arguments.threads);
  const std::optional<DType> dtype = parse_dtype(arguments.dtype);
  check_new_folder(arguments.destination);
  ProgressBar bar;
  const ConvertOptions options{parse_quantization(arguments.quantization, arguments.skip), dtype,
                               progress_to(bar), &watch_interrupts()};
  const ConvertReport report = quantize_model(arguments.source, arguments.destination, options);
  bar.clear();
  return finish(report, arguments);
}

int run_dequantize(const Arguments& arguments) {
  if (arguments.threads > 0) set_threads(arguments.threads);
  const std::optional<DType> dtype = parse_dtype(arguments.dtype);
  check_new_folder(arguments.destination);
  ProgressBar bar;
  const ConvertReport report = dequantize_model(arguments.source, arguments.destination, dtype,
                                                progress_to(bar), &watch_interrupts());
  bar.clear();
  return finish(report, arguments);
}

int run_convert(const Arguments& arguments) {
  if (arguments.threads > 0) set_threads(arguments.threads);
  check_new_folder(arguments.destination);
  ProgressBar bar;
  const ConvertModelReport report =
      convert_model(arguments.source, arguments.destination,
                    {.progress = progress_to(bar), .cancelled = &watch_interrupts()});
  bar.clear();
  write_notes(report.notices);
  if (arguments.json) {
    print_as_json(report, arguments);
  } else {
    print_as_text(report, arguments);
  }
  return 0;
}

}  // namespace

void add_quantize(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("quantize", "Write a torchao checkpoint of a model");
  arguments->declare(*command);
  command->add_option("-q,--quantization", arguments->quantization, kQuantizationHelp)->required();
  command->add_option("--skip", arguments->skip, "Modules to leave alone: a,b")->delimiter(',');
  command->add_option("--dtype", arguments->dtype,
                      "Convert the model to this dtype first: f32, f16 or bf16");
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return run_quantize(*arguments); }; });
}

void add_dequantize(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("dequantize", "Write the plain model that a quantized one stands for");
  arguments->declare(*command);
  command->add_option("--dtype", arguments->dtype,
                      "dtype of the result: f32, f16 or bf16 (default: the weights' own)");
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return run_dequantize(*arguments); }; });
}

void add_convert(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "convert", "Rewrite a checkpoint of an older torchao in today's form, values unchanged");
  arguments->declare(*command);
  command->add_option("--to", arguments->to, "Form to write")
      ->check(CLI::IsMember({std::string(kConvertTarget)}))
      ->capture_default_str();
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return run_convert(*arguments); }; });
}

}  // namespace torchao_cpp::cli
