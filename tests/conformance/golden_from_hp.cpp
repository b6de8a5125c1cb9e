// SPDX-License-Identifier: Apache-2.0
#include "conformance/golden_from_hp.h"

#include <fmt/format.h>

#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"
#include "workflows/float8/float8_tensor.h"
#include "workflows/int4/int4_tensor.h"
#include "workflows/nf4/nf4_tensor.h"
#include "workflows/nvfp4/nvfp4_tensor.h"

namespace torchao_cpp::conformance {
namespace {

WeightTensorPtr quantize_by_config(const Json& config, const Tensor& weight) {
  return quantize_tensor(weight, *config_from_dict(config.dump())).weight;
}

Json int4_weight_only_config(std::int64_t group_size, std::string_view format,
                             std::string_view algorithm) {
  return Json{{"_type", "Int4WeightOnlyConfig"},
              {"_version", 2},
              {"_data", Json{{"group_size", group_size},
                             {"int4_packing_format", std::string(format)},
                             {"int4_choose_qparams_algorithm", std::string(algorithm)}}}};
}

WeightTensorPtr quantize_by_class(const GoldenEntry& entry) {
  const std::string name = entry.class_name();
  const Json& attributes = entry.manifest.at("attributes");
  const Tensor weight = entry.tensor("weight");
  if (name == "Int4Tensor") {
    const auto group_size = attributes.at("block_size")[1].get<std::int64_t>();
    if (attributes.at("activation_dtype") != "float8_e4m3fn") {
      return quantize_by_config(int4_weight_only_config(group_size, "plain", "tinygemm"), weight);
    }
    // The config knows no group size but 128.
    if (group_size != 128) return Int4Tensor::from_hp(weight, group_size, DType::kFloat8E4M3FN);
    return quantize_by_config(Json{{"_type", "Float8DynamicActivationInt4WeightConfig"},
                                   {"_version", 1},
                                   {"_data", Json{{"int4_packing_format", "plain"}}}},
                              weight);
  }
  if (name == "Int4TilePackedTo4dTensor") {
    // Only HQQ's zero points have a tolerance of their own.
    const bool hqq = entry.rule("q.scale_and_zero").at("kind") == "hqq_zero";
    return quantize_by_config(
        int4_weight_only_config(attributes.at("block_size")[1].get<std::int64_t>(),
                                "tile_packed_to_4d", hqq ? "hqq" : "tinygemm"),
        weight);
  }
  if (name == "Float8Tensor") {
    Float8Options options;
    options.float8_dtype = entry.tensor("q.qdata").dtype();
    options.granularity = PerBlock{attributes.at("block_size").get<std::vector<std::int64_t>>()};
    return Float8Tensor::from_hp(weight, options);
  }
  if (name == "NVFP4Tensor") {
    NVFP4Attributes nvfp4;
    nvfp4.is_swizzled_scales = attributes.at("is_swizzled_scales").get<bool>();
    return NVFP4Tensor::from_hp(weight, entry.tensor("q.per_tensor_scale").defined(), nvfp4,
                                entry.tensor("q.act_per_tensor_scale"));
  }
  if (name == "NF4Tensor") {
    return NF4Tensor::from_hp(weight, attributes.at("block_size").get<std::int64_t>(),
                              attributes.at("scaler_block_size").get<std::int64_t>());
  }
  throw UnsupportedError(fmt::format("the manifest gives no config for class {}", name));
}

// A config with a calibration step describes how the scales were found, and torchao itself cannot
// read it back.
bool has_calibration_step(const Json& config) {
  return config.contains("_data") && config["_data"].contains("step") &&
         config["_data"]["step"].is_object();
}

}  // namespace

WeightTensorPtr quantize_entry(const GoldenEntry& entry) {
  const Json& config = entry.manifest.at("config");
  if (config.is_null() || has_calibration_step(config)) return quantize_by_class(entry);
  return quantize_by_config(config_to_quantize(entry), entry.weight_to_quantize());
}

Tensor unpacked_codes(const WeightTensor& weight) {
  const QuantizedWeight q = weight.to_quantized_weight();
  Tensor codes = Tensor::empty(DType::kUInt8, {q.output_size, q.input_size});
  auto* to = codes.mutable_data<std::uint8_t>();
  const auto* from = q.qdata.data<std::uint8_t>();
  for (std::int64_t i = 0; i < codes.numel(); ++i) {
    const int nibble = q.codes_per_byte == 2 ? (from[i / 2] >> (i % 2 * 4)) : from[i];
    to[i] = static_cast<std::uint8_t>((nibble + 8) & 15);
  }
  return codes;
}

}  // namespace torchao_cpp::conformance
