// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

/// `torchao generate`: continues a prompt, token by token.
namespace torchao_cpp::cli {
namespace {

struct Arguments {
  ModelArguments model;
  std::optional<std::string> prompt;
  std::optional<std::string> input_ids;
  bool is_chat = false;
  bool ignore_eos = false;
  SamplingParams sampling;
};

void check(const Arguments& arguments) {
  const SamplingParams& sampling = arguments.sampling;
  if (arguments.prompt.has_value() == arguments.input_ids.has_value())
    throw UsageError("generate: give either --prompt or --input-ids");
  if (arguments.is_chat && !arguments.prompt) throw UsageError("--chat needs --prompt");
  if (!(sampling.temperature >= 0) || !std::isfinite(sampling.temperature))
    throw UsageError("--temperature: expected a number from 0 on");
  if (!(sampling.top_p > 0 && sampling.top_p <= 1))
    throw UsageError("--top-p: expected a number above 0, at most 1");
}

// With ids as input the text is an extra: a model without a tokenizer that we read still runs.
std::optional<Tokenizer> open_tokenizer(const Arguments& arguments) {
  const std::filesystem::path directory = arguments.model.directory;
  if (arguments.prompt) return Tokenizer(directory);
  std::error_code error;
  if (!std::filesystem::exists(directory / "tokenizer.json", error)) return std::nullopt;
  try {
    return Tokenizer(directory);
  } catch (const Error& problem) {
    write_note(fmt::format("only ids are shown: {}", problem.what()));
    return std::nullopt;
  }
}

std::vector<std::int32_t> prompt_ids(const Arguments& arguments,
                                     const std::optional<Tokenizer>& tokenizer) {
  if (arguments.input_ids) return parse_input_ids(*arguments.input_ids);
  const std::vector<std::int32_t> ids = tokenizer->encode(
      arguments.is_chat ? tokenizer->apply_chat_template(*arguments.prompt) : *arguments.prompt);
  if (ids.empty())
    throw Error("--prompt: the text is empty; expected at least one token", "empty_prompt");
  return ids;
}

/// Collects the generated text and, unless JSON is asked for, writes it as it comes.
class TextOutput {
 public:
  TextOutput(const std::optional<Tokenizer>& tokenizer, bool is_silent) : is_silent_(is_silent) {
    if (tokenizer) stream_.emplace(*tokenizer);
  }

  void put(std::int32_t id) {
    write(stream_ ? stream_->put(id) : fmt::format("{}{}", is_first_ ? "" : ",", id));
  }
  void finish() {
    if (stream_) write(stream_->flush());
    if (!is_silent_) write_out("\n");
  }
  const std::string& text() const { return text_; }

 private:
  void write(const std::string& piece) {
    is_first_ = false;
    text_ += piece;
    if (!is_silent_ && !piece.empty()) write_out(piece);
  }

  std::optional<Tokenizer::Stream> stream_;
  bool is_silent_;
  bool is_first_ = true;
  std::string text_;
};

double rate(std::int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

void print_summary(const LLM& model, const GenerationResult& result, double load_seconds) {
  write_status(fmt::format("prefill  {} tokens in {:.3f} s, {:.1f} tokens/s", result.prompt_tokens,
                           result.prefill_seconds,
                           rate(result.prompt_tokens, result.prefill_seconds)));
  write_status(fmt::format("decode   {} tokens in {:.3f} s, {:.1f} tokens/s ({})",
                           result.decode_tokens, result.decode_seconds,
                           rate(result.decode_tokens, result.decode_seconds),
                           result.finish_reason));
  write_status(fmt::format("weights  {}, of which linears {}; {} on {} threads, loaded in {:.2f} s",
                           format_bytes(model.weight_bytes()),
                           format_bytes(model.linear_weight_bytes()), dtype_name(model.dtype()),
                           threads(), load_seconds));
}

void print_as_json(const LLM& model, std::span<const std::int32_t> input_ids,
                   const GenerationResult& result, const std::string* text, double load_seconds) {
  Json out;
  out["input_ids"] = std::vector<std::int32_t>(input_ids.begin(), input_ids.end());
  out["output_ids"] = result.output_ids;
  out["text"] = text == nullptr ? Json() : Json(*text);
  out["finish_reason"] = result.finish_reason;
  out["timings"] = {
      {"load_seconds", load_seconds},
      {"prefill_tokens", result.prompt_tokens},
      {"prefill_seconds", result.prefill_seconds},
      {"prefill_tokens_per_second", rate(result.prompt_tokens, result.prefill_seconds)},
      {"decode_tokens", result.decode_tokens},
      {"decode_seconds", result.decode_seconds},
      {"decode_tokens_per_second", rate(result.decode_tokens, result.decode_seconds)}};
  out["weight_bytes"] = model.weight_bytes();
  out["linear_weight_bytes"] = model.linear_weight_bytes();
  out["dtype"] = dtype_name(model.dtype());
  out["threads"] = threads();
  out["notices"] = std::vector<std::string>(model.notices().begin(), model.notices().end());
  print_json(out);
}

int run(const Arguments& arguments) {
  check(arguments);
  const std::atomic<bool>& interrupted = watch_interrupts();
  const std::optional<Tokenizer> tokenizer = open_tokenizer(arguments);
  const std::vector<std::int32_t> ids = prompt_ids(arguments, tokenizer);
  const auto start = std::chrono::steady_clock::now();
  LLM model = load_model(arguments.model);
  const double load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  SamplingParams sampling = arguments.sampling;
  sampling.ignore_eos = arguments.ignore_eos;
  TextOutput output(tokenizer, arguments.model.json);
  const GenerationResult result = model.generate(ids, sampling, [&](std::int32_t id) {
    output.put(id);
    return !interrupted.load();
  });
  output.finish();
  if (arguments.model.json) {
    print_as_json(model, ids, result, tokenizer ? &output.text() : nullptr, load_seconds);
  } else {
    print_summary(model, result, load_seconds);
  }
  return interrupted.load() ? interrupted_status() : 0;
}

}  // namespace

void add_generate(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt");
  arguments->model.declare(*command);
  SamplingParams& sampling = arguments->sampling;
  command->add_option("--prompt", arguments->prompt, "Text to continue");
  command->add_option("--input-ids", arguments->input_ids, "Token ids to continue: 1,2,3");
  command->add_flag("--chat", arguments->is_chat,
                    "Take the prompt as a user's message in the model's chat form");
  command
      ->add_option("--max-new-tokens", sampling.max_new_tokens,
                   "At most so many tokens (default 128)")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--temperature", sampling.temperature,
                      "0 takes the most likely token (default 0)");
  command
      ->add_option("--top-k", sampling.top_k,
                   "Choose among the k most likely tokens; 0 = all (default 0)")
      ->check(CLI::Range(0, 1 << 30));
  command->add_option(
      "--top-p", sampling.top_p,
      "Choose among the most likely tokens that reach this probability (default 1)");
  command->add_option("--seed", sampling.seed, "Seed of the random choice (default 0)");
  command->add_flag("--ignore-eos", arguments->ignore_eos, "Go on after an end-of-sequence token");
  command->callback([arguments, &chosen] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace torchao_cpp::cli
