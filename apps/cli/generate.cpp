// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>

#include "commands.h"
#include "console.h"
#include "json_output.h"
#include "model_arguments.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

/// `torchao generate`: continues a prompt token by token, or several at once.
namespace torchao_cpp::cli {
namespace {

struct Arguments {
  ModelArguments model;
  std::vector<std::string> prompts;
  std::string prompts_file;
  std::vector<std::string> input_ids;
  int max_batch = 8;
  bool is_chat = false;
  bool ignore_eos = false;
  SamplingParams sampling;

  bool is_text() const { return input_ids.empty(); }
  /// A file of prompts gives a list of results, whatever number of lines it has.
  bool is_list() const {
    return !prompts_file.empty() || prompts.size() > 1 || input_ids.size() > 1;
  }
};

void check(const Arguments& arguments) {
  const SamplingParams& sampling = arguments.sampling;
  const int sources = static_cast<int>(!arguments.prompts.empty()) +
                      static_cast<int>(!arguments.prompts_file.empty()) +
                      static_cast<int>(!arguments.input_ids.empty());
  if (sources != 1)
    throw UsageError("generate: give one of --prompt, --prompts-file and --input-ids");
  if (arguments.is_chat && !arguments.is_text())
    throw UsageError("--chat needs --prompt or --prompts-file");
  if (!(sampling.temperature >= 0) || !std::isfinite(sampling.temperature))
    throw UsageError("--temperature: expected a number from 0 on");
  if (!(sampling.top_p > 0 && sampling.top_p <= 1))
    throw UsageError("--top-p: expected a number above 0, at most 1");
}

// With ids as input the text is an extra: a model without a tokenizer that we read still runs.
std::optional<Tokenizer> open_tokenizer(const Arguments& arguments) {
  const std::filesystem::path directory = arguments.model.directory;
  if (arguments.is_text()) return Tokenizer(directory);
  std::error_code error;
  if (!std::filesystem::exists(directory / "tokenizer.json", error)) return std::nullopt;
  try {
    return Tokenizer(directory);
  } catch (const Error& problem) {
    write_note(fmt::format("only ids are shown: {}", problem.what()));
    return std::nullopt;
  }
}

// Every line that is not empty is a prompt.
std::vector<std::string> read_prompts(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::string> prompts;
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) prompts.push_back(line);
  }
  if (!file.is_open() || file.bad())
    throw IoError(fmt::format("{}: {}", path, std::strerror(errno)));
  if (prompts.empty()) throw Error(fmt::format("{}: no line holds a prompt", path), "empty_prompt");
  return prompts;
}

using Ids = std::vector<std::int32_t>;

std::vector<Ids> prompt_ids(const Arguments& arguments, const std::optional<Tokenizer>& tokenizer) {
  std::vector<Ids> ids;
  for (const std::string& list : arguments.input_ids) ids.push_back(parse_input_ids(list));
  if (!arguments.is_text()) return ids;
  const std::vector<std::string> texts =
      arguments.prompts_file.empty() ? arguments.prompts : read_prompts(arguments.prompts_file);
  for (const std::string& text : texts) {
    ids.push_back(
        tokenizer->encode(arguments.is_chat ? tokenizer->apply_chat_template(text) : text));
    if (ids.back().empty())
      throw Error("--prompt: the text is empty; expected at least one token", "empty_prompt");
  }
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

void write_weights(const LLM& model, double load_seconds) {
  write_status(fmt::format("weights  {}, of which linears {}; {} on {} threads, loaded in {:.2f} s",
                           format_bytes(model.weight_bytes()),
                           format_bytes(model.linear_weight_bytes()), dtype_name(model.dtype()),
                           threads(), load_seconds));
}

void print_summary(const LLM& model, const GenerationResult& result, double load_seconds) {
  write_status(fmt::format("prefill  {} tokens in {:.3f} s, {:.1f} tokens/s", result.prompt_tokens,
                           result.prefill_seconds,
                           rate(result.prompt_tokens, result.prefill_seconds)));
  write_status(fmt::format("decode   {} tokens in {:.3f} s, {:.1f} tokens/s ({})",
                           result.decode_tokens, result.decode_seconds,
                           rate(result.decode_tokens, result.decode_seconds),
                           result.finish_reason));
  write_weights(model, load_seconds);
}

Json timings(const GenerationResult& result) {
  return {{"prefill_tokens", result.prompt_tokens},
          {"prefill_seconds", result.prefill_seconds},
          {"prefill_tokens_per_second", rate(result.prompt_tokens, result.prefill_seconds)},
          {"decode_tokens", result.decode_tokens},
          {"decode_seconds", result.decode_seconds},
          {"decode_tokens_per_second", rate(result.decode_tokens, result.decode_seconds)}};
}

Json result_as_json(const Ids& input_ids, const GenerationResult& result, const std::string* text) {
  Json out;
  out["input_ids"] = input_ids;
  out["output_ids"] = result.output_ids;
  out["text"] = text == nullptr ? Json() : Json(*text);
  out["finish_reason"] = result.finish_reason;
  out["timings"] = timings(result);
  return out;
}

void add_model(Json& out, const LLM& model) {
  out["weight_bytes"] = model.weight_bytes();
  out["linear_weight_bytes"] = model.linear_weight_bytes();
  out["dtype"] = dtype_name(model.dtype());
  out["threads"] = threads();
  out["notices"] = std::vector<std::string>(model.notices().begin(), model.notices().end());
}

/// What every run starts from.
struct Loaded {
  std::optional<Tokenizer> tokenizer;
  std::vector<Ids> prompts;
  LLM model;
  double load_seconds;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run_one(const Arguments& arguments, Loaded& loaded, const SamplingParams& sampling,
             const std::atomic<bool>& interrupted) {
  const Ids& ids = loaded.prompts.front();
  TextOutput output(loaded.tokenizer, arguments.model.json);
  const GenerationResult result = loaded.model.generate(ids, sampling, [&](std::int32_t id) {
    output.put(id);
    return !interrupted.load();
  });
  output.finish();
  if (!arguments.model.json) return print_summary(loaded.model, result, loaded.load_seconds);
  Json out = result_as_json(ids, result, loaded.tokenizer ? &output.text() : nullptr);
  // First among the timings, where it always stood.
  Json all = {{"load_seconds", loaded.load_seconds}};
  all.update(out["timings"]);
  out["timings"] = std::move(all);
  add_model(out, loaded.model);
  print_json(out);
}

/// What several prompts together took.
struct Totals {
  std::int64_t prompt_tokens = 0;
  std::int64_t new_tokens = 0;
  double seconds = 0;
};

void print_list(const Loaded& loaded, const std::vector<GenerationResult>& results,
                const std::vector<std::string>& texts, const Totals& totals) {
  for (std::size_t i = 0; i < results.size(); ++i) {
    write_out(fmt::format("--- prompt {} of {}: {} tokens, {} new ({})\n", i + 1, results.size(),
                          results[i].prompt_tokens, results[i].output_ids.size(),
                          results[i].finish_reason));
    write_out(texts[i] + "\n");
  }
  write_status(fmt::format("{} prompts of {} tokens, {} new tokens in {:.3f} s, {:.1f} tokens/s",
                           results.size(), totals.prompt_tokens, totals.new_tokens, totals.seconds,
                           rate(totals.new_tokens, totals.seconds)));
  write_weights(loaded.model, loaded.load_seconds);
}

void print_list_as_json(const Loaded& loaded, const std::vector<GenerationResult>& results,
                        const std::vector<std::string>& texts, const Totals& totals) {
  Json out;
  Json list = Json::array();
  for (std::size_t i = 0; i < results.size(); ++i) {
    list.push_back(
        result_as_json(loaded.prompts[i], results[i], loaded.tokenizer ? &texts[i] : nullptr));
  }
  out["results"] = std::move(list);
  out["timings"] = {{"load_seconds", loaded.load_seconds},
                    {"prompt_tokens", totals.prompt_tokens},
                    {"new_tokens", totals.new_tokens},
                    {"seconds", totals.seconds},
                    {"new_tokens_per_second", rate(totals.new_tokens, totals.seconds)}};
  add_model(out, loaded.model);
  print_json(out);
}

void run_list(const Arguments& arguments, Loaded& loaded, const SamplingParams& sampling,
              const std::atomic<bool>& interrupted) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<TextOutput> outputs;
  for (std::size_t i = 0; i < loaded.prompts.size(); ++i)
    outputs.emplace_back(loaded.tokenizer, true);
  ProgressBar bar;
  std::int64_t done = 0;
  const auto most = static_cast<std::int64_t>(loaded.prompts.size()) * sampling.max_new_tokens;
  const std::vector<GenerationResult> results = loaded.model.generate_batch(
      loaded.prompts, sampling,
      [&](std::int64_t index, std::int32_t id) {
        outputs[static_cast<std::size_t>(index)].put(id);
        bar.update("tokens", ++done, most, false);
        return true;
      },
      &interrupted);
  bar.clear();
  Totals totals{.seconds = seconds_since(start)};
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < results.size(); ++i) {
    totals.prompt_tokens += results[i].prompt_tokens;
    totals.new_tokens += static_cast<std::int64_t>(results[i].output_ids.size());
    outputs[i].finish();
    texts.push_back(outputs[i].text());
  }
  arguments.model.json ? print_list_as_json(loaded, results, texts, totals)
                       : print_list(loaded, results, texts, totals);
}

int run(const Arguments& arguments) {
  check(arguments);
  const std::atomic<bool>& interrupted = watch_interrupts();
  std::optional<Tokenizer> tokenizer = open_tokenizer(arguments);
  std::vector<Ids> ids = prompt_ids(arguments, tokenizer);
  const auto start = std::chrono::steady_clock::now();
  const auto places =
      std::min<std::size_t>(ids.size(), static_cast<std::size_t>(arguments.max_batch));
  LLM model = load_model(arguments.model, static_cast<int>(places));
  Loaded loaded{std::move(tokenizer), std::move(ids), std::move(model), seconds_since(start)};
  SamplingParams sampling = arguments.sampling;
  sampling.ignore_eos = arguments.ignore_eos;
  arguments.is_list() ? run_list(arguments, loaded, sampling, interrupted)
                      : run_one(arguments, loaded, sampling, interrupted);
  return interrupted.load() ? interrupted_status() : 0;
}

}  // namespace

void add_generate(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("generate", "Continue one or more prompts");
  arguments->model.declare(*command);
  SamplingParams& sampling = arguments->sampling;
  command
      ->add_option("--prompt", arguments->prompts, "Text to continue; may be given several times")
      ->allow_extra_args(false);
  command->add_option("--prompts-file", arguments->prompts_file,
                      "File with one prompt a line; empty lines are left out");
  command
      ->add_option("--input-ids", arguments->input_ids,
                   "Token ids to continue: 1,2,3; may be given several times")
      ->allow_extra_args(false);
  command
      ->add_option("--max-batch", arguments->max_batch,
                   "Of several prompts so many run at once (default 8)")
      ->check(CLI::Range(1, 4096));
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
  command->add_option(
      "--seed", sampling.seed,
      "Seed of the random choice (default 0); prompt i (from 0) of several has seed + i");
  command->add_flag("--ignore-eos", arguments->ignore_eos, "Go on after an end-of-sequence token");
  command->callback([arguments, &chosen] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace torchao_cpp::cli
