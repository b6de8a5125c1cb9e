// SPDX-License-Identifier: Apache-2.0
#include "io/pickle_globals.h"

#include <algorithm>
#include <array>

namespace torchao_cpp {
namespace {

using Role = PickleRole;

constexpr auto kGlobals = std::to_array<PickleGlobal>({
    {"collections", "OrderedDict", Role::kOrderedDict},
    {"torch", "Size", Role::kSize},
    {"torch", "device", Role::kDevice},
    {"torch.serialization", "_get_layout", Role::kGetLayout},
    {"torch._utils", "_rebuild_tensor_v2", Role::kRebuildTensorV2},
    {"torch._utils", "_rebuild_tensor_v3", Role::kRebuildTensorV3},
    {"torch._utils", "_rebuild_parameter", Role::kRebuildParameter},
    {"torch._utils", "_rebuild_wrapper_subclass", Role::kRebuildWrapperSubclass},
    {"torch._tensor", "_rebuild_from_type_v2", Role::kRebuildFromType},
    {"torch.nn.parameter", "Parameter", Role::kParameter},

    {"torch", "FloatStorage", Role::kStorage, DType::kFloat32},
    {"torch", "HalfStorage", Role::kStorage, DType::kFloat16},
    {"torch", "BFloat16Storage", Role::kStorage, DType::kBFloat16},
    {"torch", "DoubleStorage", Role::kStorage, DType::kFloat64},
    {"torch", "CharStorage", Role::kStorage, DType::kInt8},
    {"torch", "ByteStorage", Role::kStorage, DType::kUInt8},
    {"torch", "ShortStorage", Role::kStorage, DType::kInt16},
    {"torch", "IntStorage", Role::kStorage, DType::kInt32},
    {"torch", "LongStorage", Role::kStorage, DType::kInt64},
    {"torch", "BoolStorage", Role::kStorage, DType::kBool},
    {"torch.storage", "UntypedStorage", Role::kUntypedStorage},

    {"torch", "float32", Role::kDType, DType::kFloat32},
    {"torch", "float16", Role::kDType, DType::kFloat16},
    {"torch", "bfloat16", Role::kDType, DType::kBFloat16},
    {"torch", "float8_e4m3fn", Role::kDType, DType::kFloat8E4M3FN},
    {"torch", "float8_e5m2", Role::kDType, DType::kFloat8E5M2},
    {"torch", "float8_e4m3fnuz", Role::kDType, DType::kFloat8E4M3FNUZ},
    {"torch", "float8_e5m2fnuz", Role::kDType, DType::kFloat8E5M2FNUZ},
    {"torch", "float8_e8m0fnu", Role::kDType, DType::kFloat8E8M0FNU},
    {"torch", "float4_e2m1fn_x2", Role::kDType, DType::kFloat4E2M1FNx2},
    {"torch", "int1", Role::kDType, DType::kInt1},
    {"torch", "int2", Role::kDType, DType::kInt2},
    {"torch", "int3", Role::kDType, DType::kInt3},
    {"torch", "int4", Role::kDType, DType::kInt4},
    {"torch", "int5", Role::kDType, DType::kInt5},
    {"torch", "int6", Role::kDType, DType::kInt6},
    {"torch", "int7", Role::kDType, DType::kInt7},
    {"torch", "int8", Role::kDType, DType::kInt8},
    {"torch", "int32", Role::kDType, DType::kInt32},
    {"torch", "uint1", Role::kDType, DType::kUInt1},
    {"torch", "uint2", Role::kDType, DType::kUInt2},
    {"torch", "uint3", Role::kDType, DType::kUInt3},
    {"torch", "uint4", Role::kDType, DType::kUInt4},
    {"torch", "uint5", Role::kDType, DType::kUInt5},
    {"torch", "uint6", Role::kDType, DType::kUInt6},
    {"torch", "uint7", Role::kDType, DType::kUInt7},
    {"torch", "uint8", Role::kDType, DType::kUInt8},
    {"torch", "uint16", Role::kDType, DType::kUInt16},
    {"torch", "uint32", Role::kDType, DType::kUInt32},
    {"torch", "uint64", Role::kDType, DType::kUInt64},

    // Classes of today's torchao, and what their attributes hold.
    {"torchao.quantization", "Int8Tensor", Role::kTensorClass},
    {"torchao.quantization", "Float8Tensor", Role::kTensorClass},
    {"torchao.quantization", "IntxUnpackedToInt8Tensor", Role::kTensorClass},
    {"torchao.quantization", "Int4Tensor", Role::kTensorClass},
    {"torchao.quantization", "Int4TilePackedTo4dTensor", Role::kTensorClass},
    {"torchao.quantization", "Int4PlainInt32Tensor", Role::kTensorClass},
    {"torchao.quantization", "Int4PreshuffledTensor", Role::kTensorClass},
    {"torchao.quantization", "Int4OpaqueTensor", Role::kTensorClass},
    {"torchao.prototype.int4_opaque_tensor", "Int4OpaqueTensor", Role::kTensorClass},
    {"torchao.prototype.quantization.int4", "Int4OpaqueTensor", Role::kTensorClass},
    {"torchao.quantization", "IntxOpaqueTensor", Role::kTensorClass},
    {"torchao.quantization.quantize_.workflows.float8."
     "float8_sparse_2x4_2d_data_2d_metadata_tensor",
     "Float8Sparse2x4_2DData2DMetadataTensor", Role::kTensorClass},
    {"torchao.quantization.quantize_.workflows.nf4.nf4_tensor", "NF4Tensor", Role::kTensorClass},
    {"torchao.prototype.quantization.float8_static_quant.prototype_float8_tensor",
     "PrototypeFloat8Tensor", Role::kTensorClass},
    {"torchao.prototype.quantization.uintx.uintx_bit_packed_tensor", "UIntxBitPackedTensor",
     Role::kTensorClass},
    {"torchao.prototype.mx_formats.mx_tensor", "MXTensor", Role::kTensorClass},
    {"torchao.prototype.mx_formats.nvfp4_tensor", "NVFP4Tensor", Role::kTensorClass},
    {"torchao.quantization.quantize_.workflows.int8.int8_tensor", "QuantizeTensorToInt8Kwargs",
     Role::kDataclass},
    {"torchao.quantization.quantize_.workflows.float8.float8_tensor",
     "QuantizeTensorToFloat8Kwargs", Role::kDataclass},
    {"torchao.prototype.mx_formats.mx_tensor", "QuantizeTensorToMXKwargs", Role::kDataclass},
    {"torchao.prototype.mx_formats.nvfp4_tensor", "QuantizeTensorToNVFP4Kwargs", Role::kDataclass},
    {"torchao.quantization.granularity", "PerRow", Role::kDataclass},
    {"torchao.quantization.granularity", "PerTensor", Role::kDataclass},
    {"torchao.quantization.granularity", "PerBlock", Role::kDataclass},
    {"torchao.quantization.granularity", "PerGroup", Role::kDataclass},
    {"torchao.quantization.granularity", "PerAxis", Role::kDataclass},
    {"torchao.quantization.granularity", "PerToken", Role::kDataclass},
    {"torchao.float8.inference", "Float8MMConfig", Role::kNamedTuple},
    {"torchao.quantization.quant_primitives", "MappingType", Role::kEnum},
    {"torchao.quantization.quant_primitives", "ZeroPointDomain", Role::kEnum},
    {"torchao.prototype.mx_formats.config", "ScaleCalculationMode", Role::kEnum},
    {"torchao.quantization.quantize_.common.kernel_preference", "KernelPreference", Role::kEnum},
    {"torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor",
     "IntxUnpackedToInt8TensorActivationQuantization", Role::kEnum},
    {"torchao.quantization.quantize_.workflows.intx.intx_packing_format", "IntxPackingFormat",
     Role::kEnum},

    // Classes that torchao wrote up to 0.17, under every module that they were in.
    {"torchao.dtypes.affine_quantized_tensor", "AffineQuantizedTensor", Role::kTensorClass},
    {"torchao.dtypes.uintx.plain_layout", "PlainAQTTensorImpl", Role::kTensorClass},
    {"torchao.dtypes.uintx.q_dq_layout", "QDQTensorImpl", Role::kTensorClass},
    {"torchao.dtypes.uintx.int4_cpu_layout", "Int4CPUAQTTensorImpl", Role::kTensorClass},
    {"torchao.dtypes.uintx.tensor_core_tiled_layout", "Int4CPUAQTTensorImpl", Role::kTensorClass},
    {"torchao.dtypes.uintx.tensor_core_tiled_layout", "TensorCoreTiledAQTTensorImpl",
     Role::kTensorClass},
    {"torchao.dtypes.floatx.float8_layout", "Float8AQTTensorImpl", Role::kTensorClass},
    {"torchao.dtypes.uintx.uintx_layout", "UintxAQTTensorImpl", Role::kTensorClass},
    {"torchao.dtypes.uintx.uintx_layout", "UintxTensor", Role::kTensorClass},
    {"torchao.prototype.dtypes.uintx.uintx_layout", "UintxAQTTensorImpl", Role::kTensorClass},
    {"torchao.prototype.dtypes.uintx.uintx_layout", "UintxTensor", Role::kTensorClass},
    {"torchao.dtypes.uintx.cutlass_int4_packed_layout", "Int4PackedTensorImpl", Role::kTensorClass},
    {"torchao.prototype.dtypes.uintx.cutlass_int4_packed_layout", "Int4PackedTensorImpl",
     Role::kTensorClass},
    {"torchao.quantization.linear_activation_quantized_tensor", "LinearActivationQuantizedTensor",
     Role::kTensorClass},
    {"torchao.quantization.weight_tensor_linear_activation_quantization",
     "WeightTensorWithLinearActivationQuantizationMetadata", Role::kTensorClass},
    {"torchao.quantization.linear_activation_scale",
     "WeightTensorWithLinearActivationScaleMetadata", Role::kTensorClass},
    {"torchao.dtypes.utils", "PlainLayout", Role::kDataclass},
    {"torchao.dtypes.uintx.q_dq_layout", "QDQLayout", Role::kDataclass},
    {"torchao.dtypes.uintx.int4_cpu_layout", "Int4CPULayout", Role::kDataclass},
    {"torchao.dtypes.uintx.tensor_core_tiled_layout", "Int4CPULayout", Role::kDataclass},
    {"torchao.dtypes.uintx.tensor_core_tiled_layout", "TensorCoreTiledLayout", Role::kDataclass},
    {"torchao.dtypes.floatx.float8_layout", "Float8Layout", Role::kDataclass},
    {"torchao.dtypes.uintx.uintx_layout", "UintxLayout", Role::kDataclass},
    {"torchao.prototype.dtypes.uintx.uintx_layout", "UintxLayout", Role::kDataclass},
    {"torchao.dtypes.uintx.cutlass_int4_packed_layout", "CutlassInt4PackedLayout",
     Role::kDataclass},
    {"torchao.prototype.dtypes.uintx.cutlass_int4_packed_layout", "CutlassInt4PackedLayout",
     Role::kDataclass},
    {"torchao.quantization.quant_api", "_int8_asymm_per_token_quant", Role::kFunction},
    {"torchao.quantization.quant_api", "_int8_symm_per_token_reduced_range_quant", Role::kFunction},
    {"torchao.quantization.quant_api", "_int8_symm_per_token_reduced_range_quant_noop_decode",
     Role::kFunction},
    {"torchao.quantization.quant_api", "_input_activation_quant_func_fp8", Role::kFunction},
    {"torchao.quantization.quant_api", "_int4_symm_cutlass_quant", Role::kFunction},
    {"torchao.quantization.quant_api", "_int8_symm_cutlass_quant", Role::kFunction},
    {"torchao.quantization.quant_api", "_float8_cutlass_quant", Role::kFunction},
});

// What to make of the unquantized model instead, so that the codes are the same or nearly so.
constexpr std::string_view kInt4Plain = "Int4WeightOnlyConfig with int4_packing_format PLAIN";
constexpr std::string_view kInt4Tiles =
    "Int4WeightOnlyConfig with int4_packing_format PLAIN or TILE_PACKED_TO_4D";
constexpr std::string_view kIntxUnpacked =
    "Int8DynamicActivationIntxWeightConfig with intx_packing_format UNPACKED_TO_INT8";
constexpr std::string_view kInt8Dynamic = "Int8DynamicActivationInt8WeightConfig";
constexpr std::string_view kFloat8Plain =
    "Float8DynamicActivationFloat8WeightConfig with packing_format PLAIN";
constexpr std::string_view kIntx = "IntxWeightOnlyConfig";

constexpr std::string_view kLegacy = "bin.unsupported_legacy_layout";
constexpr std::string_view kCurrent = "ao.unsupported_type";

constexpr auto kRefusedClasses = std::to_array<RefusedClass>({
    {"torchao.quantization.quantize_.workflows.float8."
     "float8_sparse_2x4_1d_data_1d_metadata_tensor",
     "Float8Sparse2x4_1DData1DMetadataTensor", kCurrent, "hipSPARSELt", kFloat8Plain},
    {"torchao.prototype.float8_opaque_tensor", "Float8OpaqueTensor", kCurrent,
     "the CPU that packed it", kFloat8Plain},
    {"torchao.prototype.quantization.gguf.gguf_quantized_tensor", "GGUFQuantizedTensor", kCurrent,
     "torchao's own superblocks", kInt4Plain},
    {"torchao.prototype.quantization.int8_lut_tensor.int8_lut_tensor", "Int8LutTensor", kCurrent,
     "torchao's Arm kernels", kIntxUnpacked},
    {"torchao.dtypes.uintx.semi_sparse_layout", "SemiSparseAQTTensorImpl", kLegacy, "cuSPARSELt",
     kInt8Dynamic},
    {"torchao.dtypes.uintx.marlin_sparse_layout", "MarlinSparseAQTTensorImpl", kLegacy,
     "the sparse Marlin kernel", kInt4Tiles},
    {"torchao.dtypes.uintx.block_sparse_layout", "BlockSparseAQTTensorImpl", kLegacy,
     "a block-sparse kernel", kInt8Dynamic},
    {"torchao.dtypes.uintx.int4_xpu_layout", "Int4XPUAQTTensorImpl", kLegacy, "XPU", kInt4Plain},
    {"torchao.dtypes.uintx.gemlite_layout", "GemliteAQTTensorImpl", kLegacy, "gemlite",
     "UIntxWeightOnlyConfig"},
    {"torchao.dtypes.uintx.packed_linear_int8_dynamic_activation_intx_weight_layout",
     "PackedLinearInt8DynamicActivationIntxWeightAQTTensorImpl", kLegacy, "torchao's Arm kernels",
     kIntxUnpacked},
    {"torchao.dtypes.uintx.marlin_qqq_tensor", "MarlinQQQAQTTensorImpl", kLegacy,
     "the Marlin QQQ kernel", kIntxUnpacked},
    {"torchao.dtypes.floatx.floatx_tensor_core_layout", "FloatxTensorCoreAQTTensorImpl", kLegacy,
     "the FP6-LLM kernel", kIntx},
    {"torchao.dtypes.floatx.cutlass_semi_sparse_layout", "CutlassSemiSparseTensorImpl", kLegacy,
     "CUTLASS",
     "Float8DynamicActivationFloat8WeightConfig with packing_format SPARSE_2D_DATA_2D_METADATA"},
});

// Members whose value is a number count from 1 in this order; the others have their name in lower
// case as value.
struct NumberedEnum {
  std::string_view name;
  std::array<std::string_view, 3> members;
};
constexpr std::array<NumberedEnum, 2> kNumberedEnums{{
    {"MappingType", {"SYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR", "ASYMMETRIC"}},
    {"ZeroPointDomain", {"INT", "FLOAT", "NONE"}},
}};

const NumberedEnum* find_numbered(const PickleGlobal& type) noexcept {
  const auto* found = std::find_if(kNumberedEnums.begin(), kNumberedEnums.end(),
                                   [&](const NumberedEnum& e) { return e.name == type.name; });
  return found == kNumberedEnums.end() ? nullptr : found;
}

}  // namespace

std::span<const PickleGlobal> pickle_globals() noexcept { return kGlobals; }

const PickleGlobal* find_pickle_global(std::string_view module, std::string_view name) noexcept {
  const auto* found = std::find_if(kGlobals.begin(), kGlobals.end(), [&](const PickleGlobal& g) {
    return g.name == name && g.module == module;
  });
  return found == kGlobals.end() ? nullptr : found;
}

const RefusedClass* find_refused_class(std::string_view module, std::string_view name) noexcept {
  const auto* found =
      std::find_if(kRefusedClasses.begin(), kRefusedClasses.end(),
                   [&](const RefusedClass& c) { return c.name == name && c.module == module; });
  return found == kRefusedClasses.end() ? nullptr : found;
}

std::optional<std::string> enum_member_name(const PickleGlobal& type, std::int64_t value) {
  const NumberedEnum* e = find_numbered(type);
  if (e == nullptr || value < 1 || value > static_cast<std::int64_t>(e->members.size()))
    return std::nullopt;
  return std::string(e->members[static_cast<std::size_t>(value - 1)]);
}

std::optional<std::string> enum_member_name(const PickleGlobal& type, std::string_view value) {
  const bool is_lower_case =
      !value.empty() && value.size() <= 64 && std::all_of(value.begin(), value.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
      });
  if (find_numbered(type) != nullptr || !is_lower_case) return std::nullopt;
  std::string member(value);
  std::transform(member.begin(), member.end(), member.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return member;
}

}  // namespace torchao_cpp
