// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <memory>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "torchao_cpp/llm.h"

/// `torchao make-model`: a model folder with random weights.
namespace torchao_cpp::cli {
namespace {

struct Arguments {
  std::string config;
  std::string destination;
  std::uint64_t seed = 0;
  std::string dtype;
  std::uint64_t shard_bytes = std::uint64_t{5} << 30;
  int threads = 0;
  bool json = false;
};

int run(const Arguments& arguments) {
  if (arguments.threads > 0) set_threads(arguments.threads);
  check_new_folder(arguments.destination);
  ProgressBar bar;
  RandomModelOptions options;
  options.seed = arguments.seed;
  options.dtype = parse_dtype(arguments.dtype);
  options.max_shard_bytes = static_cast<std::int64_t>(arguments.shard_bytes);
  options.progress = progress_to(bar);
  options.cancelled = &watch_interrupts();
  const RandomModelReport report =
      make_random_model(arguments.config, arguments.destination, options);
  bar.clear();
  write_notes(report.notices);
  if (arguments.json) {
    print_json({{"destination", arguments.destination},
                {"seed", arguments.seed},
                {"dtype", dtype_name(report.dtype)},
                {"tensors", report.tensors},
                {"num_parameters", report.num_parameters},
                {"nbytes", report.nbytes},
                {"notices", report.notices}});
  } else {
    write_out(fmt::format("wrote {}: {} parameters in {} tensors, {}, {}\n",
                          printable(arguments.destination), format_count(report.num_parameters),
                          format_count(report.tensors), dtype_name(report.dtype),
                          format_bytes(report.nbytes)));
  }
  return 0;
}

}  // namespace

void add_make_model(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("make-model", "Write a model with random weights for a config.json");
  command->add_option("CONFIG", arguments->config, "config.json of the model, by any name")
      ->required();
  command->add_option("DST", arguments->destination, "New model folder")->required();
  command->add_option("--seed", arguments->seed,
                      "Seed of the weights; equal seeds give equal bytes (default 0)");
  command->add_option("--dtype", arguments->dtype,
                      "dtype of the weights: f32, f16 or bf16 (default: CONFIG's, else bf16)");
  command
      ->add_option("--shard-size", arguments->shard_bytes,
                   "Largest file of weights: bytes, or a number with KB, MB, GB, KiB, MiB or GiB "
                   "(default 5GiB)")
      ->transform(CLI::AsSizeValue(true))
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 62));
  command->add_option("--threads", arguments->threads, "CPU threads (default: all)")
      ->check(CLI::Range(1, 4096));
  declare_json(*command, arguments->json);
  command->callback([arguments, &chosen] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace torchao_cpp::cli
