// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/float_formats.h"
#include "core/parts_reader.h"
#include "io/legacy_weight.h"
#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

/// Codes one a byte, however they were stored.
struct IntegerCodes {
  std::function<Tensor()> read;  ///< int8 or uint8 [N, K].
  std::int64_t nbytes = 0;
  bool is_signed = true;
  std::int64_t min = 0;  ///< Of the codes, where the weight does not say.
  std::int64_t max = 0;
};

/// The signed type that today's class gives the codes, and what is subtracted from codes and zero
/// points alike, which leaves every difference as it is.
struct TargetType {
  int bits = 8;
  int shift = 0;
};

struct IntegerWeight {
  AffineWeight affine;
  IntegerCodes codes;
  TorchTensor scale;
  std::optional<TorchTensor> zero_point;
  TargetType target;
  bool has_intx_form = false;  ///< IntxUnpackedToInt8Tensor even for 8 bits.
};

[[noreturn]] void fail(const AffineWeight& weight, std::string_view kind,
                       std::string_view message) {
  throw CheckpointError(
      fmt::format("weight {} (AffineQuantizedTensor): {}", quoted_name(weight.fqn), message),
      std::string(kind));
}

// Plain codes.

IntegerCodes plain_codes(const TorchObject& impl, const AffineWeight& weight) {
  const TorchTensor data = impl.required_tensor("int_data");
  if (data.dtype() != DType::kInt8 && data.dtype() != DType::kUInt8) {
    impl.fail("ao.dtype_mismatch",
              fmt::format("'int_data' is {}; expected int8 or uint8", dtype_name(data.dtype())));
  }
  if (data.shape() != Shape{weight.n, weight.k}) {
    impl.fail("ao.shape_mismatch", fmt::format("'int_data' has shape {}; expected [{}, {}]",
                                               shape_to_string(data.shape()), weight.n, weight.k));
  }
  const bool is_signed = data.dtype() == DType::kInt8;
  return {[data] { return data.read(); }, data.nbytes(), is_signed, is_signed ? -128 : 0,
          is_signed ? 127 : 255};
}

// Two signed nibbles a byte, the even column low (CUTLASS).

IntegerCodes nibble_codes(const TorchObject& impl, const AffineWeight& weight) {
  const TorchTensor data = impl.required_tensor("int_data");
  if (data.dtype() != DType::kInt8)
    impl.fail("ao.dtype_mismatch",
              fmt::format("'int_data' is {}; expected int8", dtype_name(data.dtype())));
  if (weight.k % 2 != 0 || data.shape() != Shape{weight.n, weight.k / 2}) {
    impl.fail("ao.shape_mismatch", fmt::format("'int_data' has shape {}; expected [{}, {} / 2]",
                                               shape_to_string(data.shape()), weight.n, weight.k));
  }
  const auto read = [data] {
    const Tensor packed = data.read();
    Tensor out = Tensor::empty(DType::kInt8, {packed.shape()[0], packed.shape()[1] * 2});
    auto* to = out.mutable_data<std::int8_t>();
    for (const std::uint8_t byte : packed.span<std::uint8_t>()) {
      *to++ = static_cast<std::int8_t>(((byte & 15) ^ 8) - 8);
      *to++ = static_cast<std::int8_t>(((byte >> 4) ^ 8) - 8);
    }
    return out;
  };
  return {read, data.nbytes(), true, -8, 7};
}

// UintxTensor: unsigned codes in shards of 4, 2 and 1 bits, the first of which holds the low bits.
// A shard of b bits has 8 / b groups of codes side by side along pack_dim: byte i holds code i of
// each group, the first group in its low bits.

struct Shard {
  TorchTensor data;
  int bits;
  int low_bit;
};

std::vector<Shard> read_shards(const TorchObject& uintx, std::int64_t bit_width, bool packs_rows,
                               const AffineWeight& weight) {
  std::vector<Shard> out;
  int low_bit = 0;
  for (const int bits : {4, 2, 1}) {
    if ((bit_width & bits) == 0) continue;
    Shape shape{weight.n, weight.k};
    auto& packed = shape[packs_rows ? 0 : 1];
    if (packed * bits % 8 != 0)
      uintx.fail("ao.shape_mismatch",
                 fmt::format("{} codes of {} bits are no whole bytes", packed, bits));
    packed = packed * bits / 8;
    const std::string name = fmt::format("int{}_shard", bits);
    Shard shard{uintx.required_tensor(name), bits, low_bit};
    if (shard.data.dtype() != DType::kUInt8)
      uintx.fail("ao.dtype_mismatch",
                 fmt::format("'{}' is {}; expected uint8", name, dtype_name(shard.data.dtype())));
    if (shard.data.shape() != shape) {
      uintx.fail("ao.shape_mismatch",
                 fmt::format("'{}' has shape {}; expected {}", name,
                             shape_to_string(shard.data.shape()), shape_to_string(shape)));
    }
    out.push_back(std::move(shard));
    low_bit += bits;
  }
  return out;
}

// Codes of one row of bytes: group j begins `group_stride` codes after group j - 1.
void add_shard(std::span<const std::uint8_t> bytes, const Shard& shard, std::int64_t group_stride,
               std::uint8_t* codes) {
  const int mask = (1 << shard.bits) - 1;
  for (int j = 0; j < 8 / shard.bits; ++j) {
    std::uint8_t* group = codes + j * group_stride;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      group[i] = static_cast<std::uint8_t>(group[i] | (bytes[i] >> (shard.bits * j) & mask)
                                                          << shard.low_bit);
    }
  }
}

Tensor unpack_shards(const std::vector<Shard>& shards, bool packs_rows, std::int64_t n,
                     std::int64_t k) {
  Tensor out = Tensor::zeros(DType::kUInt8, {n, k});
  auto* codes = out.mutable_data<std::uint8_t>();
  for (const Shard& shard : shards) {
    const Tensor packed = shard.data.read();
    const auto bytes = packed.span<std::uint8_t>();
    if (packs_rows) {
      // Rows of the shard are whole rows of each group.
      add_shard(bytes, shard, static_cast<std::int64_t>(bytes.size()), codes);
      continue;
    }
    const auto row = static_cast<std::size_t>(packed.shape()[1]);
    for (std::int64_t r = 0; r < n; ++r) {
      add_shard(bytes.subspan(static_cast<std::size_t>(r) * row, row), shard,
                static_cast<std::int64_t>(row), codes + r * k);
    }
  }
  return out;
}

IntegerCodes uintx_codes(const TorchObject& impl, const AffineWeight& weight) {
  const TorchObject uintx = impl.required_object("int_data");
  if (uintx.class_name() != "UintxTensor") uintx.fail("pickle.type_error", "is no UintxTensor");
  uintx.expect_attributes(
      {"int4_shard", "int2_shard", "int1_shard", "packed_shape", "bit_width", "pack_dim"});
  const std::int64_t bit_width = uintx.integer("bit_width").value_or(0);
  const std::int64_t pack_dim = uintx.integer("pack_dim").value_or(-1);
  const PickleValue* shape = uintx.find("packed_shape");
  if (bit_width < 1 || bit_width > 7 || pack_dim < -2 || pack_dim > 1) {
    uintx.fail("ao.metadata_invalid",
               fmt::format("has bit_width {} and pack_dim {}; expected 1 to 7 and a dimension",
                           bit_width, pack_dim));
  }
  if (shape == nullptr || pickled_integers(*shape, uintx.fqn()) != Shape{weight.n, weight.k}) {
    uintx.fail("ao.shape_mismatch",
               fmt::format("'packed_shape' is not [{}, {}]", weight.n, weight.k));
  }
  const bool packs_rows = pack_dim == 0 || pack_dim == -2;
  IntegerCodes out;
  std::vector<Shard> shards = read_shards(uintx, bit_width, packs_rows, weight);
  for (const Shard& shard : shards) out.nbytes += shard.data.nbytes();
  out.read = [shards = std::move(shards), packs_rows, n = weight.n, k = weight.k] {
    return unpack_shards(shards, packs_rows, n, k);
  };
  out.is_signed = false;
  out.max = (1 << bit_width) - 1;
  return out;
}

// To today's classes.

TargetType target_type(const AffineWeight& weight, const IntegerCodes& codes) {
  const std::int64_t min = weight.quant_min.value_or(codes.min);
  const std::int64_t max = weight.quant_max.value_or(codes.max);
  if (min > max || min < codes.min || max > codes.max) {
    fail(weight, "ao.metadata_invalid",
         fmt::format("quantizes to {}..{}, but its codes are in {}..{}", min, max, codes.min,
                     codes.max));
  }
  TargetType out{1, 0};
  if (codes.is_signed) {
    while (min < signed_quant_range(out.bits).min || max > signed_quant_range(out.bits).max)
      ++out.bits;
    return out;
  }
  while (max >= (1 << out.bits)) ++out.bits;
  out.shift = 1 << (out.bits - 1);
  return out;
}

Tensor shifted_codes(const IntegerWeight& w) {
  const Tensor codes = w.codes.read();
  if (w.codes.is_signed) return codes;
  Tensor out = Tensor::empty(DType::kInt8, codes.shape());
  auto* to = out.mutable_data<std::int8_t>();
  for (const std::uint8_t code : codes.span<std::uint8_t>()) {
    const int shifted = code - w.target.shift;
    if (shifted > 127)
      fail(w.affine, "ao.metadata_invalid", fmt::format("has the code {}, above its range", code));
    *to++ = static_cast<std::int8_t>(shifted);
  }
  return out;
}

double zero_point_value(const Tensor& t, std::int64_t i) {
  switch (t.dtype()) {
    case DType::kInt8:
      return t.data<std::int8_t>()[i];
    case DType::kUInt8:
      return t.data<std::uint8_t>()[i];
    case DType::kInt16:
      return t.data<std::int16_t>()[i];
    case DType::kInt32:
      return t.data<std::int32_t>()[i];
    case DType::kInt64:
      return static_cast<double>(t.data<std::int64_t>()[i]);
    default:
      return load_float(t.dtype(), t.bytes(), i);
  }
}

bool is_zero_point_dtype(DType dtype) {
  constexpr std::array<DType, 5> kIntegers{DType::kInt8, DType::kUInt8, DType::kInt16,
                                           DType::kInt32, DType::kInt64};
  return is_high_precision(dtype) ||
         std::find(kIntegers.begin(), kIntegers.end(), dtype) != kIntegers.end();
}

// int8 where the values allow it, else the floats as stored.
Tensor zero_points(const IntegerWeight& w, const Shape& shape) {
  if (!w.zero_point) {
    Tensor out = Tensor::empty(DType::kInt8, shape);
    std::memset(out.mutable_bytes(), static_cast<unsigned char>(-w.target.shift),
                static_cast<std::size_t>(out.nbytes()));
    return out;
  }
  const Tensor stored = w.zero_point->read();
  Tensor out = Tensor::empty(DType::kInt8, shape);
  auto* to = out.mutable_data<std::int8_t>();
  for (std::int64_t i = 0; i < stored.numel(); ++i) {
    const double value = zero_point_value(stored, i) - w.target.shift;
    if (value >= -128 && value <= 127 && value == std::nearbyint(value)) {
      to[i] = static_cast<std::int8_t>(value);
    } else if (is_high_precision(stored.dtype()) && w.target.shift == 0) {
      return stored.reshape(shape);
    } else {
      fail(w.affine, "bin.unsupported_legacy_layout",
           fmt::format("has the zero point {}, which no class of today holds", value));
    }
  }
  return out;
}

Json int8_activation_attribute(LegacyActivation::Kind kind) {
  if (kind == LegacyActivation::Kind::kNone) return nullptr;
  const MappingType mapping = kind == LegacyActivation::Kind::kInt8Symmetric
                                  ? MappingType::kSymmetric
                                  : MappingType::kAsymmetric;
  return Json{{"_type", "QuantizeTensorToInt8Kwargs"},
              {"_data", Json{{"granularity", granularity_attribute(PerRow{})},
                             {"mapping_type", mapping_type_attribute(mapping)}}}};
}

CheckpointEntry read_integer_weight(const IntegerWeight& w) {
  const AffineWeight& affine = w.affine;
  const Shape shape{affine.rows(), affine.columns()};
  const Tensor zero_point = zero_points(w, shape);
  const bool is_weight_only = affine.activation.kind == LegacyActivation::Kind::kNone;
  // Int8Tensor multiplies whole rows without their zero points, and has integer products for whole
  // rows alone.
  const bool is_int8 = w.target.bits == 8 && w.target.shift == 0 && !w.has_intx_form &&
                       is_all_zero(zero_point) &&
                       (is_weight_only || affine.block_size[1] == affine.k);
  CheckpointEntry entry;
  entry.fqn = affine.fqn;
  TensorParts& parts = entry.parts.emplace();
  if (affine.activation.pre_scale) {
    if (!is_int8)
      fail(affine, "bin.unsupported_legacy_layout",
           "scales the activation of a weight whose class of today has no such scale");
    parts.parts.emplace_back("act_pre_scale",
                             inverted_scale(*affine.activation.pre_scale, affine.k, affine.fqn));
  }
  parts.parts.emplace_back("qdata", shifted_codes(w));
  parts.parts.emplace_back("scale", w.scale.read().reshape(shape));
  if (is_int8) {
    parts.class_name = "Int8Tensor";
    parts.attributes = dump_json_python(
        Json{{"act_quant_kwargs", int8_activation_attribute(affine.activation.kind)},
             {"block_size", block_size_attribute(affine.block_size)},
             {"dtype", dtype_attribute(affine.dtype)}});
    return entry;
  }
  parts.class_name = "IntxUnpackedToInt8Tensor";
  parts.parts.emplace_back("zero_point", zero_point);
  const auto target = dtype_from_name(fmt::format("int{}", w.target.bits));
  parts.attributes = dump_json_python(Json{
      {"target_dtype", dtype_attribute(target.value_or(DType::kInt8))},
      {"block_size", block_size_attribute(affine.block_size)},
      {"dtype", dtype_attribute(affine.dtype)},
      {"activation_quantization", is_weight_only ? Json(nullptr) : Json("int8_asym_per_token")}});
  return entry;
}

void check_per_block(const TorchObject& impl, const AffineWeight& weight, std::string_view name,
                     const TorchTensor& tensor) {
  if (tensor.numel() == weight.rows() * weight.columns()) return;
  impl.fail("ao.shape_mismatch",
            fmt::format("'{}' has shape {}; expected {} elements, one for each block", name,
                        shape_to_string(tensor.shape()), weight.rows() * weight.columns()));
}

}  // namespace

// w = (code - zero_point) * scale, one scale a block whatever the rank of the stored scale.
// Int8Tensor where that says the same, IntxUnpackedToInt8Tensor otherwise.
TorchEntry read_legacy_integer(const TorchObject& impl, AffineWeight weight, LegacyContext&) {
  impl.expect_attributes({"int_data", "scale", "zero_point", "_layout"});
  if (weight.zero_point_domain == "FLOAT")
    impl.fail("bin.unsupported_legacy_layout", "has a float zero point domain");
  if (weight.activation.kind == LegacyActivation::Kind::kFloat8)
    impl.fail("bin.unsupported_legacy_layout", "has float8 activations for an integer weight");
  const std::string_view name = impl.class_name();
  IntegerCodes codes = name == "UintxAQTTensorImpl"     ? uintx_codes(impl, weight)
                       : name == "Int4PackedTensorImpl" ? nibble_codes(impl, weight)
                                                        : plain_codes(impl, weight);
  IntegerWeight w{std::move(weight),
                  std::move(codes),
                  impl.required_tensor("scale"),
                  impl.tensor("zero_point"),
                  {},
                  name != "PlainAQTTensorImpl"};
  check_per_block(impl, w.affine, "scale", w.scale);
  if (!is_high_precision(w.scale.dtype()))
    impl.fail("ao.dtype_mismatch", fmt::format("'scale' is {}", dtype_name(w.scale.dtype())));
  if (w.zero_point) {
    check_per_block(impl, w.affine, "zero_point", *w.zero_point);
    if (!is_zero_point_dtype(w.zero_point->dtype()))
      impl.fail("ao.dtype_mismatch",
                fmt::format("'zero_point' is {}", dtype_name(w.zero_point->dtype())));
  }
  w.target = target_type(w.affine, w.codes);
  TorchEntry out;
  out.fqn = w.affine.fqn;
  out.is_plain = false;
  out.nbytes = w.codes.nbytes + w.scale.nbytes() + (w.zero_point ? w.zero_point->nbytes() : 0);
  out.read = [w = std::move(w)] { return read_integer_weight(w); };
  return out;
}

}  // namespace torchao_cpp
