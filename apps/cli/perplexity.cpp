// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

/// `torchao perplexity`: how well the model predicts a text.
namespace torchao_cpp::cli {
namespace {

struct Arguments {
  ModelArguments model;
  std::string text;
  std::int64_t window = 512;
  std::int64_t max_windows = 0;
};

std::string read_text(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    throw IoError(fmt::format("{}: is a folder; expected a text file", path));
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || (file.peek() != std::ifstream::traits_type::eof() && !(text << file.rdbuf()))) {
    throw IoError(fmt::format("{}: cannot be opened for reading", path));
  }
  return std::move(text).str();
}

std::vector<std::int32_t> encode_text(const Arguments& arguments) {
  const Tokenizer tokenizer(arguments.model.directory);
  std::vector<std::int32_t> ids = tokenizer.encode(read_text(arguments.text));
  const auto most = static_cast<std::size_t>(arguments.max_windows * arguments.window);
  if (most > 0 && ids.size() > most) ids.resize(most);
  return ids;
}

int run(const Arguments& arguments) {
  watch_interrupts();
  const std::vector<std::int32_t> ids = encode_text(arguments);
  LLM model = load_model(arguments.model);
  ProgressBar bar;
  const PerplexityResult result =
      model.perplexity(ids, arguments.window, [&](std::int64_t done, std::int64_t total) {
        check_interrupted();
        bar.update("windows", done, total, false);
        return true;
      });
  bar.clear();
  const double rate = result.seconds > 0
                          ? static_cast<double>(result.windows * arguments.window) / result.seconds
                          : 0;
  if (arguments.model.json) {
    print_json(
        {{"perplexity", result.perplexity},
         {"nll_nats_per_token", result.nll_nats_per_token},
         {"tokens", result.tokens},
         {"windows", result.windows},
         {"window", arguments.window},
         {"text_tokens", ids.size()},
         {"dtype", dtype_name(model.dtype())},
         {"seconds", result.seconds},
         {"tokens_per_second", rate},
         {"weight_bytes", model.weight_bytes()},
         {"linear_weight_bytes", model.linear_weight_bytes()},
         {"notices", std::vector<std::string>(model.notices().begin(), model.notices().end())}});
  } else {
    write_out(
        fmt::format("perplexity          {:.4f}\nnats per token      {:.6f}\nscored tokens       "
                    "{} in {} windows of {}\ncompute dtype       {}\n"
                    "weights of linears  {}\ntime                {:.1f} s, {:.0f} tokens/s\n",
                    result.perplexity, result.nll_nats_per_token, format_count(result.tokens),
                    result.windows, arguments.window, dtype_name(model.dtype()),
                    format_bytes(model.linear_weight_bytes()), result.seconds, rate));
  }
  return 0;
}

}  // namespace

void add_perplexity(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("perplexity", "Score a text in consecutive windows");
  arguments->model.declare(*command);
  command->add_option("--text", arguments->text, "Text file (UTF-8)")->required();
  command
      ->add_option("--window", arguments->window,
                   "Tokens in a window; the incomplete last one is dropped (default 512)")
      ->check(CLI::Range(2, 1 << 20));
  command
      ->add_option("--max-windows", arguments->max_windows,
                   "Stop after so many windows (default: all)")
      ->check(CLI::Range(1, 1 << 20));
  command->callback([arguments, &chosen] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace torchao_cpp::cli
