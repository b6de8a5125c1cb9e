// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "core/affine.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// Checked access to one checkpoint entry: its tensors and its attributes in torchao's wire form.
/// Everything that does not fit throws CheckpointError naming the weight, the class, what is there
/// and what is expected: ao.missing_data, ao.shape_mismatch, ao.dtype_mismatch, ao.metadata_invalid
/// or ao.unsupported_type.
class PartsReader {
 public:
  /// Checks that every name in `parts` and every attribute is one that `type` declares, that all
  /// required tensors are there, and that the attributes are a JSON object. Keeps references to
  /// both arguments.
  PartsReader(const WeightTensorType& type, const TensorParts& parts, std::string_view fqn);

  /// The tensor of that name; undefined when an optional one is absent.
  Tensor tensor(std::string_view name) const { return parts_.find(name); }
  /// The attribute's JSON, or null when it is absent or JSON null.
  const Json* attribute(std::string_view name) const;
  /// As above; throws ao.metadata_invalid when there is none.
  const Json& required_attribute(std::string_view name) const;

  /// {"_type": "torch.dtype", "_data": name}; throws unless it is one of `allowed`.
  DType dtype(std::string_view name, std::initializer_list<DType> allowed) const;
  /// Two positive integers that divide [n, k] (ao.shape_mismatch otherwise).
  BlockSize block_size(std::string_view name, std::int64_t n, std::int64_t k) const;
  /// Integers of a JSON array such as `shape`, of exactly `rank` positive entries.
  std::vector<std::int64_t> integers(std::string_view name, std::size_t rank) const;
  /// JSON true or false; `otherwise` when absent or null.
  bool boolean(std::string_view name, bool otherwise) const;

  /// Unwraps {"_type": type, "_data": {...}}; throws ao.unsupported_type for another `_type`,
  /// ao.metadata_invalid for another form. `what` names the value in messages. The result lives as
  /// long as `value`.
  const Json& tagged(const Json& value, std::string_view type, std::string_view what) const;
  /// {"_type": "PerRow", "_data": {"dim": -1}} (older files: no dim) or PerTensor. Throws
  /// ao.unsupported_type for others.
  Granularity granularity(const Json& value, std::string_view what) const;
  /// {"_type": "MappingType", "_data": member}.
  MappingType mapping_type(const Json& value, std::string_view what) const;

  /// The named tensor must have one of these dtypes (ao.dtype_mismatch).
  void expect_dtype(std::string_view name, std::initializer_list<DType> allowed) const;
  /// The named tensor must have exactly this shape (ao.shape_mismatch).
  void expect_shape(std::string_view name, const Shape& shape) const;
  /// The named tensor must be 2-D with N, K >= 1; returns its shape.
  std::array<std::int64_t, 2> matrix_shape(std::string_view name) const;
  /// Optional act_pre_scale: float32, float16 or bfloat16, [K] or [1, K]. Returns it as [K], or
  /// undefined.
  Tensor act_pre_scale(std::int64_t k) const;

  /// Throws CheckpointError "weight 'fqn' (class): message".
  [[noreturn]] void fail(std::string_view kind, std::string_view message) const;

 private:
  const WeightTensorType& type_;
  const TensorParts& parts_;
  std::string fqn_;
  Json attributes_;
};

/// Wire form of attribute values as torchao 0.18 writes them into a checkpoint (no `_version`).
Json dtype_attribute(DType dtype);
Json granularity_attribute(const Granularity& granularity);
Json mapping_type_attribute(MappingType mapping);
/// [bn, bk]
Json block_size_attribute(const BlockSize& block);

/// "SYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR" or "ASYMMETRIC".
std::string_view mapping_type_name(MappingType mapping) noexcept;

}  // namespace torchao_cpp
