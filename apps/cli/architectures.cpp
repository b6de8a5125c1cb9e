// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "table.h"
#include "torchao_cpp/llm.h"

/// `torchao architectures`: which models run.
namespace torchao_cpp::cli {
namespace {

void print_as_json() {
  Json rows = Json::array();
  for (const ArchitectureInfo& info : architecture_infos())
    rows.push_back({{"name", info.name}, {"model_type", info.model_type}, {"runs", info.runs}});
  print_json({{"architectures", std::move(rows)}});
}

void print_as_text() {
  Table table({{"architecture"}, {"model_type"}, {"runs"}});
  for (const ArchitectureInfo& info : architecture_infos())
    table.add({std::string(info.name), std::string(info.model_type), std::string(info.runs)});
  write_out(table.text());
}

}  // namespace

void add_architectures(CLI::App& app, Command& chosen) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command =
      app.add_subcommand("architectures", "List the architectures of models that run");
  declare_json(*command, *json);
  command->callback([json, &chosen] {
    chosen = [json] {
      *json ? print_as_json() : print_as_text();
      return 0;
    };
  });
}

}  // namespace torchao_cpp::cli
