// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <memory>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/llm.h"

/// `torchao logits`: one forward pass, its result in a file.
namespace torchao_cpp::cli {
namespace {

struct Arguments {
  ModelArguments model;
  std::string input_ids;
  std::string output;
};

int run(const Arguments& arguments) {
  const std::vector<std::int32_t> ids = parse_input_ids(arguments.input_ids);
  LLM model = load_model(arguments.model);
  const auto start = std::chrono::steady_clock::now();
  const Tensor logits = model.logits(ids);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::array<std::pair<std::string, Tensor>, 1> tensors{{{"logits", logits}}};
  write_safetensors(arguments.output, tensors);
  if (arguments.model.json) {
    print_json(
        {{"output", arguments.output},
         {"shape", logits.shape()},
         {"dtype", dtype_name(logits.dtype())},
         {"compute_dtype", dtype_name(model.dtype())},
         {"seconds", seconds},
         {"notices", std::vector<std::string>(model.notices().begin(), model.notices().end())}});
  } else {
    write_out(fmt::format("wrote {}: logits {} {} (computed in {}, {:.2f} s)\n",
                          printable(arguments.output), dtype_name(logits.dtype()),
                          shape_to_string(logits.shape()), dtype_name(model.dtype()), seconds));
  }
  return 0;
}

}  // namespace

void add_logits(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "logits", "Write the logits of a sequence of token ids to a safetensors file");
  arguments->model.declare(*command);
  command->add_option("--input-ids", arguments->input_ids, "Token ids: 1,2,3")->required();
  command
      ->add_option("--output", arguments->output,
                   "File to write: tensor 'logits', float32 [T, vocabulary]")
      ->required();
  command->callback([arguments, &chosen] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace torchao_cpp::cli
