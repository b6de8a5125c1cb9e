// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/export.h"
#include "torchao_cpp/linear.h"
#include "torchao_cpp/tensor.h"
#include "torchao_cpp/torchao_config.h"

namespace torchao_cpp {

/// Hugging Face tokenizer.json (byte-level BPE). Immutable; safe from many threads.
class TORCHAO_CPP_EXPORT Tokenizer {
 public:
  /// `path`: tokenizer.json or the folder that holds it. Throws IoError, CheckpointError (kind "tokenizer") or UnsupportedError naming the component.
  explicit Tokenizer(const std::filesystem::path& path);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// Text (UTF-8; bad bytes become U+FFFD) -> ids. Added tokens in the text are recognised; no special tokens are added.
  std::vector<std::int32_t> encode(std::string_view text) const;
  /// Ids -> text. Throws Error for an id outside the vocabulary.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens = true) const;
  std::int64_t vocab_size() const noexcept;
  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  bool is_special(std::int32_t id) const noexcept;

  /// Renders one user message with the chat form of tokenizer_config.json (ChatML templates). Throws UnsupportedError for a
  /// template that is not recognised.
  std::string apply_chat_template(std::string_view user_message) const;

  /// Turns a stream of ids into pieces that are always whole UTF-8 characters.
  class TORCHAO_CPP_EXPORT Stream {
   public:
    explicit Stream(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
    /// Text that became complete with this id; may be empty.
    std::string put(std::int32_t id);
    /// What is left at the end; broken bytes become U+FFFD.
    std::string flush();

   private:
    const Tokenizer* tokenizer_;
    std::string pending_;
  };

 private:
  friend class Stream;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Loading progress: a stage name, bytes done and bytes in all.
using ProgressCallback = std::function<void(std::string_view stage, std::int64_t done_bytes, std::int64_t total_bytes)>;

struct ModelOptions {
  /// Quantize on the fly (or override the checkpoint's own config). Not set: what config.json says.
  std::optional<TorchAOConfig> quantization;
  /// Compute dtype; not set: config.json's.
  std::optional<DType> dtype;
  SelectionMode selection_mode = SelectionMode::kPackedModules;
  std::string force_kernel;
  /// Where the model runs: weights, KV caches and every step of it. Device::cuda(i) needs a build with CUDA.
  Device device;
  /// The path that LLM takes is not a folder but a config.json by any name; plain weights are random (as make_random_model's,
  /// but the same in every layer) and read from nowhere: for measuring.
  bool random_weights = false;
  /// Run on the dequantized weights as plain ones, without quantizing activations: what quantization alone changes.
  bool dequantize_weights = false;
  /// Longest sequence the KV cache must hold; 0 = max_position_embeddings (at most 4096).
  std::int64_t max_model_len = 0;
  /// Sequences that generate_batch runs at once, each with a KV cache of its own that is allocated when it is first needed.
  int max_batch = 1;
  ProgressCallback progress;
};

/// One row of `torchao inspect`.
struct ParameterInfo {
  std::string fqn;
  Shape shape;
  std::string dtype;         ///< Of a plain tensor, or the logical dtype.
  std::string weight_class;  ///< "Tensor", "Int8Tensor", ...
  std::string detail;
  std::int64_t nbytes = 0;
  double bits_per_weight = 0;
};

/// What a model folder holds, without loading it.
struct ModelInfo {
  std::string architecture;
  std::string model_type;
  std::string quantization_config;  ///< JSON text or empty.
  bool is_torchao_serialized = false;
  std::vector<ParameterInfo> parameters;
  std::vector<std::string> tied;
  std::vector<std::string> warnings;
  std::int64_t nbytes = 0;
  std::int64_t num_parameters = 0;
};
TORCHAO_CPP_EXPORT ModelInfo inspect_model(const std::filesystem::path& directory);

/// True when models of this architecture ("Qwen3ForCausalLM") can be run, explained and quantized here.
TORCHAO_CPP_EXPORT bool is_supported_architecture(std::string_view architecture) noexcept;

struct ArchitectureInfo {
  std::string_view name;        ///< As in config.json's "architectures".
  std::string_view model_type;  ///< As in config.json.
  std::string_view runs;        ///< What of it runs, beyond the form of Llama.
};
/// All of them, by name.
TORCHAO_CPP_EXPORT std::vector<ArchitectureInfo> architecture_infos();

/// Decides every linear of a model without reading weights' values ("explain"): kernels are chosen on the stored or would-be weight class.
TORCHAO_CPP_EXPORT std::vector<LinearReport> explain_model(const std::filesystem::path& directory, const ModelOptions& options,
                                                           std::vector<std::string>* notices = nullptr);

struct ConvertOptions {
  TorchAOConfig quantization;
  std::optional<DType> dtype;                ///< dequantize: dtype of the result.
  ProgressCallback progress;
  const std::atomic<bool>* cancelled = nullptr;  ///< Set by a signal handler: stops cleanly with Error kind "cancelled".
};

/// One linear's outcome of quantize_model.
struct ConvertReport {
  struct Row {
    std::string fqn;
    std::string weight_class;
    std::string reason;
    std::int64_t bytes_before = 0;
    std::int64_t bytes_after = 0;
  };
  std::vector<Row> rows;
  std::int64_t bytes_before = 0;
  std::int64_t bytes_after = 0;
  std::vector<std::string> notices;
};

/// Writes a torchao checkpoint of `source` into the new folder `destination`: quantized safetensors, config.json with
/// quantization_config, tokenizer files. Nothing is left behind on an error. Throws ConfigError, CheckpointError, IoError.
TORCHAO_CPP_EXPORT ConvertReport quantize_model(const std::filesystem::path& source, const std::filesystem::path& destination,
                                                const ConvertOptions& options);
/// The reverse: every quantized weight dequantized; quantization_config removed.
TORCHAO_CPP_EXPORT ConvertReport dequantize_model(const std::filesystem::path& source, const std::filesystem::path& destination,
                                                  std::optional<DType> dtype, const ProgressCallback& progress = nullptr,
                                                  const std::atomic<bool>* cancelled = nullptr);

struct RandomModelOptions {
  std::uint64_t seed = 0;
  std::optional<DType> dtype = std::nullopt;  ///< Not set: config.json's, or bfloat16 where it names none.
  std::int64_t max_shard_bytes = std::int64_t{5} << 30;
  ProgressCallback progress = nullptr;
  const std::atomic<bool>* cancelled = nullptr;  ///< Set by a signal handler: stops cleanly with Error kind "cancelled".
};

/// What make_random_model wrote.
struct RandomModelReport {
  DType dtype = DType::kBFloat16;
  std::int64_t tensors = 0;
  std::int64_t num_parameters = 0;
  std::int64_t nbytes = 0;  ///< Of all tensors.
  std::vector<std::string> notices;
};

/// Writes the new model folder `destination` with random weights for the architecture that `config_file` (a config.json
/// by any name) describes: linears and embeddings normal(0, initializer_range), norms 1, biases 0, under the names of
/// transformers; config.json with the dtype; the tokenizer files that lie beside `config_file`. The bytes depend on
/// config and options alone, not on threads or machine. One tensor is in memory at a time. Nothing is left behind on an
/// error. Throws ConfigError, UnsupportedError (architecture, dtype), IoError, Error (kind "cancelled").
TORCHAO_CPP_EXPORT RandomModelReport make_random_model(const std::filesystem::path& config_file,
                                                       const std::filesystem::path& destination,
                                                       const RandomModelOptions& options = {});

/// The form that convert_model writes: flattened safetensors as torchao 0.18 reads and writes them.
inline constexpr std::string_view kConvertTarget = "torchao-0.18";

struct ConvertModelOptions {
  ProgressCallback progress;
  const std::atomic<bool>* cancelled = nullptr;  ///< Set by a signal handler: stops cleanly with Error kind "cancelled".
};

/// What convert_model did.
struct ConvertModelReport {
  /// One parameter.
  struct Row {
    std::string fqn;
    std::string class_before;  ///< CheckpointEntry::stored_class; "Tensor" for a plain one.
    std::string class_after;
    std::vector<std::string> changes;  ///< Phrases: "attribute 'reduce_range' added"; empty = nothing but the form.
    std::int64_t bytes_before = 0;
    std::int64_t bytes_after = 0;
  };
  /// Parameters of equal classes and changes together, in the order of the first of each.
  struct ClassTotal {
    std::string class_before;
    std::string class_after;
    std::vector<std::string> changes;
    std::int64_t count = 0;
    std::int64_t bytes_before = 0;
    std::int64_t bytes_after = 0;
  };
  std::string form_before;  ///< "flattened safetensors of torchao 0.14", ...
  std::string form_after;
  std::vector<Row> rows;
  std::vector<ClassTotal> classes;
  std::int64_t bytes_before = 0;
  std::int64_t bytes_after = 0;
  std::vector<std::string> notices;
};

/// Rewrites the model folder `source`, in any form that Checkpoint reads, as kConvertTarget into the new folder
/// `destination`: every weight in today's form of its class, quantization_config upgraded where its meaning is defined,
/// tokenizer files. No value changes: the dequantized weights are compared bit for bit before anything is written under
/// the final name (the stored parts, where a class cannot be dequantized here).
/// Nothing is left behind on an error. Throws CheckpointError (kind "convert.changed" for a weight that came out
/// different), UnsupportedError for a class that torchao 0.18 cannot store, ConfigError, IoError.
TORCHAO_CPP_EXPORT ConvertModelReport convert_model(const std::filesystem::path& source,
                                                    const std::filesystem::path& destination,
                                                    const ConvertModelOptions& options = {});

struct DiffOptions {
  ProgressCallback progress;
  const std::atomic<bool>* cancelled = nullptr;  ///< Set by a signal handler: stops with Error kind "cancelled".
};

/// How far the values of one or more weights B are from those of A, over the elements that are finite in both.
struct DiffNumbers {
  std::int64_t numel = 0;
  double max_abs_error = 0;
  double mean_abs_error = 0;
  /// Signal to quantization noise, 10 log10(sum a^2 / sum (a - b)^2): infinite when all values are equal, -infinite when
  /// A is all zero and B is not, NaN when the two are not finite in different places.
  double sqnr_db = 0;
  /// Elements that are NaN or infinite.
  std::int64_t nonfinite_a = 0;
  std::int64_t nonfinite_b = 0;
  /// Elements of which one is not finite and the other is something else.
  std::int64_t nonfinite_differing = 0;
  /// All values are equal (0 and -0 are, and so are two NaN).
  bool is_equal = false;
};

/// What diff_checkpoints found.
struct DiffReport {
  /// A weight of both checkpoints.
  struct Row {
    std::string fqn;
    std::string class_a;  ///< "Int8Tensor", "Tensor"
    std::string class_b;
    std::string dtype_a;  ///< Of a plain tensor, or the logical dtype.
    std::string dtype_b;
    Shape shape;          ///< Of A.
    std::string problem;  ///< Why there are no numbers; empty otherwise.
    DiffNumbers numbers;
  };
  std::vector<Row> rows;  ///< In A's order.
  std::vector<std::string> only_in_a;
  std::vector<std::string> only_in_b;
  DiffNumbers total;            ///< Over all weights that have numbers.
  DiffNumbers total_differing;  ///< Over those among them that are not equal.
  std::int64_t compared = 0;    ///< Rows that have numbers.
  std::int64_t equal = 0;       ///< Rows of these whose values are equal.
  std::vector<std::string> notices;
};

/// Compares two checkpoints (folders or single files) weight by weight. Quantized weights are dequantized to their own
/// dtype; all arithmetic is in double. Names are matched as they are: a fused weight and its parts are "only in" one each.
/// One weight of each is in memory at a time. The result does not depend on the number of threads.
/// Throws IoError or CheckpointError, kind "diff.nothing" when no weight can be compared.
TORCHAO_CPP_EXPORT DiffReport diff_checkpoints(const std::filesystem::path& a, const std::filesystem::path& b,
                                               const DiffOptions& options = {});

/// Positions in report.rows, worst first: no numbers, NaN, then by rising SQNR; in A's order where equal.
TORCHAO_CPP_EXPORT std::vector<std::size_t> worst_first(const DiffReport& report);

/// A self-contained SVG of 1200 x 600: SQNR by layer, one line for each kind of projection (q_proj, down_proj, ...) that
/// differs anywhere; where a layer has several of a kind (experts), the worst. Names are escaped; any bytes are accepted.
TORCHAO_CPP_EXPORT std::string diff_plot(const DiffReport& report, std::string_view name_a, std::string_view name_b);

struct SamplingParams {
  double temperature = 0;      ///< 0 = greedy.
  std::int64_t top_k = 0;      ///< 0 = all.
  double top_p = 1;
  std::uint64_t seed = 0;
  std::int64_t max_new_tokens = 128;
  std::vector<std::int32_t> stop_ids;  ///< In addition to the model's end-of-sequence ids.
  bool ignore_eos = false;
};

struct GenerationResult {
  std::vector<std::int32_t> output_ids;
  std::string finish_reason;  ///< "stop", "length" or "cancelled"
  double prefill_seconds = 0;  ///< Until the first id.
  double decode_seconds = 0;
  std::int64_t prompt_tokens = 0;
  std::int64_t decode_tokens = 0;  ///< Tokens that decode_seconds produced (the first comes from the prefill).
};

struct PerplexityResult {
  double nll_nats_per_token = 0;
  double perplexity = 0;
  std::int64_t tokens = 0;  ///< Scored: all but the first of each window.
  std::int64_t windows = 0;
  double seconds = 0;
};

/// What the steps of one kind took.
struct PhaseProfile {
  std::int64_t steps = 0;
  std::int64_t tokens = 0;  ///< That went through the model.
  double seconds = 0;       ///< Of the whole steps.
  double linear_seconds = 0;  ///< All linears, the output head among them.
  double attention_seconds = 0;
  double sampling_seconds = 0;

  /// Norms, rotation, activation function, embedding, scheduling.
  double other_seconds() const noexcept { return seconds - linear_seconds - attention_seconds - sampling_seconds; }
};

/// Steps that read prompts, and steps that make one token for each sequence.
struct RunProfile {
  PhaseProfile prefill;
  PhaseProfile decode;
};

/// A loaded decoder model with its KV caches. Not safe for concurrent calls.
class TORCHAO_CPP_EXPORT LLM {
 public:
  /// Throws IoError, CheckpointError, ConfigError, UnsupportedError (architecture, device), ShapeError, DeviceError (a GPU
  /// that does not exist or has too little memory). On a GPU every call can throw DeviceError.
  explicit LLM(const std::filesystem::path& directory, const ModelOptions& options = {});
  ~LLM();
  LLM(LLM&&) noexcept;
  LLM& operator=(LLM&&) noexcept;

  std::string_view architecture() const noexcept;
  DType dtype() const noexcept;
  std::int64_t vocab_size() const noexcept;
  std::int64_t max_model_len() const noexcept;
  std::span<const std::int32_t> eos_token_ids() const noexcept;
  /// Bytes of all weights as loaded, and of the linears among them.
  std::int64_t weight_bytes() const noexcept;
  std::int64_t linear_weight_bytes() const noexcept;
  const std::vector<LinearReport>& linear_reports() const noexcept;
  /// Bytes of keys and values that one token of a sequence holds, all layers together.
  std::int64_t kv_cache_bytes_per_token() const noexcept;
  std::span<const std::string> notices() const noexcept;

  /// float32 logits [T, vocab] of one sequence. Throws Error: no ids, an id outside the vocabulary, too long.
  Tensor logits(std::span<const std::int32_t> input_ids);
  /// `on_token` sees each new id; returning false stops. Throws as logits does.
  GenerationResult generate(std::span<const std::int32_t> input_ids, const SamplingParams& params,
                            const std::function<bool(std::int32_t)>& on_token = nullptr);
  /// Continues every prompt, max_batch at a time: a prompt joins as soon as another is done. One result for each, in their
  /// order; the seconds of a result are those that passed while its sequence ran beside others.
  /// Prompt i is sampled as generate does with the seed params.seed + i (modulo 2^64); everything else of `params` holds
  /// for each prompt by itself. What a prompt yields does not depend on the others, but for the numerics of products with
  /// another number of rows.
  /// `on_token(i, id)` sees each new id of prompt i; returning false stops that sequence. Once `cancelled` is set, all end
  /// with "cancelled" and what they have. Throws as generate does, naming the prompt, before anything runs.
  std::vector<GenerationResult> generate_batch(std::span<const std::vector<std::int32_t>> prompts, const SamplingParams& params,
                                               const std::function<bool(std::int64_t, std::int32_t)>& on_token = nullptr,
                                               const std::atomic<bool>* cancelled = nullptr);
  /// From now on generate and generate_batch note where their time goes; two readings of the clock for each part of a step.
  void start_profile();
  /// What was noted since start_profile; none of it without one.
  RunProfile stop_profile();
  /// Mean negative log-likelihood over consecutive non-overlapping windows; the incomplete last one is dropped.
  PerplexityResult perplexity(std::span<const std::int32_t> ids, std::int64_t window = 512,
                              const std::function<bool(std::int64_t done, std::int64_t total)>& progress = nullptr);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Threads of all parallel work; n >= 1.
TORCHAO_CPP_EXPORT void set_threads(int n);
TORCHAO_CPP_EXPORT int threads() noexcept;
TORCHAO_CPP_EXPORT std::string_view version() noexcept;

}  // namespace torchao_cpp
