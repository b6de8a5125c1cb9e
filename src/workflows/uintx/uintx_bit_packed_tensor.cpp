// SPDX-License-Identifier: Apache-2.0
#include "workflows/uintx/uintx_bit_packed_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "core/attribute_values.h"
#include "core/block_slice.h"
#include "core/float_formats.h"
#include "core/hqq_quant.h"
#include "core/parts_reader.h"
#include "torchao_cpp/error.h"
#include "workflows/uintx/gemlite_packing.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "UIntxBitPackedTensor";
constexpr std::array<std::string_view, 3> kDataNames{"qdata", "scale", "zero_point"};
constexpr std::array<std::string_view, 4> kAttributeNames{"gemlite_kwargs", "bit_width",
                                                          "group_size", "dtype"};
constexpr std::array<std::string_view, 7> kGemliteFields{
    "in_features",         "out_features", "packing_bitwidth", "data_contiguous",
    "elements_per_sample", "W_group_mode", "meta_args"};

// gemlite's dtype numbers (DType in its dtypes.py).
constexpr std::int64_t kGemliteFloat32 = 0;
constexpr std::int64_t kGemliteFloat16 = 1;
constexpr std::int64_t kGemliteBFloat16 = 2;
constexpr std::int64_t kGemliteFloat8E4M3 = 3;
constexpr std::int64_t kGemliteInt8 = 4;
constexpr std::int64_t kGemliteInt32 = 6;

// gemlite's group modes: how a code becomes a weight.
constexpr std::int64_t kModeNone = 0;    // q, scaled after the sum
constexpr std::int64_t kModeShift = 1;   // q - zero_point, scaled after the sum
constexpr std::int64_t kModeScale = 2;   // q * scale
constexpr std::int64_t kModeAffine = 3;  // (q - zero_point) * scale
constexpr std::int64_t kModeFma = 4;     // q * scale + zero_point

constexpr std::int64_t kGemliteAlignment = 32;  // of K
constexpr std::int64_t kDefaultPackingBitwidth = 32;
constexpr float kInt8Eps = 1e-5f;

std::int64_t gemlite_dtype(DType dtype) noexcept {
  if (dtype == DType::kFloat32) return kGemliteFloat32;
  return dtype == DType::kFloat16 ? kGemliteFloat16 : kGemliteBFloat16;
}

bool is_one_of(std::int64_t value, std::initializer_list<std::int64_t> allowed) noexcept {
  return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

std::int64_t read_field(const PartsReader& reader, const Json& kwargs, std::string_view name,
                        std::initializer_list<std::int64_t> allowed) {
  const std::string what = fmt::format("gemlite_kwargs.{}", name);
  const Json* json = find_value(kwargs, name);
  if (json == nullptr) reader.fail("ao.metadata_invalid", fmt::format("'{}' is missing", what));
  const std::int64_t value = integer_value(reader, *json, what);
  if (value < 0 || (allowed.size() > 0 && !is_one_of(value, allowed)))
    reader.fail("ao.metadata_invalid",
                fmt::format("'{}' is {}, which gemlite does not write here", what, value));
  return value;
}

GemliteKwargs read_gemlite_kwargs(const PartsReader& reader, int bit_width) {
  const Json& kwargs = reader.required_attribute("gemlite_kwargs");
  if (!kwargs.is_object()) reader.fail("ao.metadata_invalid", "'gemlite_kwargs' is no object");
  for (const auto& [name, value] : kwargs.items()) {
    if (std::find(kGemliteFields.begin(), kGemliteFields.end(), name) == kGemliteFields.end())
      reader.fail("ao.metadata_invalid",
                  fmt::format("'gemlite_kwargs' has an unexpected field '{}'", name));
  }
  GemliteKwargs out;
  out.in_features = read_field(reader, kwargs, "in_features", {});
  out.out_features = read_field(reader, kwargs, "out_features", {});
  if (find_value(kwargs, "packing_bitwidth") != nullptr)
    out.packing_bitwidth = read_field(reader, kwargs, "packing_bitwidth", {8, 16, 32});
  if (const Json* contiguous = find_value(kwargs, "data_contiguous"))
    out.data_contiguous = boolean_value(reader, *contiguous, "gemlite_kwargs.data_contiguous");
  if (bit_width == 4) {
    out.elements_per_sample = read_field(reader, kwargs, "elements_per_sample", {2, 4, 8});
    out.weight_group_mode =
        read_field(reader, kwargs, "W_group_mode", {kModeShift, kModeAffine, kModeFma});
  } else {
    out.elements_per_sample = read_field(reader, kwargs, "elements_per_sample", {1});
    out.weight_group_mode = read_field(reader, kwargs, "W_group_mode", {kModeNone, kModeScale});
  }
  const Json* meta_args = find_value(kwargs, "meta_args");
  if (meta_args == nullptr || !meta_args->is_array() || meta_args->size() != out.meta_args.size()) {
    reader.fail("ao.metadata_invalid",
                fmt::format("'gemlite_kwargs.meta_args' is no list of {}", out.meta_args.size()));
  }
  for (std::size_t i = 0; i < out.meta_args.size(); ++i)
    out.meta_args[i] = integer_value(reader, (*meta_args)[i], "gemlite_kwargs.meta_args");
  return out;
}

Json gemlite_attribute(const GemliteKwargs& g) {
  return Json{{"in_features", g.in_features},
              {"out_features", g.out_features},
              {"packing_bitwidth", g.packing_bitwidth ? Json(*g.packing_bitwidth) : Json(nullptr)},
              {"data_contiguous", g.data_contiguous},
              {"elements_per_sample", g.elements_per_sample},
              {"W_group_mode", g.weight_group_mode},
              {"meta_args", g.meta_args}};
}

// 4-bit codes meet float8 activations, 8-bit ones int8.
void check_activation(const PartsReader& reader, const GemliteKwargs& g, int bit_width) {
  if (g.meta_args[GemliteKwargs::kScaledActivations] == 0) return;
  const std::int64_t dtype = g.meta_args[GemliteKwargs::kInputDType];
  const std::int64_t expected = bit_width == 4 ? kGemliteFloat8E4M3 : kGemliteInt8;
  if (dtype != expected) {
    reader.fail(
        "ao.metadata_invalid",
        fmt::format("'gemlite_kwargs.meta_args' asks for activations of gemlite's dtype {}; "
                    "{} weights take {}",
                    dtype, bit_width == 4 ? "4-bit" : "8-bit",
                    bit_width == 4 ? "float8_e4m3fn (3)" : "int8 (4)"));
  }
}

GemliteKwargs make_gemlite_kwargs(const Shape& shape, const UIntxOptions& options,
                                  std::int64_t group_size, DType scale_dtype, DType dtype) {
  const bool is_4bit = options.bit_width == 4;
  const bool is_row = group_size == shape[1];
  GemliteKwargs g;
  g.out_features = shape[0];
  g.in_features = shape[1];
  g.packing_bitwidth = options.packing_bitwidth;
  g.data_contiguous = is_4bit;
  g.elements_per_sample =
      is_4bit ? options.packing_bitwidth.value_or(kDefaultPackingBitwidth) / 4 : 1;
  std::int64_t channel_scale_mode = 0;
  if (is_4bit) {
    g.weight_group_mode = options.is_dynamic || is_row ? kModeAffine : kModeFma;
    channel_scale_mode = options.is_dynamic ? 2 : 0;
  } else {
    g.weight_group_mode = options.is_dynamic ? kModeNone : kModeScale;
    channel_scale_mode = options.is_dynamic ? 3 : 0;
  }
  const std::int64_t output = gemlite_dtype(is_4bit ? scale_dtype : dtype);
  std::int64_t input = output;
  if (options.is_dynamic) input = is_4bit ? kGemliteFloat8E4M3 : kGemliteInt8;
  g.meta_args = {options.is_dynamic ? 1 : 0,
                 options.bit_width,
                 group_size,
                 is_4bit ? 15 : 255,
                 g.elements_per_sample,
                 input,
                 output,
                 input == kGemliteInt8 ? kGemliteInt32 : kGemliteFloat32,
                 gemlite_dtype(scale_dtype),
                 channel_scale_mode,
                 g.weight_group_mode,
                 g.data_contiguous ? 1 : 0};
  return g;
}

// 1 value of float32 of each scale, in the order of `scale`.
Tensor map_float(const Tensor& scale, const Tensor& zero_point, DType dtype, const auto& fn) {
  Tensor out = Tensor::empty(dtype, scale.shape());
  std::byte* to = out.mutable_bytes();
  for (std::int64_t i = 0; i < scale.numel(); ++i) {
    store_float(dtype, to, i,
                fn(load_float(scale.dtype(), scale.bytes(), i),
                   load_float(zero_point.dtype(), zero_point.bytes(), i)));
  }
  return out;
}

void quantize_int4(const Tensor& weight, const UIntxOptions& options,
                   UIntxBitPackedTensor::Data& d) {
  const HqqGroups hqq = quantize_hqq(weight, d.group_size);
  // torchao leaves HQQ's compute_dtype at its default, whatever the weight's dtype.
  d.scale = hqq.scale.to(DType::kFloat16).transposed();
  d.zero_point = hqq.zero.to(DType::kFloat16).transposed();
  d.gemlite = make_gemlite_kwargs(weight.shape(), options, d.group_size, DType::kFloat16, d.dtype);
  if (d.gemlite.weight_group_mode == kModeFma) {
    d.zero_point =
        map_float(d.scale, d.zero_point, DType::kFloat16, [](float s, float z) { return -z * s; });
  }
  d.qdata = pack_gemlite_int4(hqq.codes, d.gemlite.elements_per_sample);
}

void quantize_int8(const Tensor& weight, const UIntxOptions& options,
                   UIntxBitPackedTensor::Data& d) {
  const BlockSize block{1, d.group_size};
  const QuantRange range = signed_quant_range(8);
  const AffineQParams q =
      choose_qparams_affine(weight, block, MappingType::kSymmetric, range, kInt8Eps);
  d.qdata = quantize_affine(weight, block, q.scale, q.zero_point, range).transposed();
  d.scale = q.scale.to(options.is_dynamic ? DType::kFloat32 : d.dtype).transposed();
  d.zero_point = Tensor::empty(DType::kInt32, {1, 0});
  d.gemlite = make_gemlite_kwargs(weight.shape(), options, d.group_size, d.scale.dtype(), d.dtype);
}

// torchao's way back from q * scale + zero_point to (q - zero_point') * scale.
float zero_point_of_fma(float scale, float zero_point) noexcept {
  constexpr float kMinScale = 1e-8f;
  if (std::fabs(scale) <= kMinScale) scale = scale < 0 ? -kMinScale : kMinScale;
  const float z = -zero_point / scale;
  return z < -100.0f ? -100.0f : (z > 100.0f ? 100.0f : z);
}

// Two's complement of q - 8, two codes a byte, the even column low.
Tensor signed_nibbles(const Tensor& codes) {
  Tensor out = Tensor::empty(DType::kInt8, {codes.shape()[0], codes.shape()[1] / 2});
  const auto* q = codes.data<std::uint8_t>();
  for (std::uint8_t& byte : out.mutable_span<std::uint8_t>()) {
    byte = static_cast<std::uint8_t>((q[0] ^ 8) | (q[1] ^ 8) << 4);
    q += 2;
  }
  return out;
}

// Along dimension 1, which is N in what is stored.
Tensor concat_columns(std::span<const Tensor> parts) {
  std::int64_t columns = 0;
  for (const Tensor& part : parts) columns += part.shape()[1];
  const std::int64_t rows = parts[0].shape()[0];
  Tensor out = Tensor::empty(parts[0].dtype(), {rows, columns});
  std::byte* to = out.mutable_bytes();
  for (std::int64_t r = 0; r < rows; ++r) {
    for (const Tensor& part : parts) {
      const std::int64_t bytes = part.shape()[1] * dtype_size_bytes(part.dtype());
      if (bytes > 0) std::memcpy(to, part.bytes() + r * bytes, static_cast<std::size_t>(bytes));
      to += bytes;
    }
  }
  return out;
}

bool can_join(const UIntxBitPackedTensor::Data& a, const UIntxBitPackedTensor::Data& b) {
  return a.bit_width == b.bit_width && a.group_size == b.group_size && a.dtype == b.dtype &&
         a.gemlite.in_features == b.gemlite.in_features &&
         a.gemlite.elements_per_sample == b.gemlite.elements_per_sample &&
         a.gemlite.weight_group_mode == b.gemlite.weight_group_mode &&
         a.gemlite.meta_args == b.gemlite.meta_args && a.scale.dtype() == b.scale.dtype() &&
         a.zero_point.dtype() == b.zero_point.dtype();
}

}  // namespace

namespace {
constexpr std::array<std::string_view, 5> kOperations{
    "int4_weight_only", "int8_weight_only", "intx_weight_only",
    "int8_dynamic_activation_int8_weight", "float8_dynamic_activation_int4_weight"};
}  // namespace

const WeightTensorType kUIntxBitPackedTensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = {},
    .tensor_attribute_names = kAttributeNames,
    .optional_tensor_attribute_names = {},
    .safetensors_serializable = false,
    .operations = kOperations,
    .from_parts = &UIntxBitPackedTensor::from_parts,
};

std::string_view UIntxBitPackedTensor::class_name() const noexcept { return kClassName; }

WeightTensorPtr UIntxBitPackedTensor::from_parts(const TensorParts& parts, std::string_view fqn) {
  const PartsReader reader(kUIntxBitPackedTensorType, parts, fqn);
  const auto [packed_k, n] = reader.matrix_shape("qdata");
  Data d;
  const std::int64_t bits =
      integer_value(reader, reader.required_attribute("bit_width"), "bit_width");
  if (bits != 4 && bits != 8)
    reader.fail("ao.metadata_invalid", fmt::format("'bit_width' is {}; expected 4 or 8", bits));
  d.bit_width = static_cast<int>(bits);
  d.dtype = reader.dtype("dtype", {DType::kFloat16, DType::kBFloat16});
  d.gemlite = read_gemlite_kwargs(reader, d.bit_width);
  check_activation(reader, d.gemlite, d.bit_width);
  d.group_size = integer_value(reader, reader.required_attribute("group_size"), "group_size");
  const std::int64_t e = d.gemlite.elements_per_sample;
  const std::int64_t k = packed_k * e;
  if (d.gemlite.out_features != n || d.gemlite.in_features != k || d.group_size < 1 ||
      k % d.group_size != 0 || (bits == 8 && d.group_size != k)) {
    reader.fail(
        "ao.shape_mismatch",
        fmt::format("'qdata' is [{}, {}], {} codes an element; it does not fit out_features "
                    "{}, in_features {} and group_size {}",
                    packed_k, n, e, d.gemlite.out_features, d.gemlite.in_features, d.group_size));
  }
  const Shape scale_shape{k / d.group_size, n};
  reader.expect_dtype("qdata", {bits == 8 ? DType::kInt8 : gemlite_packed_dtype(e)});
  reader.expect_dtype("scale", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  reader.expect_shape("scale", scale_shape);
  d.qdata = reader.tensor("qdata");
  d.scale = reader.tensor("scale");
  d.zero_point = reader.tensor("zero_point");
  if (bits == 4) {
    reader.expect_dtype("zero_point", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
    reader.expect_shape("zero_point", scale_shape);
  } else if (d.zero_point.numel() != 0) {
    reader.fail("ao.shape_mismatch", "'zero_point' is not empty; 8-bit weights are symmetric");
  }
  return std::make_shared<UIntxBitPackedTensor>(std::move(d));
}

WeightTensorPtr UIntxBitPackedTensor::from_hp(const Tensor& weight, const UIntxOptions& options) {
  check_weight_matrix(weight, kClassName);
  if (weight.dtype() == DType::kFloat32) {
    throw UnsupportedError(
        fmt::format("{}: dtype must be float16 or bfloat16, got float32", kClassName));
  }
  const std::int64_t k = weight.shape()[1];
  Data d;
  d.bit_width = options.bit_width;
  d.group_size = options.group_size.value_or(k);
  d.dtype = weight.dtype();
  if (k % kGemliteAlignment != 0 || k % d.group_size != 0) {
    throw ShapeError(
        fmt::format("{} {}: in_features should be divisible by {} and by the group_size {}",
                    kClassName, shape_to_string(weight.shape()), kGemliteAlignment, d.group_size));
  }
  if (options.bit_width == 4) {
    quantize_int4(weight, options, d);
  } else {
    quantize_int8(weight, options, d);
  }
  return std::make_shared<UIntxBitPackedTensor>(std::move(d));
}

Tensor UIntxBitPackedTensor::dequantize(std::optional<DType> output_dtype) const {
  const DType out = output_dtype.value_or(data_.dtype);
  const BlockSize block{1, data_.group_size};
  const Tensor scale = data_.scale.transposed();
  if (data_.bit_width == 8)
    return dequantize_affine(data_.qdata.transposed(), block, scale, {}, out);
  Tensor zero_point = data_.zero_point;
  if (data_.gemlite.weight_group_mode == kModeFma)
    zero_point = map_float(data_.scale, zero_point, data_.scale.dtype(), zero_point_of_fma);
  return dequantize_affine(unpack_gemlite_int4(data_.qdata), block, scale, zero_point.transposed(),
                           out);
}

TensorParts UIntxBitPackedTensor::to_parts() const {
  TensorParts out;
  out.class_name = kClassName;
  out.attributes = dump_json_python(Json{{"gemlite_kwargs", gemlite_attribute(data_.gemlite)},
                                         {"bit_width", data_.bit_width},
                                         {"group_size", data_.group_size},
                                         {"dtype", dtype_attribute(data_.dtype)}});
  out.parts = {{"qdata", data_.qdata}, {"scale", data_.scale}, {"zero_point", data_.zero_point}};
  return out;
}

// Canonical form, untransposed. 8 bits: int8 codes and a scale a row. 4 bits: nibbles of q - 8 with
// a float32 zero that is added, q * s + z = (q - 8) * s + (z + 8 * s): that sum is exact unless z
// is thousands of steps away, so the weight rounds once, as gemlite's fused form does (its form
// with a subtracted zero point rounds twice). gemlite rounds activations to -127..127 (int8), and
// with float8 activations the weights to float8 as well; here they take the range and the weights
// that torchao's other classes have.
QuantizedWeight UIntxBitPackedTensor::to_quantized_weight() const {
  const bool is_dynamic = data_.gemlite.meta_args[GemliteKwargs::kScaledActivations] != 0;
  QuantizedWeight out;
  out.output_size = data_.gemlite.out_features;
  out.input_size = data_.gemlite.in_features;
  out.block_size = {1, data_.group_size};
  out.scale = data_.scale.transposed();
  out.dtype = data_.scale.dtype();
  out.bias_rounding = BiasRounding::kSeparate;
  if (data_.bit_width == 4) {
    out.weight_dtype = DType::kInt4;
    out.codes_per_byte = 2;
    out.qdata = signed_nibbles(unpack_gemlite_int4(data_.qdata));
    out.zero_point_domain = ZeroPointDomain::kFloat;
    const bool is_fma = data_.gemlite.weight_group_mode == kModeFma;
    out.zero_point =
        map_float(data_.scale, data_.zero_point, DType::kFloat32, [is_fma](float s, float z) {
          return is_fma ? z + 8.0f * s : (8.0f - z) * s;
        }).transposed();
    if (is_dynamic) {
      out.activation.kind = ActivationQuant::Kind::kFloat8Dynamic;
      out.activation.dtype = DType::kFloat8E4M3FN;
    }
    return out;
  }
  out.qdata = data_.qdata.transposed();
  if (is_dynamic) {
    out.scale = out.scale.to(DType::kFloat32);
    out.dtype = data_.dtype;
    out.bias_rounding = BiasRounding::kFused;
    out.activation.kind = ActivationQuant::Kind::kInt8Dynamic;
  }
  return out;
}

WeightTensorPtr UIntxBitPackedTensor::slice(int dim, std::int64_t start, std::int64_t end) const {
  const GemliteKwargs& g = data_.gemlite;
  const std::int64_t size = dim == 0 ? g.out_features : g.in_features;
  check_slice(kClassName, dim, start, end, size);
  const std::int64_t e = dim == 1 ? g.elements_per_sample : 1;
  if (start % e != 0 || end % e != 0) {
    throw ShapeError(fmt::format("{}: slice {}:{} of dimension 1; the ends must be multiples of {}",
                                 kClassName, start, end, e));
  }
  const BlockSlice blocks =
      slice_blocks(kClassName, dim, start, end, size, dim == 0 ? 1 : data_.group_size);
  const auto stored_scales = [&](const Tensor& scales) {
    return scales.numel() == 0 ? scales
                               : scales.narrow(1 - dim, blocks.scale_start, blocks.scale_length);
  };
  Data out = data_;
  out.qdata = data_.qdata.narrow(1 - dim, start / e, (end - start) / e);
  out.scale = stored_scales(data_.scale);
  out.zero_point = stored_scales(data_.zero_point);
  (dim == 0 ? out.gemlite.out_features : out.gemlite.in_features) = end - start;
  if (dim == 1) {
    out.group_size = blocks.block;
    out.gemlite.meta_args[GemliteKwargs::kGroupSize] = blocks.block;
  }
  return std::make_shared<UIntxBitPackedTensor>(std::move(out));
}

WeightTensorPtr UIntxBitPackedTensor::concat_rows(std::span<const WeightTensorPtr> parts) const {
  std::vector<Tensor> qdata;
  std::vector<Tensor> scale;
  std::vector<Tensor> zero_point;
  std::int64_t rows = 0;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const UIntxBitPackedTensor*>(part.get());
    if (other == nullptr || !can_join(data_, other->data_)) return nullptr;
    qdata.push_back(other->data_.qdata);
    scale.push_back(other->data_.scale);
    zero_point.push_back(other->data_.zero_point);
    rows += other->data_.gemlite.out_features;
  }
  Data out = data_;
  out.qdata = concat_columns(qdata);
  out.scale = concat_columns(scale);
  if (data_.zero_point.numel() > 0) out.zero_point = concat_columns(zero_point);
  out.gemlite.out_features = rows;
  return std::make_shared<UIntxBitPackedTensor>(std::move(out));
}

std::string UIntxBitPackedTensor::describe() const {
  const bool is_dynamic = data_.gemlite.meta_args[GemliteKwargs::kScaledActivations] != 0;
  return fmt::format("uint{}, group {}{}", data_.bit_width, data_.group_size,
                     !is_dynamic            ? ""
                     : data_.bit_width == 4 ? ", float8 activations"
                                            : ", int8 activations");
}

}  // namespace torchao_cpp
