// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <memory>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "table.h"
#include "torchao_cpp/quantize.h"

/// `torchao configs`: which configs and shorthands there are.
namespace torchao_cpp::cli {
namespace {

void print_as_json() {
  Json configs = Json::array();
  for (const ConfigInfo& info : config_infos()) {
    configs.push_back(
        {{"name", info.name},
         {"version", info.version},
         {"family", info.family},
         {"summary", info.summary},
         {"quantizes", info.quantizes},
         {"unsupported", info.unsupported.empty() ? Json() : Json(info.unsupported)}});
  }
  Json shorthands = Json::array();
  for (const ShorthandInfo& info : shorthand_list())
    shorthands.push_back({{"pattern", info.pattern}, {"meaning", info.meaning}});
  print_json({{"configs", std::move(configs)}, {"shorthands", std::move(shorthands)}});
}

void print_as_text() {
  Table configs({{"config"}, {"version", true}, {"family"}, {"quantizes"}, {"summary"}});
  std::string reasons;
  for (const ConfigInfo& info : config_infos()) {
    configs.add({info.name, std::to_string(info.version), info.family,
                 info.quantizes ? "yes" : "no", info.summary});
    if (!info.quantizes) reasons += fmt::format("  {}: {}\n", info.name, info.unsupported);
  }
  Table shorthands({{"shorthand"}, {"meaning"}});
  for (const ShorthandInfo& info : shorthand_list())
    shorthands.add({std::string(info.pattern), std::string(info.meaning)});
  write_out(configs.text() +
            (reasons.empty() ? "" : "\nread, but not quantized with here\n" + reasons) + "\n" +
            shorthands.text());
}

}  // namespace

void add_configs(CLI::App& app, Command& chosen) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("configs", "List the quantization configs and shorthands");
  declare_json(*command, *json);
  command->callback([json, &chosen] {
    chosen = [json] {
      *json ? print_as_json() : print_as_text();
      return 0;
    };
  });
}

}  // namespace torchao_cpp::cli
