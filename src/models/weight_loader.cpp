// SPDX-License-Identifier: Apache-2.0
#include "models/weight_loader.h"

#include <fmt/format.h>

#include "base/memory_pages.h"
#include "models/model_folder.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

void check_shape(const std::string& fqn, const Shape& got, const Shape& expected) {
  if (got == expected) return;
  throw ShapeError(fmt::format("weight '{}' is {}; config.json makes it {}", fqn,
                               shape_to_string(got), shape_to_string(expected)));
}

std::span<const std::byte> bytes_of(const Tensor& tensor) noexcept {
  return {tensor.bytes(), static_cast<std::size_t>(tensor.nbytes())};
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
  CheckpointEntry entry = checkpoint_.entry(fqn);
  taken_.insert(fqn);
  LoadedWeight weight;
  if (entry.parts) {
    for (auto& [name, part] : entry.parts->parts) part = watched(part);
    weight = loaded_weight_from_parts(*entry.parts, fqn);
  } else {
    if (!is_high_precision(entry.plain.dtype())) {
      throw CheckpointError(
          fmt::format(
              "weight '{}' is {}; expected float32, float16, bfloat16 or a quantized weight", fqn,
              dtype_name(entry.plain.dtype())),
          "dtype");
    }
    weight.plain = watched(entry.plain);
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

Tensor WeightLoader::watched(const Tensor& tensor) {
  if (!tensor.is_read_only()) return tensor;
  auto owner = std::make_shared<const Tensor>(tensor);
  watched_.push_back(owner);
  return Tensor::borrow(tensor.bytes(), tensor.dtype(), tensor.shape(), std::move(owner));
}

void WeightLoader::read_ahead(std::string_view prefix) const {
  for (const std::string& name : checkpoint_.names()) {
    if (!name.starts_with(prefix)) continue;
    const CheckpointEntry entry = checkpoint_.entry(name);
    if (!entry.parts) torchao_cpp::read_ahead(bytes_of(entry.plain));
    if (!entry.parts) continue;
    for (const auto& [part_name, part] : entry.parts->parts)
      torchao_cpp::read_ahead(bytes_of(part));
  }
}

void WeightLoader::populate_used() {
  for (const std::weak_ptr<const Tensor>& used : watched_) {
    if (const auto tensor = used.lock()) populate_pages(bytes_of(*tensor));
  }
  watched_.clear();
}

std::vector<std::string> WeightLoader::unexpected() const {
  std::vector<std::string> out;
  for (const std::string& name : checkpoint_.names()) {
    if (!taken_.contains(name) && !name.ends_with("rotary_emb.inv_freq")) out.push_back(name);
  }
  return out;
}

}  // namespace torchao_cpp
