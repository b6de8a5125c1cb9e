// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <array>
#include <exception>
#include <new>

#include "commands.h"
#include "console.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp::cli {
namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;
constexpr int kExitOutputClosed = 141;  // what a shell reports for SIGPIPE

int report(std::string_view message, int status) {
  write_status("torchao: " + printable(message));
  return status;
}

int run_command(const Command& command) {
  try {
    return command();
  } catch (const UsageError& error) {
    return report(error.what(), kExitUsage);
  } catch (const OutputClosed&) {
    return kExitOutputClosed;
  } catch (const Interrupted&) {
    return report("interrupted", interrupted_status());
  } catch (const Error& error) {
    return report(error.what(), error.kind() == "cancelled" ? interrupted_status() : kExitError);
  } catch (const std::bad_alloc&) {
    return report("out of memory", kExitError);
  } catch (const std::exception& error) {
    return report(error.what(), kExitError);
  }
}

void print_help(const CLI::App& app) {
  // The innermost command that was named: "torchao bench linear".
  const CLI::App* command = &app;
  std::string names;
  while (!command->get_subcommands().empty()) {
    names += (names.empty() ? "" : " ") + command->get_name();
    command = command->get_subcommands().front();
  }
  write_out(command->help(names));
}

int main_with_arguments(int argc, char** argv) {
  CLI::App app("Quantizes and runs language models with torchao's configs and checkpoints.",
               "torchao");
  app.set_version_flag("--version", "torchao.cpp " + std::string(version()));
  app.require_subcommand(1);
  app.failure_message(
      [](const CLI::App*, const CLI::Error& error) { return std::string(error.what()); });
  Command chosen;
  for (const auto add : std::to_array<void (*)(CLI::App&, Command&)>(
           {add_inspect, add_explain, add_quantize, add_dequantize, add_convert, add_make_model,
            add_diff, add_logits, add_generate, add_perplexity, add_bench, add_architectures,
            add_configs, add_kernels, add_weights})) {
    add(app, chosen);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return run_command([&] { return print_help(app), 0; });
  } catch (const CLI::CallForVersion& version_text) {
    return run_command([&] { return write_out(std::string(version_text.what()) + "\n"), 0; });
  } catch (const CLI::ParseError& error) {
    return report(std::string(error.what()) + "; try 'torchao --help'", kExitUsage);
  }
  return run_command(chosen);
}

}  // namespace
}  // namespace torchao_cpp::cli

int main(int argc, char** argv) {
  // Closed pipes and files over the limit are seen where they are written.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  return torchao_cpp::cli::main_with_arguments(argc, argv);
}
