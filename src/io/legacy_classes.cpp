// SPDX-License-Identifier: Apache-2.0
#include "io/legacy_classes.h"

#include <algorithm>

namespace torchao_cpp {
namespace {

constexpr std::string_view kSparse = "2:4 sparse codes in the packing of one GPU library";
constexpr std::string_view kGpuPacking = "codes in the packing of one GPU kernel";
constexpr std::string_view kUintxCodes = "codes of 1 to 7 bits of a UintxAQTTensorImpl";
constexpr std::string_view kBlockSparse = "blocks of zeros left out, which no class of today does";
constexpr std::string_view kGemlite = "codes in the packing of gemlite, which runs on CUDA alone";
constexpr std::string_view kPackedLinear =
    "one opaque buffer in the packing of the CPU kernel that wrote it";

constexpr auto kLegacyClasses = std::to_array<LegacyClass>({
    {.module = "torchao.dtypes.uintx.plain_layout",
     .name = "PlainAQTTensorImpl",
     .versions = "0.7 to 0.17",
     .becomes = {"Int8Tensor", "IntxUnpackedToInt8Tensor"},
     .read_impl = &read_legacy_integer},
    {.module = "torchao.dtypes.uintx.q_dq_layout",
     .name = "QDQTensorImpl",
     .versions = "0.11 to 0.16",
     .becomes = {"IntxUnpackedToInt8Tensor"},
     .read_impl = &read_legacy_integer},
    {.module = "torchao.dtypes.uintx.uintx_layout",
     .name = "UintxAQTTensorImpl",
     .versions = "0.7 to 0.14",
     .becomes = {"IntxUnpackedToInt8Tensor"},
     .read_impl = &read_legacy_integer},
    {.module = "torchao.prototype.dtypes.uintx.uintx_layout",
     .name = "UintxAQTTensorImpl",
     .versions = "0.15, 0.16",
     .becomes = {"IntxUnpackedToInt8Tensor"},
     .read_impl = &read_legacy_integer},
    {.module = "torchao.dtypes.uintx.cutlass_int4_packed_layout",
     .name = "Int4PackedTensorImpl",
     .versions = "0.8 to 0.14",
     .becomes = {"IntxUnpackedToInt8Tensor"},
     .read_impl = &read_legacy_integer},
    {.module = "torchao.prototype.dtypes.uintx.cutlass_int4_packed_layout",
     .name = "Int4PackedTensorImpl",
     .versions = "0.15",
     .becomes = {"IntxUnpackedToInt8Tensor"},
     .read_impl = &read_legacy_integer},
    {.module = "torchao.dtypes.floatx.float8_layout",
     .name = "Float8AQTTensorImpl",
     .versions = "0.7 to 0.16",
     .becomes = {"Float8Tensor", "PrototypeFloat8Tensor"},
     .read_impl = &read_legacy_float8},
    {.module = "torchao.dtypes.uintx.tensor_core_tiled_layout",
     .name = "TensorCoreTiledAQTTensorImpl",
     .versions = "0.7 to 0.17",
     .becomes = {"Int4TilePackedTo4dTensor"},
     .read_impl = &read_legacy_int4},
    {.module = "torchao.dtypes.uintx.tensor_core_tiled_layout",
     .name = "Int4CPUAQTTensorImpl",
     .versions = "0.7",
     .becomes = {"Tensor"},
     .read_impl = &read_legacy_int4},
    {.module = "torchao.dtypes.uintx.int4_cpu_layout",
     .name = "Int4CPUAQTTensorImpl",
     .versions = "0.8 to 0.16",
     .becomes = {"Tensor"},
     .read_impl = &read_legacy_int4},
    {.module = "torchao.quantization",
     .name = "Int4OpaqueTensor",
     .versions = "0.14",
     .becomes = {"Int4Tensor"}},
    {.module = "torchao.prototype.int4_opaque_tensor",
     .name = "Int4OpaqueTensor",
     .versions = "0.15, 0.16",
     .becomes = {"Int4Tensor"}},
    {.module = "torchao.prototype.quantization.int4",
     .name = "Int4OpaqueTensor",
     .versions = "0.17, 0.18",
     .becomes = {"Int4Tensor"}},
    {.module = "torchao.quantization",
     .name = "IntxOpaqueTensor",
     .versions = "0.18",
     .becomes = {"IntxUnpackedToInt8Tensor"}},

    {.module = "torchao.dtypes.affine_quantized_tensor",
     .name = "AffineQuantizedTensor",
     .versions = "0.7 to 0.17",
     .adds = "shape, blocks and range of the tensor_impl in it"},
    {.module = "torchao.dtypes.uintx.uintx_layout",
     .name = "UintxTensor",
     .versions = "0.7 to 0.14",
     .adds = kUintxCodes},
    {.module = "torchao.prototype.dtypes.uintx.uintx_layout",
     .name = "UintxTensor",
     .versions = "0.15, 0.16",
     .adds = kUintxCodes},
    {.module = "torchao.quantization.linear_activation_quantized_tensor",
     .name = "LinearActivationQuantizedTensor",
     .versions = "0.7 to 0.17",
     .adds = "int8 or float8 activations, quantized at run time"},
    {.module = "torchao.quantization.weight_tensor_linear_activation_quantization",
     .name = "WeightTensorWithLinearActivationQuantizationMetadata",
     .versions = "0.7 to 0.17",
     .adds = "float8 activations with a stored scale"},
    {.module = "torchao.quantization.linear_activation_scale",
     .name = "WeightTensorWithLinearActivationScaleMetadata",
     .versions = "0.7 to 0.17",
     .adds = "act_pre_scale"},

    {.module = "torchao.dtypes.uintx.semi_sparse_layout",
     .name = "SemiSparseAQTTensorImpl",
     .versions = "0.7 to 0.16",
     .unsupported = kSparse},
    {.module = "torchao.dtypes.uintx.marlin_sparse_layout",
     .name = "MarlinSparseAQTTensorImpl",
     .versions = "0.7 to 0.15",
     .unsupported = kSparse},
    {.module = "torchao.dtypes.floatx.cutlass_semi_sparse_layout",
     .name = "CutlassSemiSparseTensorImpl",
     .versions = "0.10 to 0.16",
     .unsupported = kSparse},
    {.module = "torchao.dtypes.uintx.block_sparse_layout",
     .name = "BlockSparseAQTTensorImpl",
     .versions = "0.7 to 0.14",
     .unsupported = kBlockSparse},
    {.module = "torchao.prototype.dtypes.uintx.block_sparse_layout",
     .name = "BlockSparseAQTTensorImpl",
     .versions = "0.15, 0.16",
     .unsupported = kBlockSparse},
    {.module = "torchao.dtypes.uintx.int4_xpu_layout",
     .name = "Int4XPUAQTTensorImpl",
     .versions = "0.11 to 0.16",
     .unsupported = "codes in the order of the XPU that packed them"},
    {.module = "torchao.dtypes.uintx.gemlite_layout",
     .name = "GemliteAQTTensorImpl",
     .versions = "0.8 to 0.14",
     .unsupported = kGemlite},
    {.module = "torchao.prototype.dtypes.uintx.gemlite_layout",
     .name = "GemliteAQTTensorImpl",
     .versions = "0.15, 0.16",
     .unsupported = kGemlite},
    {.module = "torchao.dtypes.uintx.packed_linear_int8_dynamic_activation_intx_weight_layout",
     .name = "PackedLinearInt8DynamicActivationIntxWeightAQTTensorImpl",
     .versions = "0.10 to 0.16",
     .unsupported = kPackedLinear},
    {.module = "torchao.experimental.packed_linear_int8_dynamic_activation_intx_weight_layout",
     .name = "PackedLinearInt8DynamicActivationIntxWeightAQTTensorImpl",
     .versions = "0.9",
     .unsupported = kPackedLinear},
    {.module = "torchao.dtypes.uintx.marlin_qqq_tensor",
     .name = "MarlinQQQAQTTensorImpl",
     .versions = "0.8 to 0.14",
     .unsupported = kGpuPacking},
    {.module = "torchao.dtypes.uintx.marlin_qqq_layout",
     .name = "MarlinQQQAQTTensorImpl",
     .versions = "0.7",
     .unsupported = kGpuPacking},
    {.module = "torchao.prototype.dtypes.uintx.marlin_qqq_tensor",
     .name = "MarlinQQQAQTTensorImpl",
     .versions = "0.15",
     .unsupported = kGpuPacking},
    {.module = "torchao.dtypes.floatx.floatx_tensor_core_layout",
     .name = "FloatxTensorCoreAQTTensorImpl",
     .versions = "0.7 to 0.14",
     .unsupported = kGpuPacking},
    {.module = "torchao.prototype.dtypes.floatx.floatx_tensor_core_layout",
     .name = "FloatxTensorCoreAQTTensorImpl",
     .versions = "0.15",
     .unsupported = kGpuPacking},
});

}  // namespace

std::span<const LegacyClass> legacy_classes() noexcept { return kLegacyClasses; }

const LegacyClass* find_legacy_impl(std::string_view name) noexcept {
  const auto* found =
      std::find_if(kLegacyClasses.begin(), kLegacyClasses.end(),
                   [&](const LegacyClass& c) { return c.read_impl != nullptr && c.name == name; });
  return found == kLegacyClasses.end() ? nullptr : found;
}

std::string_view unsupported_legacy_class(std::string_view module, std::string_view name) noexcept {
  const auto* found =
      std::find_if(kLegacyClasses.begin(), kLegacyClasses.end(),
                   [&](const LegacyClass& c) { return c.name == name && c.module == module; });
  return found == kLegacyClasses.end() ? std::string_view() : found->unsupported;
}

}  // namespace torchao_cpp
