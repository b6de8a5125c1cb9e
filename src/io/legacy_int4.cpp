// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <cstring>

#include "base/parallel.h"
#include "core/float_formats.h"
#include "core/parts_reader.h"
#include "io/legacy_weight.h"

namespace torchao_cpp {
namespace {

/// A weight of 4-bit codes that the CPU's int4 product takes: the bytes of int4_cpu_order.h, and a
/// scale and a float zero of each group.
struct Int4CpuWeight {
  std::string fqn;
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t group_size = 0;
  DType dtype = DType::kBFloat16;
  TorchTensor packed;          ///< uint8 [N, K/2], a flat buffer.
  TorchTensor scale_and_zero;  ///< [K/g, N, 2]
  Int4CpuOrder order;

  std::int64_t groups() const noexcept { return k / group_size; }
};

void check_int4_cpu(const TorchObject& object, const Int4CpuWeight& w) {
  if (w.packed.dtype() != DType::kUInt8)
    object.fail("ao.dtype_mismatch", fmt::format("the packed codes are {}; expected uint8",
                                                 dtype_name(w.packed.dtype())));
  if (!is_high_precision(w.scale_and_zero.dtype())) {
    object.fail("ao.dtype_mismatch",
                fmt::format("'scale_and_zero' is {}", dtype_name(w.scale_and_zero.dtype())));
  }
  if (w.n % 2 != 0 || w.k % 2 != 0 || w.packed.numel() != w.n * w.k / 2) {
    object.fail("ao.shape_mismatch",
                fmt::format("the packed codes have shape {}; expected [{}, {} / 2]",
                            shape_to_string(w.packed.shape()), w.n, w.k));
  }
  if (w.scale_and_zero.shape() != Shape{w.groups(), w.n, 2}) {
    object.fail("ao.shape_mismatch",
                fmt::format("'scale_and_zero' has shape {}; expected [{}, {}, 2]",
                            shape_to_string(w.scale_and_zero.shape()), w.groups(), w.n));
  }
}

// The old class rounds the product before it adds the zero, which makes the values of a group no
// multiples of one scale: no class of today holds them, so the weight becomes a plain one.
Tensor dequantize_int4_cpu(const Int4CpuWeight& w) {
  const Tensor codes = unpack_int4_cpu(w.packed.read(), w.n, w.k, w.order);
  const Tensor scale_and_zero = w.scale_and_zero.read();
  const DType dtype = scale_and_zero.dtype();
  Tensor out = Tensor::empty(w.dtype, {w.n, w.k});
  std::byte* to = out.mutable_bytes();
  const auto* q = codes.data<std::uint8_t>();
  parallel_for(w.n, w.k > 65536 ? 1 : 65536 / w.k, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c < w.k; ++c) {
        const std::int64_t pair = (c / w.group_size * w.n + r) * 2;
        const float scale = load_float(dtype, scale_and_zero.bytes(), pair);
        const float zero = load_float(dtype, scale_and_zero.bytes(), pair + 1);
        const float product = round_to(dtype, static_cast<float>(q[r * w.k + c] - 8) * scale);
        store_float(w.dtype, to, r * w.k + c, round_to(dtype, product + zero));
      }
    }
  });
  return out;
}

TorchEntry read_int4_cpu(const TorchObject& impl, const AffineWeight& weight,
                         LegacyContext& context) {
  if (weight.activation.pre_scale)
    impl.fail("bin.unsupported_legacy_layout",
              "scales the activation of a weight in the CPU's int4 packing");
  const Int4CpuWeight w{weight.fqn,
                        weight.n,
                        weight.k,
                        weight.block_size[1],
                        weight.dtype,
                        impl.required_tensor("packed_weight"),
                        impl.required_tensor("scale_and_zero"),
                        context.int4_cpu_order};
  check_int4_cpu(impl, w);
  context.notes.add(weight.fqn,
                    "Int4CPU weights round twice, which no class of today does; they are "
                    "dequantized to plain tensors with the same values");
  TorchEntry out;
  out.fqn = weight.fqn;
  out.nbytes = w.packed.nbytes() + w.scale_and_zero.nbytes();
  out.read = [w] {
    CheckpointEntry entry;
    entry.fqn = w.fqn;
    entry.plain = dequantize_int4_cpu(w);
    return entry;
  };
  return out;
}

// Tiles of t column blocks to those of 8, the only ones of today: int32 number w of a row of tiles
// stays that number.
Tensor retiled(const Tensor& packed) {
  const Shape& s = packed.shape();
  const std::int64_t words = s[1] * s[3];
  if (s[3] == 4) return packed;
  Tensor out = Tensor::empty(DType::kInt32, {s[0], words / 4, 32, 4});
  const auto* from = packed.data<std::int32_t>();
  auto* to = out.mutable_data<std::int32_t>();
  for (std::int64_t a = 0; a < s[0]; ++a) {
    for (std::int64_t lane = 0; lane < 32; ++lane) {
      for (std::int64_t w = 0; w < words; ++w) {
        to[((a * (words / 4) + w / 4) * 32 + lane) * 4 + w % 4] =
            from[((a * s[1] + w / s[3]) * 32 + lane) * s[3] + w % s[3]];
      }
    }
  }
  return out;
}

void check_tiles(const TorchObject& impl, const AffineWeight& weight, const TorchTensor& packed) {
  const Json layout = impl.attribute("_layout");
  if (!layout.is_object() || layout.value("_type", Json()) != "TensorCoreTiledLayout")
    impl.fail("ao.metadata_invalid", "'_layout' is no TensorCoreTiledLayout");
  const Json tiles = layout.at("_data").value("inner_k_tiles", Json(8));
  if (tiles != 2 && tiles != 4 && tiles != 8)
    impl.fail("ao.metadata_invalid",
              fmt::format("has inner_k_tiles {}; expected 2, 4 or 8", tiles.dump()));
  const std::int64_t words = tiles.get<std::int64_t>() / 2;
  const Shape& s = packed.shape();
  if (packed.dtype() != DType::kInt32)
    impl.fail("ao.dtype_mismatch",
              fmt::format("'packed_weight' is {}; expected int32", dtype_name(packed.dtype())));
  if (s.size() != 4 || s[2] != 32 || s[3] != words || s[1] * words % 4 != 0) {
    impl.fail("ao.shape_mismatch",
              fmt::format("'packed_weight' has shape {}; expected [N/8, K/{}, 32, {}]",
                          shape_to_string(s), words * 32, words));
  }
  if (weight.dtype != DType::kBFloat16)
    impl.fail("ao.dtype_mismatch",
              fmt::format("has dtype {}; int4 tiles are bfloat16", dtype_name(weight.dtype)));
}

TorchEntry read_tiles(const TorchObject& impl, AffineWeight weight) {
  const TorchTensor packed = impl.required_tensor("packed_weight");
  const TorchTensor scale_and_zero = impl.required_tensor("scale_and_zero");
  check_tiles(impl, weight, packed);
  const Json attributes{{"block_size", block_size_attribute(weight.block_size)},
                        {"shape", Json::array({weight.n, weight.k})}};
  TorchEntry out;
  out.fqn = weight.fqn;
  out.is_plain = false;
  out.nbytes = packed.nbytes() + scale_and_zero.nbytes();
  out.read = [packed, scale_and_zero, weight = std::move(weight),
              text = dump_json_python(attributes)] {
    CheckpointEntry entry;
    entry.fqn = weight.fqn;
    TensorParts& parts = entry.parts.emplace();
    parts.class_name = "Int4TilePackedTo4dTensor";
    parts.attributes = text;
    if (weight.activation.pre_scale)
      parts.parts.emplace_back("act_pre_scale",
                               inverted_scale(*weight.activation.pre_scale, weight.k, weight.fqn));
    parts.parts.emplace_back("qdata", retiled(packed.read()));
    parts.parts.emplace_back("scale_and_zero", scale_and_zero.read());
    return entry;
  };
  return out;
}

// Codes less 8 as signed nibbles, and [K/g, N, 2] as two tensors: Int4Tensor, which forms the same
// q * scale + zero.
CheckpointEntry int4_tensor(const Int4CpuWeight& w,
                            const std::optional<TorchTensor>& act_pre_scale) {
  const Tensor codes = unpack_int4_cpu(w.packed.read(), w.n, w.k, w.order);
  Tensor qdata = Tensor::empty(DType::kInt8, {w.n, w.k / 2});
  const auto* q = codes.data<std::uint8_t>();
  for (std::uint8_t& byte : qdata.mutable_span<std::uint8_t>()) {
    byte = static_cast<std::uint8_t>((q[0] ^ 8) | (q[1] ^ 8) << 4);  // two's complement of q - 8
    q += 2;
  }
  const Tensor pairs = w.scale_and_zero.read();
  std::array<Tensor, 2> halves;
  const std::int64_t item = dtype_size_bytes(pairs.dtype());
  for (std::int64_t half = 0; half < 2; ++half) {
    Tensor& t = halves[static_cast<std::size_t>(half)];
    t = Tensor::empty(pairs.dtype(), {w.groups(), w.n});
    std::byte* to = t.mutable_bytes();
    for (std::int64_t i = 0; i < t.numel(); ++i)
      std::memcpy(to + i * item, pairs.bytes() + (2 * i + half) * item,
                  static_cast<std::size_t>(item));
  }
  CheckpointEntry entry;
  entry.fqn = w.fqn;
  TensorParts& parts = entry.parts.emplace();
  parts.class_name = "Int4Tensor";
  parts.attributes = dump_json_python(Json{{"activation_dtype", dtype_attribute(DType::kBFloat16)},
                                           {"block_size", block_size_attribute({1, w.group_size})},
                                           {"shape", Json::array({w.n, w.k})}});
  if (act_pre_scale) parts.parts.emplace_back("act_pre_scale", act_pre_scale->read());
  parts.parts.emplace_back("qdata", std::move(qdata));
  parts.parts.emplace_back("scale", halves[0]);
  parts.parts.emplace_back("zero_point", halves[1]);
  return entry;
}

}  // namespace

// w = (q - 8) * scale + zero, with a float zero of each group.
TorchEntry read_legacy_int4(const TorchObject& impl, AffineWeight weight, LegacyContext& context) {
  impl.expect_attributes({"packed_weight", "scale_and_zero", "transposed", "_layout"});
  if (weight.zero_point_domain != "FLOAT") {
    impl.fail("bin.unsupported_legacy_layout",
              fmt::format("has the zero point domain '{}'; 4-bit codes have float zeros",
                          weight.zero_point_domain));
  }
  if (weight.activation.kind != LegacyActivation::Kind::kNone)
    impl.fail("bin.unsupported_legacy_layout", "has quantized activations for packed 4-bit codes");
  if (weight.block_size[0] != 1)
    impl.fail("ao.shape_mismatch", "'block_size' has more than one row; 4-bit codes have groups");
  return impl.class_name() == "Int4CPUAQTTensorImpl" ? read_int4_cpu(impl, weight, context)
                                                     : read_tiles(impl, std::move(weight));
}

TorchEntry read_int4_opaque(const TorchObject& object, LegacyContext& context) {
  if (object.find("act_mapping_type") != nullptr) {
    object.fail("ao.unsupported_type",
                "holds the packing of torchao's CPU kernel for int8 activations; quantize the "
                "unquantized model again with Int8DynamicActivationIntxWeightConfig");
  }
  object.expect_attributes({"qdata", "scale_and_zero", "block_size", "act_pre_scale"});
  const PickleValue* block_size = object.find("block_size");
  const auto block = block_size == nullptr ? std::vector<std::int64_t>{}
                                           : pickled_integers(*block_size, object.fqn());
  const auto s = legacy_matrix_shape(object);
  if (block.size() != 2 || block[0] != 1 || block[1] < 1 || s[1] % block[1] != 0) {
    object.fail("ao.shape_mismatch",
                fmt::format("'block_size' is {}, which does not divide the weight {}",
                            shape_to_string(block), shape_to_string(s)));
  }
  const Int4CpuWeight w{object.fqn(),
                        s[0],
                        s[1],
                        block[1],
                        object.dtype(),
                        object.required_tensor("qdata"),
                        object.required_tensor("scale_and_zero"),
                        context.int4_cpu_order};
  check_int4_cpu(object, w);
  TorchEntry out;
  out.fqn = w.fqn;
  out.is_plain = false;
  out.nbytes = w.packed.nbytes() + w.scale_and_zero.nbytes();
  out.read = [w, act_pre_scale = object.tensor("act_pre_scale")] {
    return int4_tensor(w, act_pre_scale);
  };
  return out;
}

}  // namespace torchao_cpp
