// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/output_file.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

using NamedTensor = std::pair<std::string, Tensor>;
using MetadataEntry = std::pair<std::string, std::string>;

/// A tensor to be stored, whose values need not be there before they are written.
struct StoredTensor {
  std::string name;
  DType dtype = DType::kFloat32;
  Shape shape;
  std::function<Tensor()> values;  ///< Called once, by write().

  /// Throws CheckpointError as check_storable_tensor does.
  static StoredTensor of(std::string name, Tensor tensor);
  std::int64_t nbytes() const { return shape_numel(shape) * dtype_size_bytes(dtype); }
};

/// The layout of one safetensors file as the official writer makes it: widest dtype first, then by name, no gaps, header
/// padded with spaces so that the data start at a multiple of 8.
class SafetensorsLayout {
 public:
  /// Throws CheckpointError (kind "name") for a name that is no UTF-8, occurs twice or is "__metadata__", and (kind "dtype")
  /// for a dtype that safetensors cannot hold. Metadata names must differ.
  SafetensorsLayout(std::span<const StoredTensor> tensors, std::span<const MetadataEntry> metadata);

  std::int64_t data_bytes() const noexcept { return data_bytes_; }
  /// Writes the file's contents; one tensor that is made here is in memory at a time. `progress(n)` is told of every n bytes of data; it may be null, and may throw.
  void write(OutputFile& file, const std::function<void(std::int64_t)>& progress = nullptr) const;

 private:
  std::string header_;                 ///< With its length in front and its padding.
  std::vector<StoredTensor> tensors_;  ///< In file order.
  std::int64_t data_bytes_ = 0;
};

/// Throws CheckpointError (kind "name") unless `name` is valid UTF-8 that can be a key: not empty, not "__metadata__".
void check_storable_name(std::string_view name);

/// Throws CheckpointError (kind "dtype") unless safetensors has a code for `dtype`.
void check_storable_dtype(DType dtype, std::string_view name);

/// Throws CheckpointError (kind "dtype") unless `tensor` is defined and of a dtype that safetensors has a code for.
void check_storable_tensor(const Tensor& tensor, std::string_view name);

}  // namespace torchao_cpp
