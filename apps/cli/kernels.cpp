// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "table.h"
#include "torchao_cpp/linear.h"

/// `torchao kernels`: which kernels there are and which of them this machine runs.
namespace torchao_cpp::cli {
namespace {

void print_as_json() {
  Json kernels = Json::array();
  for (const KernelInfo& info : kernel_infos()) {
    kernels.push_back({{"name", info.name},
                       {"operation", info.operation},
                       {"isa", info.isa},
                       {"runs_here", info.runs_here},
                       {"has_fewer_roundings", info.has_fewer_roundings},
                       {"reason", info.reason.empty() ? Json() : Json(info.reason)}});
  }
  print_json({{"kernels", std::move(kernels)}});
}

void print_as_text() {
  Table table({{"kernel"}, {"operation"}, {"isa"}, {"runs here"}});
  for (const KernelInfo& info : kernel_infos())
    table.add({info.name, info.operation, info.isa, info.runs_here ? "yes" : "no: " + info.reason});
  write_out(table.text());
}

}  // namespace

void add_kernels(CLI::App& app, Command& chosen) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command =
      app.add_subcommand("kernels", "List the kernels and which of them this machine runs");
  declare_json(*command, *json);
  command->callback([json, &chosen] {
    chosen = [json] {
      *json ? print_as_json() : print_as_text();
      return 0;
    };
  });
}

}  // namespace torchao_cpp::cli
