// SPDX-License-Identifier: Apache-2.0
#include "models/decoder_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "kernels/cuda/shared_plain.h"
#include "models/device_tensor.h"
#include "models/layer_selection.h"
#include "models/quoted_list.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// Longest cache that is made without being asked for.
constexpr std::int64_t kDefaultModelLen = 4096;
// Tokens at a time: enough rows for the matrix products to be bound by arithmetic, few
// enough that the activations of a 4096-wide model stay under 100 MB.
constexpr std::int64_t kChunkTokens = 512;
// On a GPU, whose products want more rows.
constexpr std::int64_t kGpuChunkTokens = 2048;
// Logits are the widest rows: as many at a time as fit this.
constexpr std::int64_t kHeadBytes = std::int64_t{64} << 20;

std::int64_t resolve_max_model_len(const DecoderConfig& config, std::int64_t requested) {
  const std::int64_t positions = config.max_length;
  if (requested < 0 || (positions > 0 && requested > positions)) {
    throw ConfigError(fmt::format("max_model_len is {}; expected 1 to {}, the {} of {}", requested,
                                  positions, config.max_length_key, config.where),
                      "validation");
  }
  if (requested > 0) return requested;
  return positions > 0 ? std::min(positions, kDefaultModelLen) : kDefaultModelLen;
}

bool is_stored_quantized(const WeightLoader& loader, const std::string& prefix) {
  const std::string name = loader.class_name(prefix + ".weight");
  return !name.empty() && name != "Tensor";
}

std::unique_ptr<LinearBase> load_row_parallel(const DecoderLinear& linear, const LinearBuild& build,
                                              WeightLoader& loader) {
  auto out = make_row_parallel(linear, build, is_stored_quantized(loader, linear.prefix));
  load_linear(*out, build, loader);
  return out;
}

LoadedWeight load_embedding(const DecoderConfig& config, const LinearBuild& build,
                            WeightLoader& loader) {
  const std::string_view name = config.architecture->names->embed_tokens;
  LoadedWeight weight =
      loader.take(fmt::format("{}.weight", name), {config.vocab_size, config.embedding_dim});
  if (weight.quantized || build.quantization == nullptr || build.is_serialized) return weight;
  const LayerDecision decision = decide_embedding(*build.quantization, name);
  return decision.config ? quantize_param_data(weight.plain, *decision.config).weight : weight;
}

// Runs fn and adds its seconds to `total`, where there is one.
template <typename F>
void timed(double* total, const F& fn) noexcept {
  if (total == nullptr) return fn();
  const auto start = std::chrono::steady_clock::now();
  fn();
  *total += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

template <typename F>
void DecoderModel::run_linear(const F& fn) noexcept {
  timed(profile_ == nullptr ? nullptr : &profile_->linear_seconds, fn);
}

template <typename F>
void DecoderModel::run_attention(const F& fn) noexcept {
  timed(profile_ == nullptr ? nullptr : &profile_->attention_seconds, fn);
}

DecoderModel::DecoderModel(const ModelFolder& folder, const ModelOptions& options,
                           std::vector<std::string>& notices)
    : config_(DecoderConfig::from_hf_config(folder.config)) {
  if (options.max_batch < 1) {
    throw ConfigError(fmt::format("max_batch is {}; expected at least 1", options.max_batch),
                      "validation");
  }
  max_batch_ = options.max_batch;
  max_model_len_ = resolve_max_model_len(config_, options.max_model_len);
  device_ = options.device;
  const std::int64_t chunk = device_.type == DeviceType::kCUDA ? kGpuChunkTokens : kChunkTokens;
  max_chunk_ = std::max(std::min(chunk, max_model_len_ * max_batch_), max_batch_);
  const ModelQuantization quantization = resolve_quantization(
      folder, options.quantization ? &*options.quantization : nullptr, options.selection_mode);
  notices.insert(notices.end(), quantization.notices.begin(), quantization.notices.end());

  if (config_.max_length != config_.max_position_embeddings) {
    notices.push_back(
        fmt::format("{}: {} is {}: no sequence may be longer, since attention over a "
                    "window of a longer one is not supported",
                    config_.where, config_.max_length_key, config_.max_length));
  }
  const LinearBuild build = LinearBuild::make(folder, options, quantization);
  dtype_ = build.dtype;
  WeightLoader loader(folder.checkpoint, dtype_, options.dequantize_weights, options.progress);
  load(build, loader);

  std::vector<std::string> unexpected = loader.unexpected();
  if (config_.tie_word_embeddings) std::erase(unexpected, std::string(kHeadPrefix) + ".weight");
  if (!unexpected.empty()) {
    notices.push_back(fmt::format("{}: {} tensors are no parameters of {} and were left out: {}",
                                  folder.directory.string(), unexpected.size(),
                                  config_.architecture->name, quoted_list(unexpected)));
  }
  count_weights();
  allocate_workspace();
}

void DecoderModel::load(const LinearBuild& build, WeightLoader& loader) {
  const DecoderNames& names = *config_.architecture->names;
  loader.read_ahead(names.embed_tokens);
  loader.read_ahead(layer_prefix(config_, 0) + ".");
  const LoadedWeight embedding = load_embedding(config_, build, loader);
  const cuda::SharedPlain shared(config_.tie_word_embeddings ? embedding.plain : Tensor{});
  embed_tokens_.emplace(embedding, dtype_, device_);
  if (config_.architecture->positions == PositionKind::kLearned) {
    const std::int64_t rows = config_.max_position_embeddings + config_.kPositionOffset;
    embed_positions_ =
        moved_to(device_, loader.take_plain(fmt::format("{}.weight", names.embed_positions),
                                            {rows, config_.hidden_size}));
  }
  const std::vector<DecoderLinear> outer = projections(config_);
  if (!outer.empty()) {
    project_in_ = load_row_parallel(outer.front(), build, loader);
    reports_.push_back(project_in_->report());
  }
  loader.populate_used();
  for (std::int64_t i = 0; i < config_.num_layers; ++i) {
    // One layer ahead: the disk reads while the weights before are quantized or packed.
    loader.read_ahead(i + 1 < config_.num_layers ? layer_prefix(config_, i + 1) + "."
                                                 : kHeadPrefix);
    layers_.push_back(load_layer(i, build, loader));
    loader.populate_used();
    const Layer& layer = layers_.back();
    layer.qkv_proj->add_reports(reports_);
    reports_.push_back(layer.o_proj->report());
    layer.mlp_in->add_reports(reports_);
    reports_.push_back(layer.mlp_out->report());
  }
  if (!config_.is_post_norm) norm_ = load_norm(std::string(names.norm), loader);
  if (!outer.empty()) {
    project_out_ = load_row_parallel(outer.back(), build, loader);
    reports_.push_back(project_out_->report());
  }
  load_head(build, loader, embedding);
  loader.populate_used();
}

NormWeights DecoderModel::load_norm(const std::string& prefix, WeightLoader& loader) const {
  NormWeights norm;
  if (!config_.has_norm_weights) return norm;
  const Shape shape{config_.hidden_size};
  norm.weight = moved_to(device_, loader.take_plain(prefix + ".weight", shape));
  if (config_.architecture->norm == NormKind::kLayer)
    norm.bias = moved_to(device_, loader.take_plain(prefix + ".bias", shape));
  return norm;
}

DecoderModel::Layer DecoderModel::load_layer(std::int64_t index, const LinearBuild& build,
                                             WeightLoader& loader) const {
  const DecoderNames& names = *config_.architecture->names;
  const std::string prefix = layer_prefix(config_, index);
  const std::vector<DecoderLinear> linears = decoder_linears(config_, index);
  const auto take_norm = [&](const char* name, std::int64_t size) {
    return moved_to(device_, loader.take_plain(prefix + name, {size}));
  };
  Layer layer;
  layer.attention_norm = load_norm(fmt::format("{}.{}", prefix, names.attention_norm), loader);
  layer.heads = {config_.num_heads,
                 config_.num_kv_heads,
                 config_.head_dim,
                 {},
                 {},
                 config_.norm_eps,
                 config_.rotates[static_cast<std::size_t>(index)]};
  layer.qkv_proj = std::make_unique<PackedLinear>(qkv_proj_of(config_, index), build, loader);
  if (config_.architecture->has_qk_norm) {
    layer.heads.q_norm = take_norm(".self_attn.q_norm.weight", config_.head_dim);
    layer.heads.k_norm = take_norm(".self_attn.k_norm.weight", config_.head_dim);
  }
  layer.o_proj = load_row_parallel(linears[kO], build, loader);
  layer.mlp_norm = load_norm(fmt::format("{}.{}", prefix, names.mlp_norm), loader);
  layer.mlp_in = std::make_unique<PackedLinear>(mlp_in_of(config_, index), build, loader);
  layer.mlp_out = load_row_parallel(linears.back(), build, loader);
  return layer;
}

void DecoderModel::load_head(const LinearBuild& build, WeightLoader& loader,
                             const LoadedWeight& embedding) {
  const bool is_tied = config_.tie_word_embeddings;
  const bool stored_quantized =
      is_tied ? embedding.quantized != nullptr : is_stored_quantized(loader, kHeadPrefix);
  LinearBuild own = build;
  LayerDecision decision{nullptr, LayerDecision::Source::kNoQuantization, "",
                         "the model has no quantization config"};
  if (build.quantization != nullptr) decision = decide_head(*build.quantization, is_tied);
  if (decision.config == nullptr) own.quantization = nullptr;

  lm_head_ = std::make_unique<ReplicatedLinear>(config_.embedding_dim, config_.vocab_size,
                                                own.options(kHeadPrefix, false, stored_quantized));
  if (is_tied) {
    lm_head_->load_weight(embedding);
    lm_head_->process_weights_after_loading();
  } else {
    load_linear(*lm_head_, own, loader);
  }
  reports_.push_back(lm_head_->report());
  if (stored_quantized) decision.reason = "the checkpoint holds it quantized";
  if (own.quantization == nullptr) reports_.back().reason = decision.reason;
}

void DecoderModel::count_weights() {
  for (const LinearReport& report : reports_) linear_weight_bytes_ += report.weight_bytes;
  weight_bytes_ = linear_weight_bytes_ + norm_.nbytes();
  // A plain tied head and the embedding are one tensor. Of a quantized one the head's kernel may
  // hold a packing of its own.
  const bool is_shared = config_.tie_word_embeddings && reports_.back().weight_class == "Tensor";
  if (!is_shared) weight_bytes_ += embed_tokens_->nbytes();
  if (embed_positions_.defined()) weight_bytes_ += embed_positions_.nbytes();
  for (const Layer& layer : layers_) {
    weight_bytes_ += layer.attention_norm.nbytes() + layer.mlp_norm.nbytes() +
                     layer.heads.q_norm.nbytes() + layer.heads.k_norm.nbytes();
  }
}

// After the weights: their shapes have borne out the sizes that config.json claims.
void DecoderModel::allocate_workspace() {
  steps_ = make_decoder_steps({config_, dtype_, device_, max_chunk_, max_model_len_, max_batch_});
  const std::int64_t q_size = config_.num_heads * config_.head_dim;
  const std::int64_t qkv_size = q_size + 2 * config_.num_kv_heads * config_.head_dim;
  const auto make = [&](std::int64_t rows, std::int64_t columns) {
    return empty_on(device_, dtype_, {rows, columns});
  };
  hidden_ = make(max_chunk_, config_.hidden_size);
  normed_ = make(max_chunk_, config_.hidden_size);
  const bool is_gated = config_.architecture->mlp == MlpKind::kSiluGated;
  wide_ = make(max_chunk_, is_gated ? std::max(qkv_size, 2 * config_.intermediate_size) : qkv_size);
  inner_ = make(max_chunk_, std::max(q_size, config_.intermediate_size));
  if (config_.is_projected()) projected_ = make(max_chunk_, config_.embedding_dim);
  const std::int64_t head_row_bytes = config_.vocab_size * dtype_size_bytes(dtype_);
  head_rows_ = std::clamp<std::int64_t>(kHeadBytes / head_row_bytes, 1, max_chunk_);
  head_out_ = make(head_rows_, config_.vocab_size);

  std::int64_t bytes = lm_head_->workspace_bytes(head_rows_);
  for (const Layer& layer : layers_) {
    bytes = std::max({bytes, layer.qkv_proj->workspace_bytes(max_chunk_),
                      layer.o_proj->workspace_bytes(max_chunk_),
                      layer.mlp_in->workspace_bytes(max_chunk_),
                      layer.mlp_out->workspace_bytes(max_chunk_)});
  }
  for (const LinearBase* linear : {project_in_.get(), project_out_.get()}) {
    if (linear != nullptr) bytes = std::max(bytes, linear->workspace_bytes(max_chunk_));
  }
  linear_workspace_ = empty_on(device_, DType::kUInt8, {std::max<std::int64_t>(bytes, 1)});
}

KvCache DecoderModel::make_cache(std::int64_t length) const {
  return {dtype_, config_.num_layers, config_.num_kv_heads, config_.head_dim, length, device_};
}

void DecoderModel::forward(std::span<const SequenceTokens> sequences) noexcept {
  rows_ = 0;
  for (const SequenceTokens& tokens : sequences)
    rows_ += static_cast<std::int64_t>(tokens.ids.size());
  steps_->start(sequences);
  steps_->run([this] { run_steps(); });
}

void DecoderModel::run_steps() noexcept {
  embed();
  for (std::int64_t i = 0; i < config_.num_layers; ++i) run_layer(i);
  finish();
}

LinearContext DecoderModel::context() noexcept {
  return {linear_workspace_.mutable_bytes(), steps_->stream()};
}

void DecoderModel::embed() noexcept {
  std::byte* const hidden = hidden_.mutable_bytes();
  if (project_in_ != nullptr) {
    std::byte* const narrow = projected_.mutable_bytes();
    steps_->embed(*embed_tokens_, narrow);
    run_linear([&] { project_in_->apply(narrow, rows_, hidden, context()); });
  } else {
    steps_->embed(*embed_tokens_, hidden);
  }
  if (embed_positions_.defined()) steps_->add_positions(embed_positions_, hidden);
}

// Norms stand before attention and MLP, whose results are added to the stream by the step that
// makes the next norm; or behind both, where the stream itself is normed and is their input.
void DecoderModel::run_layer(std::int64_t index) noexcept {
  const Layer& layer = layers_[static_cast<std::size_t>(index)];
  const bool is_post = config_.is_post_norm;
  std::byte* const hidden = hidden_.mutable_bytes();
  std::byte* const normed = normed_.mutable_bytes();
  std::byte* const wide = wide_.mutable_bytes();
  std::byte* const inner = inner_.mutable_bytes();
  std::byte* const x = is_post ? hidden : normed;

  if (!is_post)
    steps_->add_and_norm(layer.attention_norm, hidden, index == 0 ? nullptr : normed, x);
  run_linear([&] { layer.qkv_proj->apply(x, rows_, wide, context()); });
  const QkvRows qkv{layer.qkv_proj->part(0, wide, rows_), layer.qkv_proj->part(1, wide, rows_),
                    layer.qkv_proj->part(2, wide, rows_)};
  steps_->transform_qkv(layer.heads, qkv, index);
  run_attention([&] { steps_->attend(index, inner); });
  run_linear([&] { layer.o_proj->apply(inner, rows_, normed, context()); });

  steps_->add_and_norm(is_post ? layer.attention_norm : layer.mlp_norm, hidden, normed, x);
  run_mlp(layer, x, normed);
  if (is_post) steps_->add_and_norm(layer.mlp_norm, hidden, normed, x);
}

void DecoderModel::run_mlp(const Layer& layer, const void* x, void* out) noexcept {
  std::byte* const wide = wide_.mutable_bytes();
  std::byte* const inner = inner_.mutable_bytes();
  if (config_.architecture->mlp == MlpKind::kSiluGated) {
    run_linear([&] { layer.mlp_in->apply(x, rows_, wide, context()); });
    steps_->silu_mul(layer.mlp_in->part(0, wide, rows_), layer.mlp_in->part(1, wide, rows_), inner);
  } else {
    run_linear([&] { layer.mlp_in->apply(x, rows_, inner, context()); });
    steps_->relu(inner);
  }
  run_linear([&] { layer.mlp_out->apply(inner, rows_, out, context()); });
}

void DecoderModel::finish() noexcept {
  std::byte* const hidden = hidden_.mutable_bytes();
  std::byte* const normed = normed_.mutable_bytes();
  if (!config_.is_post_norm) steps_->add_and_norm(norm_, hidden, normed, normed);
  if (project_out_ == nullptr) return;
  run_linear([&] {
    project_out_->apply(config_.is_post_norm ? hidden : normed, rows_, projected_.mutable_bytes(),
                        context());
  });
}

std::byte* DecoderModel::output() noexcept {
  if (project_out_ != nullptr) return projected_.mutable_bytes();
  return (config_.is_post_norm ? hidden_ : normed_).mutable_bytes();
}

// Calls fn(first row, rows) for as many rows of logits as head_out_ holds, until all were there.
template <typename F>
void DecoderModel::for_head_rows(const void* rows, std::int64_t count, const F& fn) {
  const std::int64_t row_bytes = config_.embedding_dim * dtype_size_bytes(dtype_);
  for (std::int64_t done = 0; done < count; done += head_rows_) {
    const std::int64_t now = std::min(head_rows_, count - done);
    run_linear([&] {
      lm_head_->apply(static_cast<const std::byte*>(rows) + done * row_bytes, now,
                      head_out_.mutable_bytes(), context());
    });
    fn(done, now);
  }
}

void DecoderModel::logits(std::int64_t first, std::int64_t count, float* out) {
  const std::int64_t row_bytes = config_.embedding_dim * dtype_size_bytes(dtype_);
  for_head_rows(output() + first * row_bytes, count, [&](std::int64_t done, std::int64_t now) {
    steps_->read_floats(head_out_.bytes(), now * config_.vocab_size,
                        out + done * config_.vocab_size);
  });
}

void DecoderModel::last_logits(std::int64_t count, float* out) {
  const void* rows = steps_->last_rows(output(), count);
  for_head_rows(rows, count, [&](std::int64_t done, std::int64_t now) {
    steps_->read_floats(head_out_.bytes(), now * config_.vocab_size,
                        out + done * config_.vocab_size);
  });
}

void DecoderModel::last_best(std::int64_t count, BestLogit* out) {
  const void* rows = steps_->last_rows(output(), count);
  for_head_rows(rows, count, [&](std::int64_t done, std::int64_t now) {
    steps_->read_best(head_out_.bytes(), now, out + done);
  });
}

}  // namespace torchao_cpp
