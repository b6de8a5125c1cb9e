// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_tile_packed_to_4d_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "core/block_slice.h"
#include "core/parts_reader.h"
#include "torchao_cpp/error.h"
#include "workflows/int4/int4_choose_qparams.h"
#include "workflows/int4/int4_dequantize.h"
#include "workflows/int4/int4_packing.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "Int4TilePackedTo4dTensor";
constexpr std::array<std::string_view, 2> kDataNames{"qdata", "scale_and_zero"};
constexpr std::array<std::string_view, 1> kOptionalDataNames{"act_pre_scale"};
constexpr std::array<std::string_view, 2> kAttributeNames{"block_size", "shape"};
constexpr std::array<std::string_view, 1> kOperations{"int4_weight_only"};

constexpr std::int64_t kTileRows = 8;
constexpr std::int64_t kPadColumns = 1024;
constexpr std::int64_t kMaxRowPadding = 16;  // ntile 16 pads further than ntile 8

std::int64_t round_up(std::int64_t v, std::int64_t multiple) noexcept {
  return (v + multiple - 1) / multiple * multiple;
}

Tensor zero_padded(const Tensor& weight, std::int64_t rows, std::int64_t columns) {
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  if (rows == n && columns == k) return weight;
  Tensor out = Tensor::zeros(weight.dtype(), {rows, columns});
  const std::int64_t item = dtype_size_bytes(weight.dtype());
  std::byte* to = out.mutable_bytes();
  for (std::int64_t r = 0; r < n; ++r) {
    std::memcpy(to + r * columns * item, weight.bytes() + r * k * item,
                static_cast<std::size_t>(k * item));
  }
  return out;
}

// [N, groups] twice -> [groups, N, 2]
Tensor interleave(const Tensor& scale, const Tensor& zero) {
  const std::int64_t n = scale.shape()[0];
  const std::int64_t groups = scale.shape()[1];
  Tensor out = Tensor::empty(DType::kBFloat16, {groups, n, 2});
  auto* to = out.mutable_data<std::uint16_t>();
  const auto* s = scale.data<std::uint16_t>();
  const auto* z = zero.data<std::uint16_t>();
  for (std::int64_t r = 0; r < n; ++r) {
    for (std::int64_t g = 0; g < groups; ++g) {
      to[(g * n + r) * 2] = s[r * groups + g];
      to[(g * n + r) * 2 + 1] = z[r * groups + g];
    }
  }
  return out;
}

// Stacks [groups, Np, 2] along Np.
Tensor concat_middle(const std::vector<Tensor>& parts) {
  const std::int64_t groups = parts.front().shape()[0];
  std::int64_t rows = 0;
  for (const Tensor& part : parts) rows += part.shape()[1];
  Tensor out = Tensor::empty(DType::kBFloat16, {groups, rows, 2});
  auto* to = out.mutable_data<std::uint16_t>();
  for (std::int64_t g = 0; g < groups; ++g) {
    for (const Tensor& part : parts) {
      const std::int64_t count = part.shape()[1] * 2;
      to = std::copy_n(part.data<std::uint16_t>() + g * count, count, to);
    }
  }
  return out;
}

void check_padding(const PartsReader& reader, std::int64_t size, std::int64_t padded,
                   std::int64_t limit, int dim) {
  if (size > padded || padded - size >= limit) {
    reader.fail("ao.shape_mismatch",
                fmt::format("'shape' has {} elements in dimension {} but 'qdata' holds {}", size,
                            dim, padded));
  }
}

}  // namespace

const WeightTensorType kInt4TilePackedTo4dTensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = kOptionalDataNames,
    .tensor_attribute_names = kAttributeNames,
    .optional_tensor_attribute_names = {},
    .safetensors_serializable = true,
    .safetensors_versions = "0.14 to 0.18",
    .operations = kOperations,
    .from_parts = &Int4TilePackedTo4dTensor::from_parts,
};

WeightTensorPtr Int4TilePackedTo4dTensor::from_parts(const TensorParts& parts,
                                                     std::string_view fqn) {
  const PartsReader reader(kInt4TilePackedTo4dTensorType, parts, fqn);
  Data d;
  d.qdata = reader.tensor("qdata");
  d.scale_and_zero = reader.tensor("scale_and_zero");
  reader.expect_dtype("qdata", {DType::kInt32});
  reader.expect_dtype("scale_and_zero", {DType::kBFloat16});
  const Shape& q = d.qdata.shape();
  if (q.size() != 4 || d.qdata.numel() == 0 || q[2] != 32 || q[3] != 4 ||
      q[1] % (kPadColumns / 128) != 0) {
    reader.fail(
        "ao.shape_mismatch",
        fmt::format("'qdata' has shape {}; expected [N/8, K/128, 32, 4] with K padded to {}",
                    shape_to_string(q), kPadColumns));
  }
  const auto shape = reader.integers("shape", 2);
  d.n = shape[0];
  d.k = shape[1];
  const std::int64_t padded_n = q[0] * kTileRows;
  const std::int64_t padded_k = q[1] * 128;
  check_padding(reader, d.n, padded_n, kMaxRowPadding, 0);
  check_padding(reader, d.k, padded_k, kPadColumns, 1);
  const BlockSize block = reader.block_size("block_size", d.n, d.k);
  if (block[0] != 1 || padded_k % block[1] != 0) {
    reader.fail(
        "ao.shape_mismatch",
        fmt::format("'block_size' is [{}, {}]; expected [1, group_size] dividing the padded K {}",
                    block[0], block[1], padded_k));
  }
  d.group_size = block[1];
  reader.expect_shape("scale_and_zero", {padded_k / d.group_size, padded_n, 2});
  if (reader.act_pre_scale(d.k).defined()) d.act_pre_scale = reader.tensor("act_pre_scale");
  return std::make_shared<Int4TilePackedTo4dTensor>(std::move(d));
}

WeightTensorPtr Int4TilePackedTo4dTensor::from_hp(const Tensor& weight,
                                                  const Int4TilePackedOptions& options) {
  check_weight_matrix(weight, kClassName);
  if (weight.dtype() != DType::kBFloat16) {
    throw UnsupportedError(
        fmt::format("Only bfloat16 is supported for Int4TilePackedTo4dTensor, got {}",
                    dtype_name(weight.dtype())));
  }
  Data d;
  d.n = weight.shape()[0];
  d.k = weight.shape()[1];
  d.group_size = options.group_size;
  const std::int64_t padded_k = round_up(d.k, kPadColumns);
  if (d.group_size <= 0 || d.k % d.group_size != 0 || padded_k % d.group_size != 0) {
    throw ShapeError(fmt::format(
        "Expecting input size at 1 dimension: {} (padded from {}) to be divisible by block_size at "
        "1 dimension: {}",
        padded_k, d.k, d.group_size));
  }
  const Tensor padded = zero_padded(weight, round_up(d.n, options.ntile_size), padded_k);
  const Int4Groups q = options.algorithm == Int4ChooseQParamsAlgorithm::kHqq
                           ? quantize_int4_hqq(padded, d.group_size)
                           : quantize_int4_tinygemm(padded, d.group_size);
  d.qdata = pack_tiles(q.codes);
  d.scale_and_zero = interleave(q.scale, q.zero_point);
  return std::make_shared<Int4TilePackedTo4dTensor>(std::move(d));
}

Tensor Int4TilePackedTo4dTensor::group_values(int which, std::int64_t rows,
                                              std::int64_t groups) const {
  Tensor out = Tensor::empty(DType::kBFloat16, {rows, groups});
  auto* to = out.mutable_data<std::uint16_t>();
  const auto* from = data_.scale_and_zero.data<std::uint16_t>();
  const std::int64_t stride = padded_n();
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t g = 0; g < groups; ++g)
      to[r * groups + g] = from[(g * stride + r) * 2 + which];
  }
  return out;
}

Tensor Int4TilePackedTo4dTensor::dequantize(std::optional<DType> output_dtype) const {
  const std::int64_t groups = padded_k() / data_.group_size;
  const Int4Dequantize run{unpack_tiles(data_.qdata), group_values(0, padded_n(), groups),
                           group_values(1, padded_n(), groups), data_.group_size, 8};
  return run(data_.n, data_.k, output_dtype.value_or(dtype()));
}

TensorParts Int4TilePackedTo4dTensor::to_parts() const {
  TensorParts out;
  out.class_name = kClassName;
  const Json attributes{{"block_size", block_size_attribute({1, data_.group_size})},
                        {"shape", Json::array({data_.n, data_.k})}};
  out.attributes = dump_json_python(attributes);
  if (data_.act_pre_scale.defined()) out.parts.emplace_back("act_pre_scale", data_.act_pre_scale);
  out.parts.emplace_back("qdata", data_.qdata);
  out.parts.emplace_back("scale_and_zero", data_.scale_and_zero);
  return out;
}

// Canonical form: tiles unpacked and cut to [N, K]; codes q - 8 as nibbles, so that w = code *
// scale + zero as for Int4Tensor, with a float zero point. Bias added after rounding.
QuantizedWeight Int4TilePackedTo4dTensor::to_quantized_weight() const {
  const std::int64_t n = data_.n;
  const std::int64_t k = data_.k;
  QuantizedWeight out;
  out.output_size = n;
  out.input_size = k;
  out.weight_dtype = DType::kInt4;
  const Tensor codes = unpack_tiles(data_.qdata);
  const auto* q = codes.data<std::uint8_t>();
  const std::int64_t stride = padded_k();
  // An odd K has no nibble form of whole rows; one code a byte says the same.
  out.codes_per_byte = k % 2 == 0 ? 2 : 1;
  Tensor signed_codes = Tensor::empty(DType::kInt8, {n, k});
  auto* to = signed_codes.mutable_data<std::int8_t>();
  parallel_for(n, k > 65536 ? 1 : 65536 / k, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c < k; ++c)
        to[r * k + c] = static_cast<std::int8_t>(q[r * stride + c] - 8);
    }
  });
  out.qdata = out.codes_per_byte == 2 ? pack_nibbles(signed_codes) : signed_codes;
  out.scale = group_values(0, n, k / data_.group_size);
  out.zero_point_domain = ZeroPointDomain::kFloat;
  out.zero_point = group_values(1, n, k / data_.group_size);
  out.block_size = {1, data_.group_size};
  out.dtype = DType::kBFloat16;
  out.compute_dtype = DType::kBFloat16;
  out.bias_rounding = BiasRounding::kSeparate;
  if (data_.act_pre_scale.defined()) out.act_pre_scale = data_.act_pre_scale.reshape({k});
  return out;
}

WeightTensorPtr Int4TilePackedTo4dTensor::slice(int dim, std::int64_t start,
                                                std::int64_t end) const {
  check_slice(kClassName, dim, start, end, dim == 0 ? data_.n : data_.k);
  const std::int64_t unit = dim == 0 ? kTileRows : kPadColumns;
  const std::int64_t size = dim == 0 ? data_.n : data_.k;
  if (start % unit != 0 || (end % unit != 0 && end != size)) {
    throw ShapeError(fmt::format(
        "Int4TilePackedTo4dTensor: slice {}:{} of dimension {} cuts through a tile; start and end "
        "must be multiples of {}",
        start, end, dim, unit));
  }
  const std::int64_t padded = dim == 0 ? padded_n() : padded_k();
  const std::int64_t padded_end = end == size ? padded : end;
  Data out = data_;
  if (dim == 0) {
    out.qdata = data_.qdata.narrow(0, start / kTileRows, (padded_end - start) / kTileRows);
    out.scale_and_zero = data_.scale_and_zero.narrow(1, start, padded_end - start);
    out.n = end - start;
  } else {
    out.qdata = data_.qdata.narrow(1, start / 128, (padded_end - start) / 128);
    // A group size that does not divide 1024 may cross the cut.
    const BlockSlice blocks =
        slice_blocks(kClassName, 1, start, padded_end, padded, data_.group_size);
    if (blocks.block != data_.group_size) {
      throw ShapeError(fmt::format(
          "Int4TilePackedTo4dTensor: slice {}:{} of dimension 1 cuts through a group of {}", start,
          end, data_.group_size));
    }
    out.scale_and_zero = data_.scale_and_zero.narrow(0, blocks.scale_start, blocks.scale_length);
    out.k = end - start;
    if (data_.act_pre_scale.defined()) {
      out.act_pre_scale =
          data_.act_pre_scale.narrow(data_.act_pre_scale.dim() - 1, start, end - start);
    }
  }
  return std::make_shared<Int4TilePackedTo4dTensor>(std::move(out));
}

WeightTensorPtr Int4TilePackedTo4dTensor::concat_rows(
    std::span<const WeightTensorPtr> parts) const {
  std::vector<Tensor> qdata;
  std::vector<Tensor> groups;
  std::int64_t n = 0;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const Int4TilePackedTo4dTensor*>(part.get());
    // Row padding inside the stack would move the rows behind it.
    const bool is_last = &part == &parts.back();
    if (other == nullptr || (!is_last && other->padded_n() != other->data_.n)) return nullptr;
    const Data& o = other->data_;
    if (o.group_size != data_.group_size || o.k != data_.k ||
        o.qdata.shape()[1] != data_.qdata.shape()[1] ||
        !same_or_absent(o.act_pre_scale, data_.act_pre_scale)) {
      return nullptr;
    }
    n += o.n;
    qdata.push_back(o.qdata);
    groups.push_back(o.scale_and_zero);
  }
  Data out = data_;
  out.n = n;
  out.qdata = torchao_cpp::concat_rows(qdata);
  out.scale_and_zero = concat_middle(groups);
  return std::make_shared<Int4TilePackedTo4dTensor>(std::move(out));
}

std::string Int4TilePackedTo4dTensor::describe() const {
  return fmt::format("int4 tiles, block [1, {}], padded to [{}, {}]{}", data_.group_size,
                     padded_n(), padded_k(),
                     data_.act_pre_scale.defined() ? ", act_pre_scale" : "");
}

}  // namespace torchao_cpp
