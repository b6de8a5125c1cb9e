// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/pickle_value.h"
#include "io/zip_file.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// A plain tensor of a torch file: a checked, strided view of one storage. Keeps the mapping alive;
/// copies are cheap.
class TorchTensor {
 public:
  /// From REDUCE of _rebuild_tensor_v2 or _v3: the call's arguments. `what` names the tensor in
  /// messages. Throws CheckpointError: pickle.type_error, bin.missing_storage, bin.storage_size,
  /// bin.view_out_of_range or bin.limit_exceeded (a view that repeats elements of its storage).
  TorchTensor(const PickleValue& call, const ZipFile& zip, std::string_view what);

  DType dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  std::int64_t numel() const noexcept { return numel_; }
  std::int64_t nbytes() const noexcept { return numel_ * dtype_size_bytes(dtype_); }

  /// The elements in row-major order: borrowed from the mapping where they lie so and are aligned,
  /// copied otherwise.
  Tensor read() const;

 private:
  bool is_contiguous() const noexcept;
  void copy_strided(std::byte* out) const;

  std::shared_ptr<const MappedFile> mapping_;
  const std::byte* data_ = nullptr;  ///< The first element.
  DType dtype_ = DType::kFloat32;
  Shape shape_;
  std::vector<std::int64_t> stride_;  ///< In elements.
  std::int64_t numel_ = 0;
};

/// True for a value that TorchTensor takes.
inline bool is_torch_tensor(const PickleValue& value) noexcept {
  return value.is_object(PickleRole::kRebuildTensorV2) ||
         value.is_object(PickleRole::kRebuildTensorV3);
}

/// The integers of a tuple or list, at most 64. Throws CheckpointError pickle.type_error.
std::vector<std::int64_t> pickled_integers(const PickleValue& value, std::string_view what);

}  // namespace torchao_cpp
