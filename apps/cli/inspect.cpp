// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <map>
#include <memory>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "row_grouping.h"
#include "table.h"
#include "torchao_cpp/llm.h"

/// `torchao inspect`: what a model folder holds, without loading it.
namespace torchao_cpp::cli {
namespace {

struct Arguments {
  std::string directory;
  bool is_short = false;
  bool json = false;
};

/// Number and size of the parameters of one class.
struct ClassTotal {
  std::int64_t tensors = 0;
  std::int64_t numel = 0;
  std::int64_t nbytes = 0;
};

std::string class_of(const ParameterInfo& parameter) {
  return parameter.weight_class == "Tensor" ? parameter.dtype : parameter.weight_class;
}

std::map<std::string, ClassTotal> totals_by_class(const ModelInfo& info) {
  std::map<std::string, ClassTotal> totals;
  for (const ParameterInfo& parameter : info.parameters) {
    ClassTotal& total = totals[class_of(parameter)];
    ++total.tensors;
    total.numel += shape_numel(parameter.shape);
    total.nbytes += parameter.nbytes;
  }
  return totals;
}

double bits_per_weight(std::int64_t nbytes, std::int64_t numel) {
  return numel == 0 ? 0 : 8.0 * static_cast<double>(nbytes) / static_cast<double>(numel);
}

void print_as_json(const ModelInfo& info) {
  Json parameters = Json::array();
  for (const ParameterInfo& p : info.parameters) {
    parameters.push_back({{"fqn", p.fqn},
                          {"shape", p.shape},
                          {"dtype", p.dtype},
                          {"weight_class", p.weight_class},
                          {"detail", p.detail},
                          {"bits_per_weight", p.bits_per_weight},
                          {"nbytes", p.nbytes}});
  }
  Json out;
  out["architecture"] = info.architecture;
  out["model_type"] = info.model_type;
  out["quantization_config"] =
      info.quantization_config.empty() ? Json() : Json::parse(info.quantization_config);
  out["is_torchao_serialized"] = info.is_torchao_serialized;
  out["parameters"] = std::move(parameters);
  out["tied"] = info.tied;
  Json totals = Json::object();
  for (const auto& [name, total] : totals_by_class(info)) {
    totals[name] = {{"tensors", total.tensors},
                    {"numel", total.numel},
                    {"nbytes", total.nbytes},
                    {"bits_per_weight", bits_per_weight(total.nbytes, total.numel)}};
  }
  out["totals"] = {{"num_parameters", info.num_parameters},
                   {"nbytes", info.nbytes},
                   {"bits_per_weight", bits_per_weight(info.nbytes, info.num_parameters)},
                   {"by_class", totals}};
  out["warnings"] = info.warnings;
  print_json(out);
}

std::string parameter_table(const ModelInfo& info, bool is_short) {
  std::vector<NamedRow> rows;
  for (const ParameterInfo& p : info.parameters) {
    rows.push_back({p.fqn,
                    {shape_to_string(p.shape), class_of(p), p.detail,
                     fmt::format("{:.2f}", p.bits_per_weight), format_count(p.nbytes)}});
  }
  if (is_short) rows = group_rows(rows);
  Table table({{"parameter"},
               {"shape"},
               {"class"},
               {"detail"},
               {"bits", true},
               {"bytes", true},
               {"count", true}});
  for (NamedRow& row : rows) {
    row.cells.insert(row.cells.begin(), row.fqn);
    row.cells.push_back(is_short ? std::to_string(row.count) : "");
    table.add(std::move(row.cells));
  }
  return table.text();
}

void print_as_text(const ModelInfo& info, const Arguments& arguments) {
  std::string out = fmt::format("model         {} ({})\n", info.architecture, info.model_type);
  out += fmt::format("quantization  {}\n", info.quantization_config.empty()
                                               ? "none"
                                               : Json::parse(info.quantization_config).dump());
  out += "\n" + parameter_table(info, arguments.is_short) + "\n";
  for (const std::string& name : info.tied)
    out += fmt::format("{} is tied to another weight\n", name);
  Table totals(
      {{"class"}, {"tensors", true}, {"parameters", true}, {"bits/weight", true}, {"size", true}});
  std::int64_t tensors = 0;
  for (const auto& [name, t] : totals_by_class(info)) {
    totals.add({name, format_count(t.tensors), format_count(t.numel),
                fmt::format("{:.2f}", bits_per_weight(t.nbytes, t.numel)), format_bytes(t.nbytes)});
    tensors += t.tensors;
  }
  totals.add({"total", format_count(tensors), format_count(info.num_parameters),
              fmt::format("{:.2f}", bits_per_weight(info.nbytes, info.num_parameters)),
              format_bytes(info.nbytes)});
  write_out(printable_lines(out) + totals.text());
}

int run(const Arguments& arguments) {
  const ModelInfo info = inspect_model(arguments.directory);
  write_notes(info.warnings);
  if (arguments.json) {
    print_as_json(info);
  } else {
    print_as_text(info, arguments);
  }
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("inspect", "Show the config and every parameter of a model folder");
  command
      ->add_option("DIR", arguments->directory,
                   "Model folder: config.json, and safetensors or .bin files")
      ->required();
  command->add_flag("--short", arguments->is_short, "Join repeated layers into one row");
  declare_json(*command, arguments->json);
  command->callback([arguments, &chosen] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace torchao_cpp::cli
