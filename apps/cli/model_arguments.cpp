// SPDX-License-Identifier: Apache-2.0
#include "model_arguments.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <limits>

#include "torchao_cpp/error.h"

namespace torchao_cpp::cli {

void declare_json(CLI::App& command, bool& json) {
  command.add_flag("--json", json, "Print JSON instead of text");
}

void ModelArguments::declare(CLI::App& command) {
  declare_without_json(command);
  declare_json(command, json);
}

void ModelArguments::declare_without_json(CLI::App& command) {
  command.add_option("DIR", directory, "Model folder: config.json, and safetensors or .bin files")
      ->required();
  command.add_option("-q,--quantization", quantization, kQuantizationHelp);
  command.add_option("--skip", skip, "Modules to leave alone: a,b")->delimiter(',');
  command.add_option("--dtype", dtype, "Compute dtype: f32, f16 or bf16 (default: config.json's)");
  command.add_option("--force-kernel", force_kernel,
                     "A kernel or instruction set of 'torchao kernels'");
  command.add_option("--device", device, "Where it runs: cpu, cuda or cuda:INDEX (default: cpu)");
  command.add_flag("--vllm-selection", vllm_selection,
                   "Decide fused layers as vLLM does: by their fused name alone");
  command.add_option("--threads", threads, "CPU threads (default: all)")
      ->check(CLI::Range(1, 4096));
}

ModelOptions ModelArguments::to_options() const {
  if (threads > 0) set_threads(threads);
  ModelOptions options;
  options.dtype = parse_dtype(dtype);
  options.force_kernel = force_kernel;
  options.device = parse_device(device);
  options.selection_mode = vllm_selection ? SelectionMode::kVllm : SelectionMode::kPackedModules;
  if (!quantization.empty()) {
    options.quantization = parse_quantization(quantization, skip);
  } else if (!skip.empty()) {
    throw UsageError("--skip needs --quantization");
  }
  return options;
}

TorchAOConfig parse_quantization(const std::string& text, const std::vector<std::string>& skip) {
  std::vector<ConfigWarning> warnings;
  TorchAOConfig config = TorchAOConfig::from_user(text, &warnings);
  write_notes(warnings);
  return skip.empty() ? config : config.with_skip_modules(skip);
}

std::optional<DType> parse_dtype(const std::string& name) {
  if (name.empty()) return std::nullopt;
  const std::optional<DType> dtype = compute_dtype_from_name(name);
  if (!dtype || !is_high_precision(*dtype))
    throw UsageError(fmt::format("--dtype: '{}' is unknown; expected f32, f16 or bf16", name));
  return dtype;
}

Device parse_device(const std::string& name) {
  if (name.empty() || name == "cpu") return Device::cpu();
  if (name == "cuda") return Device::cuda(0);
  constexpr std::string_view kPrefix = "cuda:";
  int index = -1;
  const char* const end = name.data() + name.size();
  const bool has_prefix = name.starts_with(kPrefix);
  const auto [stop, error] =
      std::from_chars(has_prefix ? name.data() + kPrefix.size() : end, end, index);
  if (error == std::errc() && stop == end && index >= 0) return Device::cuda(index);
  throw UsageError(
      fmt::format("--device: '{}' is unknown; expected cpu, cuda or cuda:INDEX", name));
}

std::vector<std::int32_t> parse_input_ids(std::string_view text) {
  std::vector<std::int32_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    while (at < end && *at == ' ') ++at;
    std::int32_t id = 0;
    const auto [stop, error] = std::from_chars(at, end, id);
    if (error != std::errc())
      throw UsageError(fmt::format("--input-ids: expected integers like 1,2,3, got '{}'", text));
    ids.push_back(id);
    at = stop;
    if (at == end) return ids;
    if (*at != ',')
      throw UsageError(fmt::format("--input-ids: expected integers like 1,2,3, got '{}'", text));
    ++at;
  }
}

void check_new_folder(const std::string& destination) {
  std::error_code error;
  if (std::filesystem::exists(destination, error)) {
    throw IoError(
        fmt::format("{}: exists already; expected the name of a new folder", destination));
  }
}

ProgressCallback progress_to(ProgressBar& bar) {
  return [&bar](std::string_view stage, std::int64_t done, std::int64_t total) {
    bar.update(stage, done, total);
  };
}

LLM load_model(const ModelArguments& arguments, int max_batch) {
  ModelOptions options = arguments.to_options();
  options.max_batch = max_batch;
  ProgressBar bar;
  options.progress = [draw = progress_to(bar)](std::string_view stage, std::int64_t done,
                                               std::int64_t total) {
    check_interrupted();
    draw(stage, done, total);
  };
  LLM model(arguments.directory, options);
  bar.clear();
  write_notes(model.notices());
  return model;
}

}  // namespace torchao_cpp::cli
