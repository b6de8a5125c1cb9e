// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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

/// `torchao diff`: two checkpoints, weight by weight.
namespace torchao_cpp::cli {
namespace {

struct Arguments {
  std::string a;
  std::string b;
  std::string plot;
  std::size_t limit = 0;  ///< 0 = all.
  int threads = 0;
  bool json = false;

  std::size_t shown(std::size_t count) const { return limit == 0 ? count : std::min(limit, count); }
};

// JSON has no infinity and no NaN.
Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json numbers_as_json(const DiffNumbers& numbers) {
  return {{"numel", numbers.numel},
          {"is_equal", numbers.is_equal},
          {"max_abs_error", number_or_null(numbers.max_abs_error)},
          {"mean_abs_error", number_or_null(numbers.mean_abs_error)},
          {"sqnr_db", number_or_null(numbers.sqnr_db)},
          {"nonfinite_a", numbers.nonfinite_a},
          {"nonfinite_b", numbers.nonfinite_b},
          {"nonfinite_differing", numbers.nonfinite_differing}};
}

Json row_as_json(const DiffReport::Row& row) {
  Json out{{"fqn", row.fqn},
           {"class_a", row.class_a},
           {"class_b", row.class_b},
           {"dtype_a", row.dtype_a},
           {"dtype_b", row.dtype_b},
           {"shape", row.shape},
           {"problem", row.problem.empty() ? Json() : Json(row.problem)}};
  if (row.problem.empty()) out.update(numbers_as_json(row.numbers));
  return out;
}

void print_as_json(const DiffReport& report, const Arguments& arguments) {
  Json rows = Json::array();
  const std::vector<std::size_t> order = worst_first(report);
  for (std::size_t i = 0; i < arguments.shown(order.size()); ++i)
    rows.push_back(row_as_json(report.rows[order[i]]));
  print_json({{"a", arguments.a},
              {"b", arguments.b},
              {"weights", std::move(rows)},
              {"only_in_a", report.only_in_a},
              {"only_in_b", report.only_in_b},
              {"common", report.rows.size()},
              {"compared", report.compared},
              {"equal", report.equal},
              {"total", numbers_as_json(report.total)},
              {"total_differing", numbers_as_json(report.total_differing)},
              {"notices", report.notices}});
}

std::string decibels(double value) {
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return std::isnan(value) ? "nan" : fmt::format("{:.2f}", value);
}

// "Int8Tensor", or the dtype of a plain tensor.
std::string kind_of(const std::string& weight_class, const std::string& dtype) {
  return weight_class == "Tensor" ? dtype : weight_class;
}

std::string remark(const DiffReport::Row& row) {
  if (!row.problem.empty()) return row.problem;
  const DiffNumbers& n = row.numbers;
  if (n.nonfinite_a == 0 && n.nonfinite_b == 0) return "";
  return fmt::format("not finite: {} in A, {} in B, {} differ", n.nonfinite_a, n.nonfinite_b,
                     n.nonfinite_differing);
}

std::string weight_table(const DiffReport& report, const Arguments& arguments) {
  Table table({{"weight"},
               {"A"},
               {"B"},
               {"shape"},
               {"max error", true},
               {"mean error", true},
               {"SQNR dB", true},
               {"remark"}});
  const std::vector<std::size_t> order = worst_first(report);
  const std::size_t shown = arguments.shown(order.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const DiffReport::Row& row = report.rows[order[i]];
    const bool has_numbers = row.problem.empty();
    const auto number = [&](double value) {
      return has_numbers ? fmt::format("{:.3g}", value) : std::string("-");
    };
    table.add({row.fqn, kind_of(row.class_a, row.dtype_a), kind_of(row.class_b, row.dtype_b),
               shape_to_string(row.shape), number(row.numbers.max_abs_error),
               number(row.numbers.mean_abs_error),
               has_numbers ? decibels(row.numbers.sqnr_db) : "-", remark(row)});
  }
  std::string out = table.text();
  if (shown < order.size())
    out += fmt::format("and {} more, none of them worse\n", order.size() - shown);
  return out;
}

std::string only_in(char side, const std::vector<std::string>& names, const Arguments& arguments) {
  std::string out;
  const std::size_t shown = arguments.shown(names.size());
  for (std::size_t i = 0; i < shown; ++i)
    out += fmt::format("only in {}: {}\n", side, printable(names[i]));
  if (shown < names.size()) out += fmt::format("only in {}: {} more\n", side, names.size() - shown);
  return out;
}

std::string total_line(const char* what, std::int64_t count, const DiffNumbers& numbers) {
  return fmt::format("{}: {}; max error {:.3g}, mean error {:.3g}, SQNR {} dB\n", what,
                     format_count(count), numbers.max_abs_error, numbers.mean_abs_error,
                     decibels(numbers.sqnr_db));
}

void print_as_text(const DiffReport& report, const Arguments& arguments) {
  std::string out = fmt::format("A  {}\nB  {}\n\n", printable(arguments.a), printable(arguments.b));
  out += weight_table(report, arguments) + "\n";
  out += only_in('A', report.only_in_a, arguments) + only_in('B', report.only_in_b, arguments);
  out += total_line("weights compared", report.compared, report.total);
  if (report.equal > 0 && report.equal < report.compared)
    out += total_line("of these differing", report.compared - report.equal, report.total_differing);
  out += fmt::format("equal: {}; only in A: {}; only in B: {}\n", format_count(report.equal),
                     format_count(static_cast<std::int64_t>(report.only_in_a.size())),
                     format_count(static_cast<std::int64_t>(report.only_in_b.size())));
  write_out(out);
}

void write_plot(const DiffReport& report, const Arguments& arguments) {
  std::ofstream file(arguments.plot, std::ios::binary);
  file << diff_plot(report, arguments.a, arguments.b);
  file.close();
  if (!file) throw IoError(fmt::format("{}: the plot cannot be written there", arguments.plot));
}

// Said before the work rather than after it.
void check_plot(const std::string& path) {
  if (path.empty()) return;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    throw IoError(fmt::format("{}: is a folder; expected the name of a file", path));
  if (!folder.empty() && !std::filesystem::is_directory(folder, error))
    throw IoError(fmt::format("{}: its folder does not exist", path));
}

int run(const Arguments& arguments) {
  if (arguments.threads > 0) set_threads(arguments.threads);
  check_plot(arguments.plot);
  ProgressBar bar;
  const DiffOptions options{
      .progress = [&bar](std::string_view stage, std::int64_t done,
                         std::int64_t total) { bar.update(stage, done, total); },
      .cancelled = &watch_interrupts()};
  const DiffReport report = diff_checkpoints(arguments.a, arguments.b, options);
  bar.clear();
  write_notes(report.notices);
  if (!arguments.plot.empty()) write_plot(report, arguments);
  if (arguments.json) {
    print_as_json(report, arguments);
  } else {
    print_as_text(report, arguments);
  }
  return 0;
}

}  // namespace

void add_diff(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("diff", "Compare two checkpoints weight by weight, worst first");
  command->add_option("A", arguments->a, "Model folder or file: the reference")->required();
  command->add_option("B", arguments->b, "Model folder or file to compare with it")->required();
  command->add_option("--plot", arguments->plot, "SVG file to write: SQNR by layer");
  command->add_option("--limit", arguments->limit, "Rows to show at most (default: all)")
      ->check(CLI::Range(1, 1 << 30));
  command->add_option("--threads", arguments->threads, "CPU threads (default: all)")
      ->check(CLI::Range(1, 4096));
  declare_json(*command, arguments->json);
  command->callback([arguments, &chosen] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace torchao_cpp::cli
