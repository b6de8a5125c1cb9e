// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "row_grouping.h"
#include "table.h"
#include "torchao_cpp/llm.h"

/// `torchao explain`: what is decided for each linear, and why.
namespace torchao_cpp::cli {
namespace {

struct Arguments {
  ModelArguments model;
  bool is_short = false;
};

/// Sentences that many rows share, numbered in the order they first appear.
class Footnotes {
 public:
  /// "[n]", or nothing for an empty text.
  std::string mark(const std::string& text) {
    if (text.empty()) return "";
    const auto it = std::find_if(notes_.begin(), notes_.end(),
                                 [&](const auto& note) { return note.first == text; });
    const auto index = static_cast<std::size_t>(it - notes_.begin());
    if (it == notes_.end()) notes_.emplace_back(text, 0);
    ++notes_[index].second;
    return fmt::format("[{}]", index + 1);
  }

  std::string text() const {
    std::string out;
    for (std::size_t i = 0; i < notes_.size(); ++i) {
      const auto& [note, count] = notes_[i];
      out += fmt::format("  [{}] {} ({} {})\n", i + 1, printable(note), count,
                         count == 1 ? "linear" : "linears");
    }
    return out;
  }

 private:
  std::vector<std::pair<std::string, int>> notes_;
};

void print_as_json(const std::vector<LinearReport>& reports,
                   const std::vector<std::string>& notices) {
  Json linears = Json::array();
  for (const LinearReport& r : reports) {
    linears.push_back({{"fqn", r.prefix},
                       {"shape", r.shape},
                       {"method", r.method},
                       {"config", r.config.empty() ? Json() : Json(r.config)},
                       {"rule", r.rule.empty() ? Json() : Json(r.rule)},
                       {"reason", r.reason},
                       {"weight_class", r.weight_class},
                       {"weight_detail", r.weight_detail},
                       {"kernel", r.kernel},
                       {"rejected_kernels", r.rejected_kernels},
                       {"weight_bytes", r.weight_bytes}});
  }
  print_json({{"linears", std::move(linears)}, {"notices", notices}});
}

std::string totals_line(const std::vector<LinearReport>& reports) {
  std::int64_t bytes = 0;
  std::int64_t numel = 0;
  std::int64_t quantized = 0;
  for (const LinearReport& report : reports) {
    bytes += report.weight_bytes;
    numel += shape_numel(report.shape);
    if (report.weight_class != "Tensor") ++quantized;
  }
  const double bits =
      numel == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(numel);
  return fmt::format("{} of {} linears quantized; {} parameters in {}, {:.2f} bits/weight\n",
                     quantized, reports.size(), format_count(numel), format_bytes(bytes), bits);
}

void print_as_text(const std::vector<LinearReport>& reports, bool is_short) {
  Footnotes reasons;
  Footnotes rejections;
  std::vector<NamedRow> rows;
  for (const LinearReport& r : reports) {
    const std::string weight = r.weight_detail.empty() || r.weight_class == "Tensor"
                                   ? r.weight_class
                                   : fmt::format("{} ({})", r.weight_class, r.weight_detail);
    std::string rejected;
    for (const std::string& kernel : r.rejected_kernels) rejected += rejections.mark(kernel);
    rows.push_back(
        {r.prefix,
         {shape_to_string(r.shape), r.method, r.config.empty() ? "-" : r.config,
          r.rule.empty() ? "-" : r.rule, reasons.mark(r.reason), weight, r.kernel, rejected}});
  }
  if (is_short) rows = group_rows(rows);
  Table table({{"linear"},
               {"shape"},
               {"method"},
               {"config"},
               {"rule"},
               {"why"},
               {"weight"},
               {"kernel"},
               {"not"},
               {"count", true}});
  for (NamedRow& row : rows) {
    row.cells.insert(row.cells.begin(), row.fqn);
    row.cells.push_back(is_short ? std::to_string(row.count) : "");
    table.add(std::move(row.cells));
  }
  std::string out = table.text();
  if (const std::string notes = reasons.text(); !notes.empty()) out += "\nwhy\n" + notes;
  if (const std::string notes = rejections.text(); !notes.empty())
    out += "\nkernels that were not taken\n" + notes;
  write_out(out + "\n" + totals_line(reports));
}

int run(const Arguments& arguments) {
  std::vector<std::string> notices;
  const std::vector<LinearReport> reports =
      explain_model(arguments.model.directory, arguments.model.to_options(), &notices);
  write_notes(notices);
  if (arguments.model.json) {
    print_as_json(reports, notices);
  } else {
    print_as_text(reports, arguments.is_short);
  }
  return 0;
}

}  // namespace

void add_explain(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "explain", "Show for each linear its config, the rule that decided and its kernel");
  arguments->model.declare(*command);
  command->add_flag("--short", arguments->is_short, "Join repeated layers into one row");
  command->callback([arguments, &chosen] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace torchao_cpp::cli
