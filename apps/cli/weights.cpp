// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "table.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/quantize.h"

/// `torchao weights`: which classes of weights there are, in whose files, and what is done with
/// them.
namespace torchao_cpp::cli {
namespace {

/// A class that weights are computed in.
struct ClassRow {
  WeightClassInfo info;
  std::string bin_versions;  ///< Of torchao whose .bin files hold it; empty: none that are read.
};

// True for a class of .bin files that is one of those, under the same name.
bool is_current(const BinClassInfo& bin) {
  return std::find(bin.becomes.begin(), bin.becomes.end(), bin.name) != bin.becomes.end();
}

std::vector<ClassRow> class_rows() {
  const std::vector<BinClassInfo> bins = bin_class_infos();
  std::vector<ClassRow> rows;
  for (WeightClassInfo& info : weight_class_infos()) {
    const auto bin = std::find_if(bins.begin(), bins.end(), [&](const BinClassInfo& b) {
      return is_current(b) && b.name == info.name;
    });
    rows.push_back(
        {std::move(info), bin == bins.end() ? std::string() : std::string(bin->versions)});
  }
  return rows;
}

std::vector<BinClassInfo> legacy_rows() {
  std::vector<BinClassInfo> rows = bin_class_infos();
  std::erase_if(rows, is_current);
  return rows;
}

Json versions_or_null(const std::string& versions) {
  return versions.empty() ? Json() : Json(versions);
}

void print_as_json() {
  Json classes = Json::array();
  for (const ClassRow& row : class_rows()) {
    classes.push_back({{"name", row.info.name},
                       {"family", row.info.family},
                       {"safetensors_versions", versions_or_null(row.info.safetensors_versions)},
                       {"bin_versions", versions_or_null(row.bin_versions)},
                       {"configs", row.info.configs},
                       {"operations", row.info.operations},
                       {"not_run", row.info.not_run.empty() ? Json() : Json(row.info.not_run)},
                       {"safetensors_serializable", row.info.safetensors_serializable}});
  }
  Json legacy = Json::array();
  for (const BinClassInfo& row : legacy_rows()) {
    legacy.push_back({{"module", row.module},
                      {"name", row.name},
                      {"versions", row.versions},
                      {"becomes", row.becomes},
                      {"adds", row.adds.empty() ? Json() : Json(row.adds)},
                      {"unsupported", row.unsupported.empty() ? Json() : Json(row.unsupported)}});
  }
  print_json({{"classes", std::move(classes)}, {"legacy_classes", std::move(legacy)}});
}

std::string legacy_outcome(const BinClassInfo& row) {
  if (!row.unsupported.empty()) return fmt::format("not read: {}", row.unsupported);
  if (!row.adds.empty()) return fmt::format("adds {}", row.adds);
  return fmt::format("{}", fmt::join(row.becomes, " or "));
}

void print_as_text() {
  Table classes(
      {{"class"}, {"safetensors"}, {".bin"}, {"loads in torchao 0.18"}, {"quantize"}, {"run"}});
  for (const ClassRow& row : class_rows()) {
    classes.add(
        {row.info.name, row.info.safetensors_versions, row.bin_versions,
         row.info.safetensors_serializable ? "yes" : "no",
         row.info.configs.empty() ? "no" : fmt::format("{}", fmt::join(row.info.configs, ", ")),
         row.info.operations.empty() ? "no: " + row.info.not_run
                                     : fmt::format("{}", fmt::join(row.info.operations, ", "))});
  }
  Table legacy({{"class in .bin files of torchao"}, {"versions"}, {"becomes"}});
  for (const BinClassInfo& row : legacy_rows())
    legacy.add({fmt::format("{}.{}", row.module, row.name), std::string(row.versions),
                legacy_outcome(row)});
  write_out(classes.text() + "\n" + legacy.text());
}

}  // namespace

void add_weights(CLI::App& app, Command& chosen) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand(
      "weights", "List the classes of weights: torchao's versions, read, quantized, run, written");
  declare_json(*command, *json);
  command->callback([json, &chosen] {
    chosen = [json] {
      *json ? print_as_json() : print_as_text();
      return 0;
    };
  });
}

}  // namespace torchao_cpp::cli
