// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <numeric>
#include <tuple>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/decoder_steps.h"
#include "models/decoder_steps.h"
#include "models/rotary_embedding.h"

namespace torchao_cpp {
namespace {

using namespace cuda;

/// Pinned memory that logits go through on their way to the host.
constexpr std::int64_t kReadBytes = 4 << 20;
/// Blocks a processor that decoding aims at: as many as their shared memory lets it hold.
constexpr int kDecodeBlocksPerProcessor = 3;
constexpr std::int64_t kBestBytes = kBestParts * sizeof(BestValue);
/// Kept at most; a model meets a few (its batch sizes times lengths in powers of two).
constexpr std::size_t kMostGraphs = 64;

/// The tokens of a forward as kernels read them: tables at fixed places, so that a graph finds
/// those of another forward there.
class TokenTables {
 public:
  TokenTables(const DecoderStepsSpec& spec, std::int64_t heads)
      : max_batch_(spec.max_batch),
        tiles_at_(max_batch_ * size_of<CacheView>() + spec.max_rows * size_of<TokenRow>()),
        picked_at_(tiles_at_ + spec.max_rows * size_of<AttentionTile>()),
        counters_at_(picked_at_ + max_batch_ * size_of<std::int32_t>()),
        device_(counters_at_ + spec.max_rows * heads * size_of<std::uint32_t>(), spec.device.index),
        staging_{PinnedBuffer(counters_at_, spec.device.index),
                 PinnedBuffer(counters_at_, spec.device.index)} {}

  // Waits until the copies out of the half that is written next are done.
  void open() noexcept {
    half_ = 1 - half_;
    host().wait();
    rows = tiles = sequences = 0;
  }
  void add(const CacheView& cache) noexcept { at<CacheView>(0)[sequences++] = cache; }
  void add(const TokenRow& row) noexcept { at<TokenRow>(rows_at())[rows++] = row; }
  void add(const AttentionTile& tile) noexcept { at<AttentionTile>(tiles_at_)[tiles++] = tile; }
  // Of the sequence that was added last.
  void pick(std::int64_t row) noexcept {
    at<std::int32_t>(picked_at_)[sequences - 1] = static_cast<std::int32_t>(row);
  }
  void send(CudaStream& stream) noexcept {
    copy(stream, 0, rows_at() + rows * size_of<TokenRow>());
    copy(stream, tiles_at_, tiles * size_of<AttentionTile>());
    copy(stream, picked_at_, sequences * size_of<std::int32_t>());
    host().mark(stream);
  }

  const CacheView* caches() const noexcept { return device<CacheView>(0); }
  const TokenRow* token_rows() const noexcept { return device<TokenRow>(rows_at()); }
  const AttentionTile* attention_tiles() const noexcept { return device<AttentionTile>(tiles_at_); }
  const std::int32_t* picked() const noexcept { return device<std::int32_t>(picked_at_); }
  std::uint32_t* counters() const noexcept { return device<std::uint32_t>(counters_at_); }
  std::int64_t counter_bytes() const noexcept { return device_.nbytes() - counters_at_; }

  std::int64_t rows = 0;
  std::int64_t tiles = 0;
  std::int64_t sequences = 0;

 private:
  template <typename T>
  static constexpr std::int64_t size_of() noexcept {
    return static_cast<std::int64_t>(sizeof(T));
  }
  PinnedBuffer& host() noexcept { return staging_[static_cast<std::size_t>(half_)]; }
  template <typename T>
  T* at(std::int64_t offset) noexcept {
    return reinterpret_cast<T*>(host().data() + offset);
  }
  template <typename T>
  T* device(std::int64_t offset) const noexcept {
    return reinterpret_cast<T*>(device_.data() + offset);
  }
  void copy(CudaStream& stream, std::int64_t offset, std::int64_t bytes) noexcept {
    stream.copy_to_device(device_.data() + offset, host().data() + offset, bytes);
  }
  std::int64_t rows_at() const noexcept { return max_batch_ * size_of<CacheView>(); }

  std::int64_t max_batch_;
  std::int64_t tiles_at_;
  std::int64_t picked_at_;
  std::int64_t counters_at_;
  DeviceBuffer device_;
  std::array<PinnedBuffer, 2> staging_;
  int half_ = 0;
};

class CudaDecoderSteps final : public DecoderSteps {
 public:
  explicit CudaDecoderSteps(const DecoderStepsSpec& spec)
      : config_(spec.config),
        dtype_(spec.dtype),
        device_(spec.device.index),
        capability_(cuda_capability(device_)),
        most_blocks_(kDecodeBlocksPerProcessor * cuda_processor_count(device_)),
        stream_(device_),
        tables_(spec, config_.num_kv_heads),
        read_(kReadBytes, device_),
        last_(spec.max_batch * config_.embedding_dim * dtype_size_bytes(dtype_), device_),
        best_(spec.max_batch * kBestBytes, device_),
        best_on_host_(spec.max_batch * kBestBytes, device_),
        queries_(spec.max_rows * config_.num_heads * config_.head_dim * dtype_size_bytes(dtype_),
                 device_),
        partial_(attention_partial_floats(most_blocks_, config_.head_dim) *
                     static_cast<std::int64_t>(sizeof(float)),
                 device_) {
    if (config_.architecture->positions == PositionKind::kRotary) {
      const RotaryEmbedding rope(config_.rope, config_.head_dim, spec.max_length, dtype_,
                                 config_.where);
      const std::int64_t bytes =
          spec.max_length * (config_.head_dim / 2) * static_cast<std::int64_t>(sizeof(float));
      cos_ = DeviceBuffer(rope.cos(0), bytes, device_);
      sin_ = DeviceBuffer(rope.sin(0), bytes, device_);
    }
    stream_.clear(tables_.counters(), tables_.counter_bytes());
    stream_.check("preparing a decoder");
  }

  bool is_asynchronous() const noexcept override { return true; }
  Stream stream() const noexcept override { return stream_.stream(); }

  void start(std::span<const SequenceTokens> sequences) noexcept override {
    const CudaDeviceGuard guard(device_);
    tables_.open();
    is_decode_ = std::all_of(sequences.begin(), sequences.end(),
                             [](const SequenceTokens& s) { return s.ids.size() == 1; });
    const auto group = static_cast<std::int32_t>(config_.num_heads / config_.num_kv_heads);
    kernel_ = choose_attention(dtype_, group, static_cast<std::int32_t>(config_.head_dim),
                               is_decode_, capability_);
    const std::int64_t tile_tokens =
        kernel_ == AttentionKernel::kPrefill ? kPrefillRows / group : 1;
    std::int64_t longest = 0;
    for (const SequenceTokens& tokens : sequences) {
      add(tokens, tile_tokens);
      longest = std::max(longest, tokens.position + static_cast<std::int64_t>(tokens.ids.size()));
    }
    splits_ = choose_splits(longest);
    tables_.send(stream_);
  }

  void run(const std::function<void()>& steps) noexcept override {
    const CudaDeviceGuard guard(device_);
    // What a forward of one token a sequence queues depends on these alone.
    const GraphKey key{tables_.rows, splits_};
    Replay* replay = is_decode_ ? find(key) : nullptr;
    if (replay == nullptr || !replay->is_warm) {
      steps();
      if (replay != nullptr) replay->is_warm = true;
    } else {
      if (!replay->graph.exists() && !replay->graph.capture(stream_, steps)) {
        stream_.note_errors();
        can_replay_ = false;
      }
      if (!replay->graph.exists() || !replay->graph.launch(stream_)) steps();
    }
    stream_.note_errors();
  }

  void embed(const Embedding& table, void* hidden) noexcept override {
    constexpr std::int64_t kIdStride = sizeof(TokenRow) / sizeof(std::int32_t);
    table.apply_on_device(&tables_.token_rows()->id, tables_.rows, kIdStride, hidden,
                          stream_.stream());
  }

  void add_positions(const Tensor& table, void* hidden) noexcept override {
    launch_add_positions(dtype_, table.bytes(), tables_.token_rows(), config_.kPositionOffset,
                         tables_.rows, config_.hidden_size, hidden, stream_.handle());
  }

  void add_and_norm(const NormWeights& norm, void* hidden, const void* delta,
                    void* out) noexcept override {
    NormArgs args;
    args.weight = norm.weight.defined() ? norm.weight.bytes() : nullptr;
    args.bias = norm.bias.defined() ? norm.bias.bytes() : nullptr;
    args.eps = config_.norm_eps;
    args.rows = tables_.rows;
    args.columns = config_.hidden_size;
    args.hidden = hidden;
    args.delta = delta;
    args.out = out;
    if (config_.architecture->norm == NormKind::kRms) {
      launch_add_and_norm(dtype_, args, stream_.handle());
    } else {
      launch_add_and_layer_norm(dtype_, args, stream_.handle());
    }
  }

  void transform_qkv(const HeadTransform& transform, const QkvRows& qkv,
                     std::int64_t layer) noexcept override {
    QkvArgs args;
    args.q = view(qkv.q);
    args.k = view(qkv.k);
    args.v = view(qkv.v);
    args.rows = tables_.rows;
    args.num_heads = static_cast<std::int32_t>(transform.num_heads);
    args.num_kv_heads = static_cast<std::int32_t>(transform.num_kv_heads);
    args.head_dim = static_cast<std::int32_t>(transform.head_dim);
    args.q_norm = transform.q_norm.bytes();
    args.k_norm = transform.k_norm.bytes();
    args.eps = transform.eps;
    args.cos = transform.rotates ? cos_.as<float>() : nullptr;
    args.sin = transform.rotates ? sin_.as<float>() : nullptr;
    args.tokens = tables_.token_rows();
    args.caches = tables_.caches();
    args.layer = layer;
    args.q_out = queries_.data();
    launch_transform_qkv(dtype_, args, stream_.handle());
  }

  void attend(std::int64_t layer, void* out) noexcept override {
    AttentionArgs args;
    args.q = queries_.data();
    args.out = out;
    args.caches = tables_.caches();
    args.layer = layer;
    args.tiles = tables_.attention_tiles();
    args.tile_count = static_cast<std::int32_t>(tables_.tiles);
    args.num_heads = static_cast<std::int32_t>(config_.num_heads);
    args.num_kv_heads = static_cast<std::int32_t>(config_.num_kv_heads);
    args.head_dim = static_cast<std::int32_t>(config_.head_dim);
    args.splits = splits_;
    args.partial = partial_.as<float>();
    args.counters = tables_.counters();
    launch_attention(dtype_, kernel_, args, stream_.handle());
  }

  void silu_mul(RowView gate, RowView up, void* out) noexcept override {
    launch_silu_mul(dtype_, view(gate), view(up), tables_.rows, config_.intermediate_size, out,
                    stream_.handle());
  }

  void relu(void* x) noexcept override {
    launch_relu(dtype_, x, tables_.rows * config_.intermediate_size, stream_.handle());
  }

  const void* last_rows(void* rows, std::int64_t count) noexcept override {
    if (is_decode_) return rows;
    const CudaDeviceGuard guard(device_);
    launch_gather_rows(rows, tables_.picked(), count,
                       config_.embedding_dim * dtype_size_bytes(dtype_), last_.data(),
                       stream_.handle());
    return last_.data();
  }

  void read_floats(const void* values, std::int64_t count, float* out) override {
    const CudaDeviceGuard guard(device_);
    const std::int64_t element = dtype_size_bytes(dtype_);
    const std::int64_t most = kReadBytes / element;
    for (std::int64_t done = 0; done < count; done += most) {
      const std::int64_t now = std::min(most, count - done);
      stream_.copy_to_host(read_.data(), static_cast<const std::byte*>(values) + done * element,
                           now * element);
      stream_.check("running a decoder");
      widen(dtype_, read_.data(), now, out + done);
    }
  }

  void read_best(const void* logits, std::int64_t rows, BestLogit* out) override {
    const CudaDeviceGuard guard(device_);
    launch_best_of_rows(dtype_, logits, rows, config_.vocab_size, best_.as<BestValue>(),
                        stream_.handle());
    stream_.copy_to_host(best_on_host_.data(), best_.data(), rows * kBestBytes);
    stream_.check("running a decoder");
    const auto* parts = reinterpret_cast<const BestValue*>(best_on_host_.data());
    for (std::int64_t r = 0; r < rows; ++r, parts += kBestParts) {
      const BestValue best = std::accumulate(parts + 1, parts + kBestParts, *parts, better);
      out[r] = {best.value, best.index};
    }
  }

 private:
  using GraphKey = std::tuple<std::int64_t, std::int32_t>;  ///< Rows, splits.
  struct Replay {
    bool is_warm = false;  ///< Ran once: every kernel is loaded, every choice made.
    CudaGraph graph;
  };

  static RowsView view(RowView rows) noexcept { return {rows.data, rows.row_stride}; }

  void add(const SequenceTokens& tokens, std::int64_t tile_tokens) noexcept {
    KvCache& cache = *tokens.cache;
    const auto sequence = static_cast<std::int32_t>(tables_.sequences);
    tables_.add(CacheView{cache.keys(0, 0), cache.values(0, 0), cache.head_stride(),
                          config_.num_kv_heads * cache.head_stride()});
    const auto count = static_cast<std::int64_t>(tokens.ids.size());
    const auto first_row = static_cast<std::int32_t>(tables_.rows);
    const auto position = static_cast<std::int32_t>(tokens.position);
    for (std::int32_t i = 0; i < count; ++i)
      tables_.add(TokenRow{tokens.ids[static_cast<std::size_t>(i)], sequence, position + i, 0});
    for (std::int64_t i = 0; i < count; i += tile_tokens) {
      const auto begin = static_cast<std::int32_t>(i);
      tables_.add(AttentionTile{first_row + begin, sequence, position + begin,
                                static_cast<std::int32_t>(std::min(tile_tokens, count - i))});
    }
    tables_.pick(tables_.rows - 1);
  }

  // As many blocks as the GPU holds at once, each with one or two tiles of keys at least; of few
  // different numbers.
  std::int32_t choose_splits(std::int64_t longest) const noexcept {
    if (kernel_ != AttentionKernel::kDecode) return 1;
    const std::int64_t key_blocks = (longest + kAttentionKeys - 1) / kAttentionKeys;
    const std::int64_t room =
        std::max<std::int64_t>(most_blocks_ / (tables_.tiles * config_.num_kv_heads), 1);
    const auto most =
        static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(key_blocks)));
    return static_cast<std::int32_t>(
        std::min({std::max<std::int64_t>(most / 2, 1), room, std::int64_t{kMostSplits}}));
  }

  Replay* find(const GraphKey& key) noexcept {
    if (!can_replay_) return nullptr;
    try {
      if (graphs_.size() >= kMostGraphs && !graphs_.contains(key)) graphs_.clear();
      return &graphs_[key];
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }

  const DecoderConfig& config_;
  DType dtype_;
  int device_;
  int capability_;
  std::int64_t most_blocks_;
  CudaStream stream_;
  TokenTables tables_;
  PinnedBuffer read_;
  DeviceBuffer last_;  ///< [max_batch, hidden_size]
  DeviceBuffer best_;  ///< [max_batch, kBestParts]
  PinnedBuffer best_on_host_;
  DeviceBuffer queries_;  ///< [max_rows, num_heads, head_dim]
  DeviceBuffer partial_;
  DeviceBuffer cos_;
  DeviceBuffer sin_;
  std::map<GraphKey, Replay> graphs_;
  bool can_replay_ = true;

  // Of the tokens at hand.
  bool is_decode_ = false;
  AttentionKernel kernel_ = AttentionKernel::kAnySize;
  std::int32_t splits_ = 1;
};

}  // namespace

std::unique_ptr<DecoderSteps> make_cuda_decoder_steps(const DecoderStepsSpec& spec) {
  return std::make_unique<CudaDecoderSteps>(spec);
}

}  // namespace torchao_cpp
