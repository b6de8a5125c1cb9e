// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

/// The commands of `torchao`. Each add_* function declares one with its arguments; parsing stores
/// what to run in `chosen`, which returns the exit status.
namespace torchao_cpp::cli {

using Command = std::function<int()>;

void add_bench(CLI::App& app, Command& chosen);
void add_inspect(CLI::App& app, Command& chosen);
void add_explain(CLI::App& app, Command& chosen);
void add_quantize(CLI::App& app, Command& chosen);
void add_dequantize(CLI::App& app, Command& chosen);
void add_convert(CLI::App& app, Command& chosen);
void add_make_model(CLI::App& app, Command& chosen);
void add_diff(CLI::App& app, Command& chosen);
void add_logits(CLI::App& app, Command& chosen);
void add_generate(CLI::App& app, Command& chosen);
void add_perplexity(CLI::App& app, Command& chosen);
void add_architectures(CLI::App& app, Command& chosen);
void add_configs(CLI::App& app, Command& chosen);
void add_kernels(CLI::App& app, Command& chosen);
void add_weights(CLI::App& app, Command& chosen);

}  // namespace torchao_cpp::cli
