// SPDX-License-Identifier: Apache-2.0
#include "ops/linear_cases.h"

#include <cmath>
#include <stdexcept>

#include "torchao_cpp/quantize.h"
#include "workflows/nf4/nf4_tensor.h"

namespace torchao_cpp::ops {
namespace {

constexpr std::string_view kMXWeightOnly = "mxfp8 without its activation";

const char* kInt8Group =
    R"({"_type":"Int8WeightOnlyConfig","_version":2,"_data":{"granularity":{"_type":"PerGroup","_version":1,"_data":{"group_size":16}}}})";
const char* kIntxAsymmetric =
    R"({"_type":"IntxWeightOnlyConfig","_version":2,"_data":{"weight_dtype":{"_type":"torch.dtype","_data":"int3"},"granularity":{"_type":"PerGroup","_version":1,"_data":{"group_size":8}},"mapping_type":{"_type":"MappingType","_data":"ASYMMETRIC"}}})";
const char* kDynamicIntxAsymmetric =
    R"({"_type":"Int8DynamicActivationIntxWeightConfig","_version":2,"_data":{"weight_dtype":{"_type":"torch.dtype","_data":"int5"},"weight_granularity":{"_type":"PerGroup","_version":1,"_data":{"group_size":128}},"weight_mapping_type":{"_type":"MappingType","_data":"ASYMMETRIC"}}})";
const char* kTiles =
    R"({"_type":"Int4WeightOnlyConfig","_version":2,"_data":{"group_size":32,"int4_packing_format":"tile_packed_to_4d"}})";
const char* kPreshuffled =
    R"({"_type":"Int4WeightOnlyConfig","_version":2,"_data":{"group_size":32,"int4_packing_format":"preshuffled"}})";
const char* kFloat8Group =
    R"({"_type":"Float8WeightOnlyConfig","_version":2,"_data":{"weight_dtype":{"_type":"torch.dtype","_data":"float8_e5m2"},"granularity":{"_type":"PerGroup","_version":1,"_data":{"group_size":32}}}})";

const char* kUIntx8 =
    R"({"_type":"UIntxWeightOnlyConfig","_data":{"group_size":null,"bit_width":8}})";
const char* kUIntx4Dynamic =
    R"({"_type":"Int8DynamicActivationUIntxWeightConfig","_data":{"group_size":32}})";
const char* kUIntx8Dynamic =
    R"({"_type":"Int8DynamicActivationUIntxWeightConfig","_data":{"group_size":null,"bit_width":8}})";

constexpr DType kF32 = DType::kFloat32;
constexpr DType kF16 = DType::kFloat16;
constexpr DType kBF16 = DType::kBFloat16;

}  // namespace

const std::vector<LinearCase>& linear_cases() {
  static const std::vector<LinearCase> kCases{
      {"plain", "", kBF16},
      {"plain_f32", "", kF32},
      {"plain_f16", "", kF16},
      {"int8wo", "int8wo", kBF16},
      {"int8wo_f32", "int8wo", kF32},
      {"int8wo_group", kInt8Group, kF16, 1, 16},
      {"int8wo_prescaled", "int8wo", kBF16},
      {"int4wo", "int4wo-32", kBF16, 1, 32},
      {"int4wo_tiles", kTiles, kBF16, 1, 32},
      {"int4wo_preshuffled", kPreshuffled, kBF16, 16, 32},
      {"int4wo_hqq", "int4wo-64-hqq", kBF16, 1, 64},
      {"intx4wo", "intx4wo-16", kF32, 1, 16},
      {"intx1wo", "intx1wo-8", kBF16, 1, 8},
      {"intx3wo_asymmetric", kIntxAsymmetric, kBF16, 1, 8},
      {"intx8wo", "intx8wo", kF16},
      {"fp8wo", "fp8wo", kBF16},
      {"fp8wo_e5m2_group", kFloat8Group, kF32, 1, 32},
      {"mx_weight_only", kMXWeightOnly, kBF16, 1, 32},
      {"nvfp4wo", "nvfp4wo", kBF16, 16, 16},
      {"nf4", "nf4", kF32, 64, 256},
      {"uintx8wo", kUIntx8, kBF16, 1, 32},
      {"uintx4_dynamic", kUIntx4Dynamic, kF16, 1, 32},
      {"uintx8_dynamic", kUIntx8Dynamic, kBF16, 1, 32},
      {"int8dq", "int8dq", kBF16},
      {"int8dq_asym", "int8dq-asym", kF32},
      {"int8dq_tensor", "int8dq-tensor", kF16},
      {"int8_static", "int8dq-tensor", kBF16},
      {"8da4w", "8da4w", kBF16, 1, 32},
      {"8da3w_f32", "8da3w-8", kF32, 1, 8},
      {"8da4w_of_64", "8da4w-64", kBF16, 1, 64},
      {"8da7w_of_128", "8da7w-128", kBF16, 1, 128},
      {"8da2w_of_256", "8da2w-256", kF16, 1, 256},
      {"8da5w_asymmetric", kDynamicIntxAsymmetric, kBF16, 1, 128},
      {"fp8dq_row", "fp8dq-row", kBF16, 16, 16},
      {"fp8dq_tensor", "fp8dq-tensor", kF32, 16, 16},
      {"fp8dq_block", "fp8dq-block", kBF16, 128, 128},
      {"fp8_static", "fp8dq-tensor", kBF16, 16, 16},
      {"fp8da4w", "fp8da4w", kBF16, 1, 128},
      {"fp8da4w_preshuffled", "Float8DynamicActivationInt4WeightConfig", kBF16, 16, 128},
      {"mxfp8", "mxfp8", kBF16, 1, 32},
      {"mxfp6", "mxfp6", kBF16, 1, 32},
      {"mxfp4", "mxfp4", kBF16, 1, 32},
      {"nvfp4_dynamic", "nvfp4wo", kBF16, 16, 16},
      {"nvfp4_dynamic_two_level", "nvfp4wo", kBF16, 16, 16},
  };
  return kCases;
}

Tensor random_tensor(DType dtype, Shape shape, unsigned seed, float deviation) {
  Tensor t = Tensor::empty(DType::kFloat32, std::move(shape));
  std::mt19937 generator(seed);
  // Made by hand: the library's distributions differ between machines.
  for (float& v : t.mutable_span<float>())
    v = static_cast<float>(static_cast<double>(generator()) * 0x1p-31 - 1.0) * 1.732F * deviation;
  return t.to(dtype);
}

CaseWeight make_weight(const LinearCase& item, std::int64_t n, std::int64_t k, unsigned seed) {
  CaseWeight weight{random_tensor(item.weight_dtype, {n, k}, seed, 0.1F), nullptr};
  if (item.config.empty()) return weight;
  if (item.config == "nf4") {
    weight.quantized = NF4Tensor::from_hp(weight.plain);
    return weight;
  }
  const std::string_view text = item.config == kMXWeightOnly ? "mxfp8" : item.config;
  const ConfigPtr config =
      text.starts_with("{") ? config_from_dict(text) : config_from_shorthand(text);
  if (!config) throw std::invalid_argument("unknown config " + std::string(text));
  const QuantizeOutcome outcome = quantize_tensor(weight.plain, *config);
  if (!outcome.weight) throw std::invalid_argument(item.name + ": " + outcome.reason);
  weight.quantized = outcome.weight;
  return weight;
}

QuantizedWeight describe(const LinearCase& item, const CaseWeight& weight) {
  using Kind = ActivationQuant::Kind;
  QuantizedWeight w = weight.quantized->to_quantized_weight();
  const float scale = 0.03F;
  if (item.name == "int8_static") {
    w.activation.kind = Kind::kInt8Static;
    w.activation.scale = Tensor::from_values<float>(kF32, {1, 1}, std::span(&scale, 1));
    const std::int8_t zero_point = 5;
    w.activation.zero_point =
        Tensor::from_values<std::int8_t>(DType::kInt8, {1, 1}, std::span(&zero_point, 1));
  } else if (item.name == "fp8_static") {
    w.activation.kind = Kind::kFloat8Static;
    w.activation.scale = Tensor::from_values<float>(kF32, {1, 1}, std::span(&scale, 1));
  } else if (item.name == "int8wo_prescaled") {
    w.act_pre_scale = random_tensor(kF32, {w.input_size}, 99, 1.0F);
  } else if (item.config == kMXWeightOnly) {
    w.activation = {};
  } else if (item.name.starts_with("nvfp4_dynamic")) {
    w.activation.kind = Kind::kNVFP4Dynamic;
    w.activation.dtype = DType::kFloat4E2M1FNx2;
    w.activation.block_size = 16;
    w.activation.use_dynamic_per_tensor_scale = item.name.ends_with("two_level");
    w.bias_rounding = BiasRounding::kSeparate;
  }
  return w;
}

}  // namespace torchao_cpp::ops
