// SPDX-License-Identifier: Apache-2.0
#include "linear/linear_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// The weights as one along dim 0 where that keeps every value; an undefined weight otherwise.
LoadedWeight stacked(std::span<const LoadedWeight> weights) {
  if (weights.size() == 1) return weights.front();
  const bool is_quantized = weights.front().quantized != nullptr;
  std::vector<Tensor> plain;
  std::vector<WeightTensorPtr> quantized;
  for (const LoadedWeight& weight : weights) {
    if ((weight.quantized != nullptr) != is_quantized) return {};
    if (!is_quantized && weight.plain.dtype() != weights.front().plain.dtype()) return {};
    plain.push_back(weight.plain);
    quantized.push_back(weight.quantized);
  }
  if (is_quantized) return {{}, quantized.front()->concat_rows(quantized)};
  return {concat_rows(plain), nullptr};
}

std::string class_of(const LoadedWeight& weight) {
  return weight.quantized ? std::string(weight.quantized->class_name()) : "Tensor";
}

}  // namespace

LinearBase::Impl::Impl(LinearLayerSpec layer_spec) : spec(std::move(layer_spec)) {
  const LinearOptions& options = spec.options;
  if (options.tp_size < 1 || options.tp_rank < 0 || options.tp_rank >= options.tp_size) {
    throw ShapeError(fmt::format("{}: tp_rank is {} of tp_size {}; expected 0 <= tp_rank < tp_size",
                                 where(), options.tp_rank, options.tp_size));
  }
  if (!is_high_precision(options.params_dtype)) {
    throw UnsupportedError(
        fmt::format("{}: params_dtype is {}; expected float32, float16 or bfloat16", where(),
                    dtype_name(options.params_dtype)));
  }
  if (spec.input_size < 1 || spec.parts.empty() ||
      std::any_of(spec.parts.begin(), spec.parts.end(),
                  [](const LinearPart& p) { return p.output_size < 1; })) {
    throw ShapeError(fmt::format("{}: the sizes are {}; expected all positive", where(),
                                 shape_to_string(part_shape(0, spec.parts.size()))));
  }
}

std::string LinearBase::Impl::where() const {
  return spec.options.prefix.empty() ? spec.kind : fmt::format("layer '{}'", spec.options.prefix);
}

std::int64_t LinearBase::Impl::output_size() const noexcept {
  return std::accumulate(
      spec.parts.begin(), spec.parts.end(), std::int64_t{0},
      [](std::int64_t sum, const LinearPart& part) { return sum + part.output_size; });
}

std::int64_t LinearBase::Impl::output_size_per_partition() const noexcept {
  return std::accumulate(output_partition_sizes.begin(), output_partition_sizes.end(),
                         std::int64_t{0});
}

Shape LinearBase::Impl::part_shape(std::size_t first, std::size_t count) const {
  std::int64_t rows = 0;
  for (std::size_t i = first; i < first + count; ++i) rows += spec.parts[i].output_size;
  return {rows, spec.input_size};
}

void LinearBase::Impl::create(std::int64_t input_size, std::span<const std::int64_t> output_sizes,
                              DType dtype) {
  input_size_per_partition = input_size;
  output_partition_sizes.assign(output_sizes.begin(), output_sizes.end());
  params_dtype = dtype;
  bias_parts.resize(spec.parts.size());
}

std::size_t LinearBase::Impl::part_index(std::optional<ShardId> shard_id) const {
  if (is_finished)
    throw Error(fmt::format("{}: is finished already; load every weight before", where()));
  if (!shard_id) return 0;
  if (*shard_id < 0 || static_cast<std::size_t>(*shard_id) >= spec.parts.size()) {
    throw ShapeError(
        fmt::format("{}: shard {}; expected 0 to {}", where(), *shard_id, spec.parts.size() - 1));
  }
  return static_cast<std::size_t>(*shard_id);
}

LoadedWeight LinearBase::Impl::slice(const LoadedWeight& weight, int dim, std::int64_t start,
                                     std::int64_t end) const {
  if (start == 0 && end == weight.shape()[static_cast<std::size_t>(dim)]) return weight;
  if (!weight.quantized) return {weight.plain.narrow(dim, start, end - start), nullptr};
  try {
    return {{}, weight.quantized->slice(dim, start, end)};
  } catch (const ShapeError& e) {
    throw ShapeError(fmt::format("{}, rank {} of {}: {}", where(), spec.options.tp_rank,
                                 spec.options.tp_size, e.what()));
  }
}

void LinearBase::Impl::take_piece(std::size_t first, std::size_t count, LoadedWeight weight) {
  for (const Piece& piece : pieces) {
    if (first < piece.first_part + piece.part_count && piece.first_part < first + count)
      throw Error(
          fmt::format("{}: shard {} is loaded twice", where(), std::max(first, piece.first_part)));
  }
  pieces.push_back({first, count, std::move(weight)});
}

void LinearBase::Impl::load_weight(const LoadedWeight& weight, std::optional<ShardId> shard_id) {
  const std::size_t part = part_index(shard_id);
  const std::size_t count = shard_id ? 1 : spec.parts.size();
  if (!weight.quantized && (!weight.plain.defined() || !is_high_precision(weight.plain.dtype()))) {
    throw UnsupportedError(fmt::format(
        "{}: the weight is {}; expected float32, float16, bfloat16 or a quantized weight", where(),
        weight.plain.defined() ? dtype_name(weight.plain.dtype()) : "undefined"));
  }
  if (weight.shape() != part_shape(part, count)) {
    throw ShapeError(fmt::format("{}: the weight{} is {}; expected {}", where(),
                                 shard_id ? fmt::format(" of shard {}", *shard_id) : "",
                                 shape_to_string(weight.shape()),
                                 shape_to_string(part_shape(part, count))));
  }
  const bool cuts_columns = spec.parallel == LinearParallel::kRow;
  const std::int64_t first_column =
      cuts_columns ? spec.options.tp_rank * input_size_per_partition : 0;
  const LoadedWeight columns =
      slice(weight, 1, first_column, first_column + input_size_per_partition);
  if (count > 1 && spec.options.tp_size == 1) return take_piece(0, count, columns);
  std::int64_t offset = 0;
  for (std::size_t i = part; i < part + count; ++i) {
    const LinearPart& p = spec.parts[i];
    take_piece(i, 1, slice(columns, 0, offset + p.first_row, offset + p.first_row + p.rows));
    offset += p.output_size;
  }
}

void LinearBase::Impl::load_bias(const Tensor& loaded, std::optional<ShardId> shard_id) {
  const std::size_t part = part_index(shard_id);
  const std::size_t count = shard_id ? 1 : spec.parts.size();
  if (!spec.options.bias)
    throw Error(fmt::format("{}: got a bias, but the layer was made without one", where()));
  const std::int64_t size = part_shape(part, count)[0];
  if (!loaded.defined() || !is_high_precision(loaded.dtype()) || loaded.shape() != Shape{size}) {
    throw ShapeError(fmt::format("{}: the bias is {} {}; expected float [{}]", where(),
                                 loaded.defined() ? dtype_name(loaded.dtype()) : "undefined",
                                 shape_to_string(loaded.shape()), size));
  }
  std::int64_t offset = 0;
  for (std::size_t i = part; i < part + count; ++i) {
    const LinearPart& p = spec.parts[i];
    bias_parts[i] = loaded.narrow(0, offset + p.first_row, p.rows).to(params_dtype);
    offset += p.output_size;
  }
}

void LinearBase::Impl::check_complete() const {
  std::size_t loaded = 0;
  for (const Piece& piece : pieces) loaded += piece.part_count;
  if (loaded != spec.parts.size()) {
    throw Error(
        fmt::format("{}: {} of {} weight shards were loaded", where(), loaded, spec.parts.size()));
  }
  if (!spec.options.bias) return;
  for (std::size_t i = 0; i < bias_parts.size(); ++i) {
    if (!bias_parts[i].defined())
      throw Error(fmt::format("{}: the bias of shard {} was not loaded", where(), i));
  }
}

// All pieces as one weight; where that would change a value, the pieces in order.
std::vector<LoadedWeight> LinearBase::Impl::joined() const {
  std::vector<LoadedWeight> weights;
  for (const Piece& piece : pieces) weights.push_back(piece.weight);
  const LoadedWeight whole = stacked(weights);
  if (whole.quantized || whole.plain.defined()) return {whole};
  return weights;
}

void LinearBase::Impl::finish() {
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.first_part < b.first_part; });
  std::vector<LoadedWeight> weights = joined();
  pieces.clear();
  std::int64_t offset = 0;
  for (LoadedWeight& weight : weights) {
    weight_class += (weight_class.empty() ? "" : " + ") + class_of(weight);
    if (weight_detail.empty() && weight.quantized) weight_detail = weight.quantized->describe();
    offsets.push_back(offset);
    offset += weight.shape()[0];
    if (spec.options.keep_weights) kept.push_back(weight);
    try {
      linears.emplace_back(std::move(weight), params_dtype, spec.options.force_kernel,
                           spec.options.device);
    } catch (const UnsupportedError& e) {
      throw UnsupportedError(fmt::format("{}: {}", where(), e.what()));
    }
  }
  if (weights.size() > 1) weight_detail += fmt::format(", {} parts apart", weights.size());
  // Each rank of a row-parallel layer gives a partial sum; the bias is added once.
  const bool adds_bias =
      spec.options.bias && (spec.parallel != LinearParallel::kRow || spec.options.tp_rank == 0);
  if (adds_bias) bias = bias_parts.size() == 1 ? bias_parts.front() : concat_rows(bias_parts);
  if (bias.defined() && spec.options.device.type == DeviceType::kCUDA)
    device_bias = DeviceBuffer(bias.bytes(), bias.nbytes(), spec.options.device.index);
  bias_parts.clear();
  is_finished = true;
}

void LinearBase::Impl::apply(const void* x, std::int64_t m, void* y,
                             const LinearContext& context) const noexcept {
  const std::int64_t element = dtype_size_bytes(params_dtype);
  const std::int64_t stride = output_size_per_partition();
  const bool is_on_gpu = spec.options.device.type == DeviceType::kCUDA;
  const std::byte* whole_bias = is_on_gpu ? device_bias.data() : bias.bytes();
  for (std::size_t i = 0; i < linears.size(); ++i) {
    const std::byte* linear_bias =
        whole_bias != nullptr ? whole_bias + offsets[i] * element : nullptr;
    linears[i].apply(x, m, linear_bias, static_cast<std::byte*>(y) + offsets[i] * element, stride,
                     context);
  }
}

}  // namespace torchao_cpp
