// SPDX-License-Identifier: Apache-2.0
#include "config/wire_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "torchao_cpp/quant_types.h"

namespace torchao_cpp {
namespace {

template <typename E>
constexpr int ordinal(E value) {
  return static_cast<int>(value);
}

constexpr std::array<WireEnumMember, 3> kMappingType{{
    {"SYMMETRIC", "", ordinal(MappingType::kSymmetric)},
    {"SYMMETRIC_NO_CLIPPING_ERR", "", ordinal(MappingType::kSymmetricNoClippingErr)},
    {"ASYMMETRIC", "", ordinal(MappingType::kAsymmetric)},
}};
constexpr std::array<WireEnumMember, 4> kScaleCalculationMode{{
    {"FLOOR", "", ordinal(ScaleCalculationMode::kFloor)},
    {"RCEIL", "", ordinal(ScaleCalculationMode::kRceil)},
    {"CEIL", "", ordinal(ScaleCalculationMode::kCeil)},
    {"EVEN", "", ordinal(ScaleCalculationMode::kEven)},
}};
constexpr std::array<WireEnumMember, 3> kZeroPointDomain{{{"INT", "", 0}, {"FLOAT", "", 1}, {"NONE", "", 2}}};
constexpr std::array<WireEnumMember, 7> kTorchAODType{{
    {"INT1", "", 1}, {"INT2", "", 2}, {"INT3", "", 3}, {"INT4", "", 4}, {"INT5", "", 5}, {"INT6", "", 6}, {"INT7", "", 7},
}};
constexpr std::array<WireEnumMember, 5> kKernelPreference{{
    {"AUTO", "auto", ordinal(KernelPreference::kAuto)},
    {"TORCH", "torch", ordinal(KernelPreference::kTorch)},
    {"MSLK", "mslk", ordinal(KernelPreference::kMslk)},
    {"EMULATED", "emulated", ordinal(KernelPreference::kEmulated)},
    {"TRITON", "triton", ordinal(KernelPreference::kTriton)},
}};
constexpr std::array<WireEnumMember, 2> kPackingFormat{{{"PLAIN", "plain", 0}, {"OPAQUE", "opaque", 1}}};
constexpr std::array<WireEnumMember, 4> kInt4PackingFormat{{
    {"PLAIN", "plain", ordinal(Int4PackingFormat::kPlain)},
    {"PRESHUFFLED", "preshuffled", ordinal(Int4PackingFormat::kPreshuffled)},
    {"PLAIN_INT32", "plain_int32", ordinal(Int4PackingFormat::kPlainInt32)},
    {"TILE_PACKED_TO_4D", "tile_packed_to_4d", ordinal(Int4PackingFormat::kTilePackedTo4d)},
}};
constexpr std::array<WireEnumMember, 2> kInt4ChooseQParamsAlgorithm{{
    {"TINYGEMM", "tinygemm", ordinal(Int4ChooseQParamsAlgorithm::kTinygemm)},
    {"HQQ", "hqq", ordinal(Int4ChooseQParamsAlgorithm::kHqq)},
}};
constexpr std::array<WireEnumMember, 5> kIntxPackingFormat{{
    {"UNPACKED_TO_INT8", "unpacked_to_int8", ordinal(IntxPackingFormat::kUnpackedToInt8)},
    {"OPAQUE_ATEN_KLEIDIAI", "opaque_aten_kleidiai", ordinal(IntxPackingFormat::kOpaqueAtenKleidiai)},
    {"OPAQUE_TORCHAO_AUTO", "opaque_torchao_auto", ordinal(IntxPackingFormat::kOpaqueTorchaoAuto)},
    {"OPAQUE_TORCHAO_KLEIDIAI", "opaque_torchao_kleidiai", ordinal(IntxPackingFormat::kOpaqueTorchaoKleidiai)},
    {"OPAQUE_TORCHAO_LOWBIT", "opaque_torchao_lowbit", ordinal(IntxPackingFormat::kOpaqueTorchaoLowbit)},
}};
constexpr std::array<WireEnumMember, 2> kIntxChooseQParamsAlgorithm{{
    {"AFFINE", "affine", ordinal(IntxChooseQParamsAlgorithm::kAffine)},
    {"HQQ_SCALE_ONLY", "hqq_scale_only", ordinal(IntxChooseQParamsAlgorithm::kHqqScaleOnly)},
}};
// SPARSE_CUTLASS is the name torchao 0.16 and 0.17 wrote; it has no string value of its own.
constexpr std::array<WireEnumMember, 4> kFloat8PackingFormat{{
    {"PLAIN", "plain", ordinal(Float8PackingFormat::kPlain)},
    {"SPARSE_2D_DATA_2D_METADATA", "sparse_2d_data_2d_metadata", ordinal(Float8PackingFormat::kSparse2dData2dMetadata)},
    {"SPARSE_1D_DATA_1D_METADATA", "sparse_1d_data_1d_metadata", ordinal(Float8PackingFormat::kSparse1dData1dMetadata)},
    {"SPARSE_CUTLASS", "", ordinal(Float8PackingFormat::kSparse2dData2dMetadata)},
}};

constexpr std::array<WireEnum, 11> kEnums{{
    {"MappingType", false, kMappingType},
    {"ScaleCalculationMode", false, kScaleCalculationMode},
    {"ZeroPointDomain", false, kZeroPointDomain},
    {"TorchAODType", false, kTorchAODType},
    {"KernelPreference", true, kKernelPreference},
    {"PackingFormat", true, kPackingFormat},
    {"Int4PackingFormat", true, kInt4PackingFormat},
    {"Int4ChooseQParamsAlgorithm", true, kInt4ChooseQParamsAlgorithm},
    {"IntxPackingFormat", true, kIntxPackingFormat},
    {"IntxChooseQParamsAlgorithm", true, kIntxChooseQParamsAlgorithm},
    {"Float8PackingFormat", true, kFloat8PackingFormat},
}};

constexpr std::string_view kRow = R"({"_type": "PerRow", "_version": 1, "_data": {"dim": -1}})";
constexpr std::string_view kFloat8E4M3 = R"({"_type": "torch.dtype", "_data": "float8_e4m3fn"})";

constexpr std::array<FieldSpec, 1> kPerRow{{{"dim", "-1"}}};
constexpr std::array<FieldSpec, 1> kPerAxis{{{"axis", ""}}};
constexpr std::array<FieldSpec, 1> kPerGroup{{{"group_size", ""}}};
constexpr std::array<FieldSpec, 1> kPerBlock{{{"block_size", ""}}};
constexpr std::array<FieldSpec, 3> kFloat8MMConfig{{
    {"emulate", "false"},
    {"use_fast_accum", "false"},
    {"pad_inner_dim", "false"},
}};
constexpr std::array<FieldSpec, 6> kQuantizeTensorToFloat8Kwargs{{
    {"float8_dtype", kFloat8E4M3},
    {"granularity", kRow},
    {"mm_config", "null"},
    {"hp_value_lb", "null"},
    {"hp_value_ub", "null"},
    {"kernel_preference", R"({"_type": "KernelPreference", "_data": "AUTO"})"},
}};
constexpr std::array<FieldSpec, 3> kQuantizeTensorToInt8Kwargs{{
    {"granularity", ""},
    {"mapping_type", R"({"_type": "MappingType", "_data": "SYMMETRIC"})"},
    {"reduce_range", "false"},
}};

constexpr std::array<WireClass, 9> kClasses{{
    {"PerTensor", {}},
    {"PerToken", {}},
    {"PerRow", kPerRow},
    {"PerAxis", kPerAxis},
    {"PerGroup", kPerGroup},
    {"PerBlock", kPerBlock},
    {"Float8MMConfig", kFloat8MMConfig},
    {"QuantizeTensorToFloat8Kwargs", kQuantizeTensorToFloat8Kwargs},
    {"QuantizeTensorToInt8Kwargs", kQuantizeTensorToInt8Kwargs},
}};

// Every dtype of torch 2.13 under the name it prints.
constexpr auto kTorchDTypes = std::to_array<std::string_view>({
    "bfloat16", "bits16", "bits1x8", "bits2x4", "bits4x2", "bits8", "bool", "complex128", "complex32", "complex64",
    "float16", "float32", "float4_e2m1fn_x2", "float64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu", "int1", "int16", "int2", "int3", "int32", "int4", "int5", "int6", "int64", "int7",
    "int8", "qint32", "qint8", "quint2x4", "quint4x2", "quint8", "uint1", "uint16", "uint2", "uint3", "uint32", "uint4",
    "uint5", "uint6", "uint64", "uint7", "uint8"});

struct DTypeAlias {
  std::string_view name;
  std::string_view canonical;
};
constexpr std::array<DTypeAlias, 10> kTorchDTypeAliases{{
    {"bit", "uint1"},
    {"cdouble", "complex128"},
    {"cfloat", "complex64"},
    {"chalf", "complex32"},
    {"double", "float64"},
    {"float", "float32"},
    {"half", "float16"},
    {"int", "int32"},
    {"long", "int64"},
    {"short", "int16"},
}};

}  // namespace

const WireEnumMember* WireEnum::find_name(std::string_view name) const noexcept {
  const auto by_name = [&](const WireEnumMember& m) { return m.name == name; };
  const auto named = std::find_if(members.begin(), members.end(), by_name);
  if (named == members.end()) return nullptr;
  const auto by_ordinal = [&](const WireEnumMember& m) { return m.ordinal == named->ordinal; };
  return &*std::find_if(members.begin(), members.end(), by_ordinal);
}

const WireEnumMember* WireEnum::find_value(std::string_view value) const noexcept {
  if (!is_string_enum || value.empty()) return nullptr;
  const auto by_value = [&](const WireEnumMember& m) { return m.value == value; };
  const auto it = std::find_if(members.begin(), members.end(), by_value);
  return it == members.end() ? nullptr : &*it;
}

std::string WireEnum::names() const {
  std::string out;
  for (const WireEnumMember& member : members) {
    if (!out.empty()) out += ", ";
    out += member.name;
  }
  return out;
}

const WireEnum* find_wire_enum(std::string_view type) noexcept {
  const auto it = std::find_if(kEnums.begin(), kEnums.end(), [&](const WireEnum& e) { return e.type == type; });
  return it == kEnums.end() ? nullptr : &*it;
}

const WireClass* find_wire_class(std::string_view type) noexcept {
  const auto it = std::find_if(kClasses.begin(), kClasses.end(), [&](const WireClass& c) { return c.type == type; });
  return it == kClasses.end() ? nullptr : &*it;
}

std::optional<std::string_view> canonical_torch_dtype(std::string_view name) noexcept {
  for (const DTypeAlias& alias : kTorchDTypeAliases) {
    if (alias.name == name) return alias.canonical;
  }
  const auto it = std::find(kTorchDTypes.begin(), kTorchDTypes.end(), name);
  if (it == kTorchDTypes.end()) return std::nullopt;
  return *it;
}

}  // namespace torchao_cpp
