// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/linear.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {

/// Gives a model's parameters from a checkpoint by name, checks their shapes, and keeps count of
/// what was asked for.
class WeightLoader {
 public:
  /// Plain tensors are converted to `dtype`. `dequantize`: quantized ones become plain as well.
  WeightLoader(const Checkpoint& checkpoint, DType dtype, bool dequantize,
               ProgressCallback progress);

  /// From now on plain weights come as zeros of their shape and dtype: for asking how a model would
  /// run.
  void replace_plain_by_zeros() noexcept { is_without_values_ = true; }

  bool contains(std::string_view fqn) const { return checkpoint_.contains(fqn); }
  /// Class name of a stored weight, "Tensor" when plain; empty when it is absent. Does not count as
  /// asking.
  std::string class_name(std::string_view fqn) const;

  /// The weight of a linear or an embedding. Throws CheckpointError (kind "missing") naming near
  /// matches, ShapeError, and as from_parts does.
  LoadedWeight take(const std::string& fqn, const Shape& shape);
  /// A parameter that is always plain, such as a norm's weight; dequantized where it is stored
  /// quantized.
  Tensor take_plain(const std::string& fqn, const Shape& shape);

  /// Starts to read the data of every name that begins with `prefix` ahead of its use.
  void read_ahead(std::string_view prefix) const;
  /// Brings in the pages of those weights given out since the last call that still read from the
  /// mapped file: what was packed or quantized needs them no more.
  void populate_used();

  /// Tensors nobody asked for, except those known to be no parameters (rotary_emb.inv_freq).
  std::vector<std::string> unexpected() const;

 private:
  LoadedWeight read(const std::string& fqn, const Shape& shape);
  /// The same tensor, its life watched for populate_used().
  Tensor watched(const Tensor& tensor);

  const Checkpoint& checkpoint_;
  DType dtype_;
  bool dequantize_;
  bool is_without_values_ = false;
  ProgressCallback progress_;
  std::int64_t done_bytes_ = 0;
  std::set<std::string, std::less<>> taken_;
  std::vector<std::weak_ptr<const Tensor>> watched_;
};

}  // namespace torchao_cpp
