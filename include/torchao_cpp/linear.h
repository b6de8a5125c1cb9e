// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/device.h"
#include "torchao_cpp/export.h"
#include "torchao_cpp/tensor.h"
#include "torchao_cpp/torchao_config.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

class LinearMethod;
class LinearBase;

/// A weight as it comes from a checkpoint: plain [N, K] or already quantized (exactly one is set).
struct LoadedWeight {
  Tensor plain;
  WeightTensorPtr quantized;

  Shape shape() const { return quantized ? quantized->shape() : plain.shape(); }
};

/// A checkpoint's parts -> a quantized LoadedWeight. Throws CheckpointError as WeightTensorType::from_parts does; `fqn` names the weight.
TORCHAO_CPP_EXPORT LoadedWeight loaded_weight_from_parts(const TensorParts& parts, std::string_view fqn);

/// Whether torchao 0.18, which matches names exactly, loads the class from safetensors. False for an unknown name.
TORCHAO_CPP_EXPORT bool is_safetensors_serializable(std::string_view class_name) noexcept;

/// Which part of a fused layer a checkpoint tensor belongs to: 0, 1, .. in the order of output_sizes (q, k, v; gate, up).
using ShardId = int;

struct LinearOptions {
  bool bias = false;
  DType params_dtype = DType::kBFloat16;
  /// Null: every layer unquantized. Must outlive the layer's construction only.
  const TorchAOConfig* quant_config = nullptr;
  std::string prefix;  ///< fqn, e.g. "model.layers.0.self_attn.qkv_proj"
  int tp_size = 1;
  int tp_rank = 0;
  Device device;
  /// An ISA ("ref") to force, or a kernel's name ("int8_weight_only_linear/ref"), which holds for weights of that
  /// operation; empty = the first kernel that supports the weight.
  std::string force_kernel;
  /// Keep the weights in the form they came in, for weights(); costs memory where a kernel packs its own form.
  bool keep_weights = false;
};

/// Scratch memory and stream of a caller of apply. One per thread of calls.
struct LinearContext {
  std::byte* workspace = nullptr;  ///< At least LinearBase::workspace_bytes(m), 64-byte aligned.
  Stream stream;
};

/// Memory for arguments of apply: of the CPU (64-byte aligned) or a GPU, indeterminate, freed with the last copy of the
/// pointer. Throws DeviceError, with the bytes asked for and those free, UnsupportedError in a build without CUDA.
TORCHAO_CPP_EXPORT std::shared_ptr<std::byte> allocate_on_device(Device device, std::int64_t bytes);

/// One row of `torchao explain`.
struct LinearReport {
  std::string prefix;
  std::string method;        ///< "UnquantizedLinearMethod" or "TorchAOLinearMethod"
  std::string config;        ///< torchao class name or empty
  std::string rule;
  std::string reason;        ///< Why this config; where torchao left the weight unquantized, why.
  std::string weight_class;  ///< "Int8Tensor", "Tensor"
  std::string weight_detail;
  std::string kernel;
  std::vector<std::string> rejected_kernels;  ///< "name: reason"
  std::int64_t weight_bytes = 0;
  Shape shape;  ///< Of this rank: [sum(output_partition_sizes), input_size_per_partition]
};

/// Base of the linear layers of a model. The life of a layer: construct, load_weight/load_bias for every shard,
/// process_weights_after_loading (once), then apply any number of times from any thread.
/// Mirrors vllm/model_executor/layers/linear.py.
class TORCHAO_CPP_EXPORT LinearBase {
 public:
  virtual ~LinearBase();
  LinearBase(const LinearBase&) = delete;
  LinearBase& operator=(const LinearBase&) = delete;

  const std::string& prefix() const noexcept;
  std::int64_t input_size() const noexcept;                ///< K of the whole layer
  std::int64_t output_size() const noexcept;               ///< N of the whole layer
  std::int64_t input_size_per_partition() const noexcept;  ///< K of this rank
  std::span<const std::int64_t> output_partition_sizes() const noexcept;  ///< N of each fused part on this rank
  std::int64_t output_size_per_partition() const noexcept;  ///< Their sum
  DType params_dtype() const noexcept;
  bool has_bias() const noexcept;
  const LinearMethod& quant_method() const noexcept;

  /// Takes the tensor of the whole layer (or of one fused part) from the checkpoint and keeps this rank's slice of it.
  /// Without `shard_id` a fused layer takes a tensor that is already fused on disk. Throws ShapeError when shapes differ
  /// or when the slice cannot be represented exactly.
  void load_weight(const LoadedWeight& weight, std::optional<ShardId> shard_id = std::nullopt);
  void load_bias(const Tensor& bias, std::optional<ShardId> shard_id = std::nullopt);

  /// Quantizes on the fly where asked, chooses the kernel, packs, frees what is no longer needed.
  /// Throws Error when a shard is missing, UnsupportedError when no kernel fits.
  void process_weights_after_loading();

  /// y[m, output_size_per_partition] = x[m, input_size_per_partition] Wᵀ + b in params_dtype. Contiguous rows.
  /// Row-parallel layers give this rank's partial sum, with the bias on rank 0 only. Never throws, never allocates.
  void apply(const void* x, std::int64_t m, void* y, const LinearContext& context) const noexcept;
  /// Scratch that apply needs for up to m rows.
  std::int64_t workspace_bytes(std::int64_t m) const noexcept;

  LinearReport report() const;
  /// With keep_weights: the weights after loading, one per fused part that is kept apart; plain or quantized.
  std::vector<LoadedWeight> weights() const;

 protected:
  struct Impl;
  explicit LinearBase(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  friend struct LinearLayerAccess;
};

/// Every rank holds the whole weight.
class TORCHAO_CPP_EXPORT ReplicatedLinear : public LinearBase {
 public:
  ReplicatedLinear(std::int64_t input_size, std::int64_t output_size, LinearOptions options);
};

/// Rows of W are cut over the ranks.
class TORCHAO_CPP_EXPORT ColumnParallelLinear : public LinearBase {
 public:
  ColumnParallelLinear(std::int64_t input_size, std::int64_t output_size, LinearOptions options);
};

/// Several column-parallel weights fused along N (gate_up_proj).
class TORCHAO_CPP_EXPORT MergedColumnParallelLinear : public LinearBase {
 public:
  MergedColumnParallelLinear(std::int64_t input_size, std::vector<std::int64_t> output_sizes, LinearOptions options);
};

/// q, k and v fused; when there are fewer kv heads than ranks, kv heads are replicated.
class TORCHAO_CPP_EXPORT QKVParallelLinear : public LinearBase {
 public:
  QKVParallelLinear(std::int64_t hidden_size, std::int64_t head_size, std::int64_t total_num_heads,
                    std::int64_t total_num_kv_heads, LinearOptions options);
};

/// Columns of W are cut over the ranks.
class TORCHAO_CPP_EXPORT RowParallelLinear : public LinearBase {
 public:
  RowParallelLinear(std::int64_t input_size, std::int64_t output_size, LinearOptions options);
};

/// vLLM's LinearMethodBase: how a layer's weight is created, finished and run. A layer makes its own and calls it.
class TORCHAO_CPP_EXPORT LinearMethod {
 public:
  virtual ~LinearMethod() = default;
  virtual std::string_view name() const noexcept = 0;
  virtual const LayerDecision& decision() const noexcept = 0;
  /// Prepares the layer for loading. Sizes as in vLLM; params_dtype is the activation and unquantized weight dtype.
  virtual void create_weights(LinearBase& layer, std::int64_t input_size_per_partition,
                              std::span<const std::int64_t> output_partition_sizes, std::int64_t input_size,
                              std::int64_t output_size, DType params_dtype) = 0;
  virtual void process_weights_after_loading(LinearBase& layer) = 0;
  virtual void apply(const LinearBase& layer, const void* x, std::int64_t m, void* y,
                     const LinearContext& context) const noexcept = 0;
};

/// vLLM's TorchAOConfig.get_quant_method for a linear layer: UnquantizedLinearMethod or TorchAOLinearMethod.
/// Throws ConfigError when `prefix` is a fused layer whose parts disagree, naming the rules.
TORCHAO_CPP_EXPORT std::unique_ptr<LinearMethod> get_quant_method(const TorchAOConfig& config, std::string_view prefix);

/// vLLM's torchao_quantize_param_data: quantizes a weight [N, K]; plain in the result when torchao leaves it alone.
struct QuantizedParam {
  LoadedWeight weight;
  std::string reason;  ///< Why the weight stayed plain; empty otherwise.
  std::string notice;  ///< As QuantizeOutcome::notice.
};
TORCHAO_CPP_EXPORT QuantizedParam quantize_param_data(const Tensor& weight, const AOBaseConfig& config);

/// One weight, one kernel: the smallest way to run a quantized linear.
class TORCHAO_CPP_EXPORT Linear {
 public:
  /// `weight` plain or quantized [N, K]; `activation_dtype` of x, bias and y. Throws UnsupportedError with every kernel's
  /// reason when none fits.
  /// `force_kernel` as in LinearOptions; an unknown one throws UnsupportedError that lists the known.
  explicit Linear(LoadedWeight weight, DType activation_dtype, std::string_view force_kernel = {}, Device device = {});
  ~Linear();
  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;

  std::int64_t input_size() const noexcept;
  std::int64_t output_size() const noexcept;
  std::string_view kernel_name() const noexcept;
  std::span<const std::string> rejected_kernels() const noexcept;
  std::int64_t packed_bytes() const noexcept;
  std::int64_t workspace_bytes(std::int64_t m) const noexcept;
  /// y[m, N] = x[m, K] Wᵀ + b; bias may be null, rows of y are y_stride elements apart. Never throws, never allocates. On a
  /// GPU all pointers are the device's, and the work is queued on context.stream.
  void apply(const void* x, std::int64_t m, const void* bias, void* y, std::int64_t y_stride,
             const LinearContext& context) const noexcept;
  /// Convenience: x [M, K] -> y [M, N] in host memory on any device, allocating. Throws ShapeError.
  Tensor operator()(const Tensor& x, const Tensor& bias = {}) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Rows looked up by token. A quantized weight stays quantized: only the rows that are asked for are dequantized.
/// Mirrors vLLM's VocabParallelEmbedding on one rank.
class TORCHAO_CPP_EXPORT Embedding {
 public:
  /// `weight` plain or quantized [V, H]; rows come out in `dtype`, equal to the bit to dequantize() followed by a cast
  /// (UIntxBitPackedTensor: to the weights that its product takes). Throws UnsupportedError as to_quantized_weight does.
  /// On a GPU, throws DeviceError as Linear does.
  Embedding(const LoadedWeight& weight, DType dtype, Device device = {});
  ~Embedding();
  Embedding(Embedding&&) noexcept;
  Embedding& operator=(Embedding&&) noexcept;

  std::int64_t num_embeddings() const noexcept;  ///< V
  std::int64_t embedding_dim() const noexcept;   ///< H
  /// Bytes held. A quantized weight shares its codes with other users of the same weight where no kernel repacks them.
  std::int64_t nbytes() const noexcept;
  /// out [ids.size(), H], contiguous. 0 <= id < V. Never throws, never allocates.
  /// Of an embedding on the CPU.
  void apply(std::span<const std::int32_t> ids, void* out) const noexcept;
  /// Of an embedding on a GPU: `ids` and `out` are the device's, ids `id_stride` int32 apart; the work is queued on `stream`.
  void apply_on_device(const std::int32_t* ids, std::int64_t count, std::int64_t id_stride, void* out, Stream stream) const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One row of `torchao kernels`.
struct KernelInfo {
  std::string name;
  std::string operation;
  std::string isa;
  bool runs_here = false;  ///< The machine has what the kernel needs.
  std::string reason;      ///< Why not.
  /// Multiplies operands that torchao's CPU path rounds to the activation's dtype without those roundings: closer to
  /// the exact product, and within two steps of that dtype, relative to sum |x||w|, of torchao's result.
  bool has_fewer_roundings = false;
};
TORCHAO_CPP_EXPORT std::vector<KernelInfo> kernel_infos();

}  // namespace torchao_cpp
