// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "torchao_cpp/export.h"
#include "torchao_cpp/quantized_weight.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// A quantized weight as a checkpoint stores it: torchao's class name, its attributes and its named plain tensors.
struct TORCHAO_CPP_EXPORT TensorParts {
  std::string class_name;  ///< e.g. "Int8Tensor"
  /// JSON object text of the class's attributes in torchao's order and encoding (the `_data` of the safetensors
  /// metadata entry), e.g. {"block_size":[1,128],"dtype":{"_type":"torch.dtype","_data":"bfloat16"}}.
  std::string attributes = "{}";
  /// In torchao's order: optional parts that exist, then required ones.
  std::vector<std::pair<std::string, Tensor>> parts;

  /// The named part, or an undefined Tensor.
  Tensor find(std::string_view name) const;
};

/// A quantized weight tensor: our counterpart of a torchao tensor subclass. Immutable; copies share storage.
class TORCHAO_CPP_EXPORT WeightTensor {
 public:
  virtual ~WeightTensor() = default;

  /// torchao's class name, e.g. "Int8Tensor".
  virtual std::string_view class_name() const noexcept = 0;
  /// Logical shape [N, K].
  virtual Shape shape() const = 0;
  /// Logical dtype: that of the weight before quantization.
  virtual DType dtype() const noexcept = 0;

  /// The weight [N, K] in `output_dtype` (default: dtype()), bit for bit as torchao dequantizes it.
  /// Throws UnsupportedError where torchao's packing is not public.
  virtual Tensor dequantize(std::optional<DType> output_dtype = std::nullopt) const = 0;
  /// The form a checkpoint stores.
  virtual TensorParts to_parts() const = 0;
  /// The form kernels take. Throws UnsupportedError as dequantize does.
  virtual QuantizedWeight to_quantized_weight() const = 0;

  /// Rows (dim 0) or columns (dim 1) start:end. Throws ShapeError, naming what would work, unless the slice is exactly
  /// representable: never truncates. Per-tensor scales are shared by all slices.
  virtual std::shared_ptr<const WeightTensor> slice(int dim, std::int64_t start, std::int64_t end) const = 0;
  /// The weights stacked along dim 0 as one weight of this class, or null where that would change a value
  /// (different attributes, per-tensor scales, rows not aligned to blocks). `parts[0]` is this weight.
  virtual std::shared_ptr<const WeightTensor> concat_rows(
      std::span<const std::shared_ptr<const WeightTensor>> parts) const = 0;

  /// Sum of the sizes of the stored parts.
  std::int64_t nbytes() const;
  /// One line for reports, e.g. "int4, block [1, 32], int8_asym_per_token".
  virtual std::string describe() const = 0;
};

using WeightTensorPtr = std::shared_ptr<const WeightTensor>;

/// What a tensor type declares about itself (torchao's tensor_data_names etc.).
struct WeightTensorType {
  std::string_view class_name;
  std::span<const std::string_view> tensor_data_names;
  std::span<const std::string_view> optional_tensor_data_names;
  std::span<const std::string_view> tensor_attribute_names;
  std::span<const std::string_view> optional_tensor_attribute_names;
  /// False for classes torchao cannot put into safetensors (NF4Tensor).
  bool safetensors_serializable = true;
  /// torchao versions whose safetensors hold the class, e.g. "0.16 to 0.18"; empty: none do.
  std::string_view safetensors_versions{};
  /// What its weights may be run as, spelt as ConfigType::operation; empty: nothing, see `not_run`.
  std::span<const std::string_view> operations{};
  std::string_view not_run{};  ///< Why no operation takes them; empty otherwise.
  /// Validates ranks, dtypes, shapes and attributes. Throws CheckpointError with kind ao.missing_data,
  /// ao.shape_mismatch, ao.dtype_mismatch, ao.metadata_invalid or ao.unsupported_type; `fqn` names the weight.
  WeightTensorPtr (*from_parts)(const TensorParts& parts, std::string_view fqn);
};

}  // namespace torchao_cpp
