// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "console.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp::cli {

/// Arguments of every command that reads a model with a quantization of choice.
struct ModelArguments {
  std::string directory;
  std::string quantization;
  std::vector<std::string> skip;
  std::string dtype;
  std::string force_kernel;
  std::string device;
  bool vllm_selection = false;
  int threads = 0;
  bool json = false;

  /// Declares DIR and the options.
  void declare(CLI::App& command);
  /// The same but for --json.
  void declare_without_json(CLI::App& command);
  /// Sets the number of threads and writes the config's notes. Throws UsageError for arguments that
  /// do not go together.
  ModelOptions to_options() const;
};

/// What a user gave for --quantization and --skip; its notes go to standard error.
TorchAOConfig parse_quantization(const std::string& text, const std::vector<std::string>& skip);

/// "f32", "bf16", ...; nullopt when empty. Throws UsageError.
std::optional<DType> parse_dtype(const std::string& name);

/// "cpu", "cuda" or "cuda:1"; the CPU when empty. Throws UsageError.
Device parse_device(const std::string& name);

/// "1,2,3" -> ids. Throws UsageError for anything that is no list of integers.
std::vector<std::int32_t> parse_input_ids(std::string_view text);

/// Throws IoError when `destination` exists: said before anything is read; the writer checks again.
void check_new_folder(const std::string& destination);

/// Draws the progress of loading and writing on `bar`, which must outlive the result.
ProgressCallback progress_to(ProgressBar& bar);

/// Loads the model, for `max_batch` sequences at once, with a progress bar; Ctrl-C stops it where
/// watch_interrupts() was called. Writes its notices.
LLM load_model(const ModelArguments& arguments, int max_batch = 1);

/// Declares the flag --json.
void declare_json(CLI::App& command, bool& json);

/// The names that --quantization takes, for help texts.
inline constexpr const char* kQuantizationHelp =
    "A shorthand (int8wo, int4wo-32, ...; see 'torchao configs'), a JSON file, or JSON text";

}  // namespace torchao_cpp::cli
