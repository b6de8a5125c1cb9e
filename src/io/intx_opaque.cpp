// SPDX-License-Identifier: Apache-2.0
#include "io/intx_opaque.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "core/parts_reader.h"
#include "io/legacy_weight.h"
#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "IntxOpaqueTensor";
constexpr std::string_view kLeaf = ".weight";

/// The plain packing of a weight [N, K].
struct OpaqueWeight {
  std::string fqn;
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t group_size = 0;
  DType dtype = DType::kFloat32;
  bool has_bias = false;
  TorchTensor packed;

  std::int64_t codes() const noexcept { return n * (k / 2); }
  std::int64_t scales() const noexcept { return n * (k / group_size); }
  std::int64_t numel() const noexcept { return codes() + scales() + (has_bias ? n : 0); }
};

[[noreturn]] void refuse(const TorchObject& object, std::string_view why) {
  object.fail(
      "ao.unsupported_type",
      fmt::format("{}, which belongs to one kernel library; quantize the unquantized model "
                  "again with intx_packing_format UNPACKED_TO_INT8, which has the same codes",
                  why));
}

bool boolean(const TorchObject& object, std::string_view name) {
  const Json value = object.attribute(name);
  if (!value.is_boolean())
    object.fail("ao.metadata_invalid", fmt::format("'{}' is not true or false", name));
  return value.get<bool>();
}

OpaqueWeight read_header(const TorchObject& object) {
  object.expect_attributes({"packed_weights", "bit_width", "block_size", "packed_weights_has_zeros",
                            "packed_weights_has_bias", "intx_packing_format"});
  const Json format = object.attribute("intx_packing_format");
  const Json member = format.is_object() ? format.value("_data", Json()) : Json();
  if (member != "OPAQUE_ATEN_KLEIDIAI")
    refuse(object, fmt::format("has the packing {}", member.dump()));
  const auto [n, k] = legacy_matrix_shape(object);
  const PickleValue* block_size = object.find("block_size");
  const auto block = block_size == nullptr ? std::vector<std::int64_t>{}
                                           : pickled_integers(*block_size, object.fqn());
  if (block.size() != 2 || block[0] != 1 || block[1] < 1 || k % block[1] != 0 || k % 2 != 0) {
    object.fail("ao.shape_mismatch",
                fmt::format("'block_size' is {}, which does not divide [{}, {}]",
                            shape_to_string(block), n, k));
  }
  if (object.integer("bit_width") != 4 || boolean(object, "packed_weights_has_zeros"))
    object.fail("ao.metadata_invalid", "is not of 4 bits without zero points, as this packing is");
  OpaqueWeight w{object.fqn(),
                 n,
                 k,
                 block[1],
                 object.dtype(),
                 boolean(object, "packed_weights_has_bias"),
                 object.required_tensor("packed_weights")};
  if (!is_high_precision(w.dtype)) {
    object.fail("ao.dtype_mismatch", fmt::format("has dtype {}; expected float32, float16 or "
                                                 "bfloat16",
                                                 dtype_name(w.dtype)));
  }
  if (w.packed.dtype() != DType::kFloat32) {
    refuse(object,
           fmt::format("holds KleidiAI's packing ({} bytes)", dtype_name(w.packed.dtype())));
  }
  if (w.packed.numel() != w.numel()) {
    object.fail("ao.shape_mismatch",
                fmt::format("'packed_weights' has {} elements; expected {} for [{}, {}] in groups "
                            "of {}",
                            w.packed.numel(), w.numel(), n, k, w.group_size));
  }
  return w;
}

Tensor unpacked_codes(const OpaqueWeight& w, const float* from) {
  Tensor out = Tensor::empty(DType::kInt8, {w.n, w.k});
  auto* to = out.mutable_data<std::int8_t>();
  for (std::int64_t i = 0; i < w.codes(); ++i) {
    if (!(from[i] >= 0.0f && from[i] <= 255.0f) || from[i] != std::trunc(from[i])) {
      throw CheckpointError(
          fmt::format("weight {} ({}): element {} of 'packed_weights' is {}; expected a byte",
                      quoted_name(w.fqn), kClassName, i, from[i]),
          "ao.metadata_invalid");
    }
    const auto byte = static_cast<int>(from[i]);
    to[2 * i] = static_cast<std::int8_t>((byte & 15) - 8);
    to[2 * i + 1] = static_cast<std::int8_t>((byte >> 4) - 8);
  }
  return out;
}

// `count` elements of the vector from `begin`.
Tensor section(const OpaqueWeight& w, std::int64_t begin, Shape shape) {
  const Tensor packed = w.packed.read().reshape({w.numel()});
  return packed.narrow(0, begin, shape_numel(shape)).reshape(std::move(shape));
}

CheckpointEntry unpacked(const OpaqueWeight& w) {
  const Shape blocks{w.n, w.k / w.group_size};
  CheckpointEntry entry;
  entry.fqn = w.fqn;
  TensorParts& parts = entry.parts.emplace();
  parts.class_name = "IntxUnpackedToInt8Tensor";
  parts.attributes = dump_json_python(Json{{"target_dtype", dtype_attribute(DType::kInt4)},
                                           {"block_size", block_size_attribute({1, w.group_size})},
                                           {"dtype", dtype_attribute(w.dtype)},
                                           {"activation_quantization", "int8_asym_per_token"}});
  parts.parts.emplace_back("qdata", unpacked_codes(w, section(w, 0, {w.codes()}).data<float>()));
  parts.parts.emplace_back("scale", section(w, w.codes(), blocks));
  parts.parts.emplace_back("zero_point", Tensor::zeros(DType::kInt8, blocks));
  return entry;
}

}  // namespace

std::optional<TorchEntry> read_intx_opaque(const TorchObject& object, TorchNotes& notes) {
  if (object.class_name() != kClassName) return std::nullopt;
  OpaqueWeight w = read_header(object);
  if (w.has_bias && !w.fqn.ends_with(kLeaf))
    object.fail("ao.metadata_invalid", "holds a bias, but is not called '.weight'");
  notes.add(object.fqn(),
            "IntxOpaqueTensor became IntxUnpackedToInt8Tensor, whose product is a float one and "
            "rounds otherwise");
  TorchEntry out;
  out.fqn = w.fqn;
  out.is_plain = false;
  out.nbytes = w.packed.nbytes();
  out.read = [w = std::move(w)] { return unpacked(w); };
  return out;
}

std::optional<TorchEntry> read_intx_opaque_bias(const TorchObject& object) {
  if (object.class_name() != kClassName) return std::nullopt;
  OpaqueWeight w = read_header(object);
  if (!w.has_bias) return std::nullopt;
  TorchEntry out;
  out.fqn = w.fqn.substr(0, w.fqn.size() - kLeaf.size()) + ".bias";
  out.is_listed = false;
  out.read = [w = std::move(w), fqn = out.fqn] {
    CheckpointEntry entry;
    entry.fqn = fqn;
    entry.plain = section(w, w.codes() + w.scales(), {w.n}).to(w.dtype);
    return entry;
  };
  return out;
}

}  // namespace torchao_cpp
