// SPDX-License-Identifier: Apache-2.0
#include "models/weight_loader.h"

#include <fmt/format.h>

#include "models/model_folder.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

void check_shape(const std::string& fqn, const Shape& got, const Shape& expected) {
  if (got == expected) return;
  throw ShapeError(fmt::format("weight '{}' is {}; config.json makes it {}", fqn,
                               shape_to_string(got), shape_to_string(expected)));
}

}  // namespace

WeightLoader::WeightLoader(const Checkpoint& checkpoint, DType dtype, bool dequantize,
                           ProgressCallback progress)
    : checkpoint_(checkpoint),
      dtype_(dtype),
      dequantize_(dequantize),
      progress_(std::move(progress)) {}

std::string WeightLoader::class_name(std::string_view fqn) const {
  if (!contains(fqn)) return {};
  const CheckpointEntry entry = checkpoint_.entry(fqn);
  return entry.parts ? entry.parts->class_name : "Tensor";
}

LoadedWeight WeightLoader::read(const std::string& fqn, const Shape& shape) {
  const CheckpointEntry entry = checkpoint_.entry(fqn);
  taken_.insert(fqn);
  LoadedWeight weight;
  if (entry.parts) {
    weight = loaded_weight_from_parts(*entry.parts, fqn);
  } else {
    if (!is_high_precision(entry.plain.dtype())) {
      throw CheckpointError(
          fmt::format(
              "weight '{}' is {}; expected float32, float16, bfloat16 or a quantized weight", fqn,
              dtype_name(entry.plain.dtype())),
          "dtype");
    }
    weight.plain = entry.plain;
  }
  check_shape(fqn, weight.shape(), shape);
  done_bytes_ += stored_bytes(entry);
  if (progress_) progress_("load", done_bytes_, checkpoint_.nbytes());
  return weight;
}

LoadedWeight WeightLoader::take(const std::string& fqn, const Shape& shape) {
  LoadedWeight weight = read(fqn, shape);
  if (weight.quantized && dequantize_) weight = {weight.quantized->dequantize(), nullptr};
  if (weight.quantized) return weight;
  weight.plain = is_without_values_ ? Tensor::zeros(dtype_, shape) : weight.plain.to(dtype_);
  return weight;
}

Tensor WeightLoader::take_plain(const std::string& fqn, const Shape& shape) {
  const LoadedWeight weight = read(fqn, shape);
  return (weight.quantized ? weight.quantized->dequantize() : weight.plain).to(dtype_);
}

std::vector<std::string> WeightLoader::unexpected() const {
  std::vector<std::string> out;
  for (const std::string& name : checkpoint_.names()) {
    if (!taken_.contains(name) && !name.ends_with("rotary_emb.inv_freq")) out.push_back(name);
  }
  return out;
}

}  // namespace torchao_cpp
