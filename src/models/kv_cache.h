// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/decoder_ops/decoder_kernels.h"
#include "models/device_tensor.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// Keys and values of one sequence, for all layers and kv heads, in the compute dtype.
///
/// Of each (layer, head): values are [positions, head_dim]; keys on the CPU are blocks of kBlock
/// positions, each stored [head_dim, kBlock], so that attention reads them as the right factor of a
/// matrix product without a transpose; on a GPU they are stored as values are. Room is for
/// `max_length` positions rounded up to whole blocks.
class KvCache {
 public:
  static constexpr std::int64_t kBlock = kKeyBlock;

  KvCache(DType dtype, std::int64_t num_layers, std::int64_t num_kv_heads, std::int64_t head_dim,
          std::int64_t max_length, Device device = {})
      : num_kv_heads_(num_kv_heads),
        head_dim_(head_dim),
        padded_length_((max_length + kBlock - 1) / kBlock * kBlock),
        keys_(zeros_on(device, dtype, {num_layers, num_kv_heads, padded_length_ * head_dim})),
        values_(zeros_on(device, dtype, {num_layers, num_kv_heads, padded_length_ * head_dim})) {}

  DType dtype() const noexcept { return keys_.dtype(); }
  /// Positions there is room for.
  std::int64_t max_length() const noexcept { return padded_length_; }
  std::int64_t nbytes() const noexcept { return keys_.nbytes() + values_.nbytes(); }

  /// Elements from a head to the next; the heads of a layer follow each other, and so do layers.
  std::int64_t head_stride() const noexcept { return padded_length_ * head_dim_; }
  /// Start of the keys of (layer, head): [blocks, head_dim, kBlock] elements of dtype().
  const std::byte* keys(std::int64_t layer, std::int64_t head) const noexcept {
    return keys_.bytes() + offset_bytes(layer, head);
  }
  std::byte* keys(std::int64_t layer, std::int64_t head) {
    return keys_.mutable_bytes() + offset_bytes(layer, head);
  }
  /// Start of the values of (layer, head): [positions, head_dim].
  const std::byte* values(std::int64_t layer, std::int64_t head) const noexcept {
    return values_.bytes() + offset_bytes(layer, head);
  }
  std::byte* values(std::int64_t layer, std::int64_t head) {
    return values_.mutable_bytes() + offset_bytes(layer, head);
  }

 private:
  std::int64_t offset_bytes(std::int64_t layer, std::int64_t head) const noexcept {
    return (layer * num_kv_heads_ + head) * padded_length_ * head_dim_ * dtype_size_bytes(dtype());
  }

  std::int64_t num_kv_heads_;
  std::int64_t head_dim_;
  std::int64_t padded_length_;
  Tensor keys_;
  Tensor values_;
};

}  // namespace torchao_cpp
