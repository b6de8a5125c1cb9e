// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/cuda_device.h"
#include "torchao_cpp/linear.h"

namespace torchao_cpp {

/// Along which dimension the ranks cut the weight.
enum class LinearParallel : std::uint8_t { kReplicated, kColumn, kRow };

/// One fused part as the whole layer has it, and which slice of its rows this rank holds.
struct LinearPart {
  std::int64_t output_size = 0;  ///< N of the whole part.
  std::int64_t first_row = 0;
  std::int64_t rows = 0;  ///< Of this rank.
};

/// What a layer is before any weight is loaded.
struct LinearLayerSpec {
  std::string kind;  ///< Class name, for messages.
  LinearParallel parallel = LinearParallel::kReplicated;
  std::int64_t input_size = 0;
  std::vector<LinearPart> parts;
  LinearOptions options;
};

/// The state of a LinearBase.
///
/// While loading, `pieces` holds this rank's slice of what came, each piece covering one or more
/// parts that follow each other. finish() joins the pieces into as few linears as keep every value.
struct LinearBase::Impl {
  struct Piece {
    std::size_t first_part = 0;
    std::size_t part_count = 1;
    LoadedWeight weight;
  };

  explicit Impl(LinearLayerSpec layer_spec);

  /// LinearMethod::create_weights: takes the sizes of this rank.
  void create(std::int64_t input_size_per_partition,
              std::span<const std::int64_t> output_partition_sizes, DType params_dtype);
  void load_weight(const LoadedWeight& weight, std::optional<ShardId> shard_id);
  void load_bias(const Tensor& bias, std::optional<ShardId> shard_id);
  /// Throws Error where a part is missing.
  void check_complete() const;
  /// Joins the pieces, chooses kernels, packs. `reason` says why a weight stayed plain, if one did.
  void finish();
  void apply(const void* x, std::int64_t m, void* y, const LinearContext& context) const noexcept;

  std::int64_t output_size() const noexcept;
  std::int64_t output_size_per_partition() const noexcept;
  Shape part_shape(std::size_t first, std::size_t count) const;
  std::string where() const;

  LinearLayerSpec spec;
  std::unique_ptr<LinearMethod> method;
  std::int64_t input_size_per_partition = 0;
  std::vector<std::int64_t> output_partition_sizes;
  DType params_dtype = DType::kBFloat16;

  std::vector<Piece> pieces;
  std::vector<Tensor> bias_parts;
  std::string left_plain_reason;  ///< Why quantization left a weight plain.
  std::string notice;             ///< Why a weight is of another class than its config asks for.

  bool is_finished = false;
  std::vector<Linear> linears;
  std::vector<std::int64_t> offsets;  ///< Of each linear in a row of y.
  Tensor bias;  ///< [output_size_per_partition], params_dtype; undefined on ranks that add none.
  DeviceBuffer device_bias;  ///< The same on a GPU.
  std::vector<LoadedWeight> kept;
  std::string weight_class;
  std::string weight_detail;

 private:
  std::size_t part_index(std::optional<ShardId> shard_id) const;
  void take_piece(std::size_t first, std::size_t count, LoadedWeight weight);
  std::vector<LoadedWeight> joined() const;
  /// Rows (dim 0) or columns (dim 1) start:end; the weight itself where that is all of it.
  LoadedWeight slice(const LoadedWeight& weight, int dim, std::int64_t start,
                     std::int64_t end) const;
};

/// Lets the methods reach the state of a layer.
struct LinearLayerAccess {
  static LinearBase::Impl& of(LinearBase& layer) noexcept { return *layer.impl_; }
  static const LinearBase::Impl& of(const LinearBase& layer) noexcept { return *layer.impl_; }
};

/// The method of a layer whose model has no quantization config.
std::unique_ptr<LinearMethod> make_unquantized_linear_method(LayerDecision decision);

}  // namespace torchao_cpp
