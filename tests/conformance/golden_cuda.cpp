// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/json.h"
#include "conformance/golden_compare.h"
#include "conformance/golden_entry.h"
#include "conformance/golden_from_hp.h"
#include "conformance/report.h"
#include "kernels/cuda/cuda_device.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/linear.h"
#include "torchao_cpp/quantize.h"

/// The golden_cuda suite: what torchao made on a GPU, all entries in one file. Of each entry
///   NAME/quantize    the weight, quantized here, against the stored q.* tensors
///   NAME/parts       the stored tensors read as a checkpoint entry and written back unchanged
///   NAME/linear Y    the linear on the stored tensors, on a GPU, against each output Y
/// Without --device the first GPU runs the linears; where there is none they are skipped.
namespace torchao_cpp::conformance {
namespace {

using Difference = std::optional<std::string>;

constexpr std::string_view kFile = "golden_cuda.safetensors";
// On a GPU torch divides by constants as it multiplies with their reciprocals. From bfloat16 the
// rounded result is the same; from float16 it is not for float8's constants, and from float32 the
// last place of scales differs, and with it a code where a quotient lies close to a tie.
constexpr double kFloat32Step = 0x1p-23;
constexpr double kFloat16Step = 0x1p-10;
constexpr double kMostCodesOff = 0.01;

bool is_hqq(const Json& item) {
  return item.at("case").get_ref<const std::string&>().find("_hqq") != std::string::npos;
}

Json quantize_rule(const Json& item, const std::string& tensor) {
  const std::string dtype = item.at("weight_dtype");
  const bool is_float8 = item.at("family").get<std::string>().starts_with("float8");
  if (dtype == "bf16" || (dtype == "f16" && !is_float8)) return {{"kind", "exact"}};
  if (tensor.find("scale") != std::string::npos) {
    return {{"kind", "rel"}, {"rtol", dtype == "f16" ? kFloat16Step : kFloat32Step}, {"atol", 0.0}};
  }
  return {{"kind", "codes"}, {"max_step", 1.0}, {"max_fraction", kMostCodesOff}};
}

// Two runs that sum in another order stand within two steps of the output's dtype, relative to sum
// |x||w|, of each other: what the outputs of the GPU that made the file keep to beside sums in
// float64. A float32 product may be one of tensor cores there.
Json output_rule(DType dtype) {
  const double step = dtype == DType::kBFloat16 ? 0x1p-7 : 0x1p-10;
  return {{"kind", "dot"}, {"rtol", step}, {"atol_dot", 2 * step}, {"nan_equal", true}};
}

class Cases {
 public:
  Cases(const std::filesystem::path& folder, Report& report)
      : file_(folder / kFile), report_(report), device_(report.device()) {
    if (device_.type == DeviceType::kCPU) device_ = Device::cuda(0);
    if (device_.index >= cuda_device_count()) no_gpu_ = cuda_refusal();
    if (no_gpu_.empty() && device_.index >= cuda_device_count())
      no_gpu_ = fmt::format("there is no GPU {}", device_.index);
  }

  void run(const Json& item) {
    const std::string name = item.at("case");
    GoldenEntry entry;
    try {
      entry = load(item);
    } catch (const std::exception& e) {
      report_.fail(name, fmt::format("threw: {}", e.what()));
      return;
    }
    const bool has_recipe =
        entry.manifest.at("config").is_object() || item.at("family") == "int4_tile";
    if (is_hqq(item)) {
      report_.skip(name + "/quantize", "HQQ's sums, and so its codes, are not those of the CPU");
    } else if (has_recipe) {
      report_.check(name + "/quantize", [&] { return check_quantize(entry, item); });
    }
    report_.check(name + "/parts", [&] { return check_parts(entry); });
    run_linears(entry, item);
  }

 private:
  Tensor tensor(const Json& item, const std::string& name) const {
    const Json& info = item.at("tensors").at(name);
    const std::string stored = info.contains("stored_as")
                                   ? info["stored_as"].get<std::string>()
                                   : fmt::format("{}/{}", item.at("case").get<std::string>(), name);
    return file_.entry(stored).plain;
  }

  // In the form of the golden suite.
  GoldenEntry load(const Json& item) const {
    GoldenEntry entry;
    entry.name = item.at("case");
    for (const auto& [name, info] : item.at("tensors").items())
      entry.tensors[name] = tensor(item, name);
    for (const auto& [name, stored] : item.at("inputs").items())
      entry.tensors[name] = file_.entry(stored.get<std::string>()).plain;
    Json expect = Json::object();
    expect["q.scale_and_zero"] = Json{{"kind", is_hqq(item) ? "hqq_zero" : "exact"}};
    entry.manifest = Json{{"class", item.at("class")},
                          {"attributes", item.at("attributes")},
                          {"config", item.contains("config") ? item["config"] : Json()},
                          {"N", item.at("N")},
                          {"K", item.at("K")},
                          {"expect", std::move(expect)}};
    return entry;
  }

  static Difference check_quantize(const GoldenEntry& entry, const Json& item) {
    const WeightTensorPtr weight = quantize_entry(entry);
    if (weight == nullptr) return "the weight was left unquantized";
    if (weight->class_name() != entry.class_name())
      return fmt::format("gave class {}, expected {}", weight->class_name(), entry.class_name());
    const TensorParts got = weight->to_parts();
    for (const auto& [name, want] : entry.parts().parts) {
      if (const Difference d = compare_by_rule(got.find(name), want, quantize_rule(item, name)))
        return fmt::format("q.{}: {}", name, *d);
    }
    return std::nullopt;
  }

  static Difference check_parts(const GoldenEntry& entry) {
    const TensorParts want = entry.parts();
    const TensorParts got = weight_from_parts(want, entry.name)->to_parts();
    for (const auto& [name, tensor] : want.parts) {
      if (const Difference d = compare_by_rule(got.find(name), tensor, Json{{"kind", "exact"}}))
        return fmt::format("{}: {}", name, *d);
    }
    return std::nullopt;
  }

  void run_linears(GoldenEntry& entry, const Json& item) {
    std::optional<Linear> linear;
    for (const auto& member : item.at("tensors").items()) {
      const std::string& name = member.key();
      if (!name.starts_with("y_m") && !name.starts_with("yb_m")) continue;
      const std::string title = fmt::format("{}/linear {}", entry.name, name);
      if (!no_gpu_.empty()) {
        report_.skip(title, no_gpu_);
        continue;
      }
      report_.check(title, [&]() -> Difference {
        if (!linear) {
          const WeightTensorPtr weight = weight_from_parts(entry.parts(), entry.name);
          linear.emplace(LoadedWeight{{}, weight}, entry.tensor("x").dtype(), "", device_);
          entry.tensors["dequant"] = weight->dequantize();
        }
        return check_linear(entry, *linear, name);
      });
    }
  }

  static Difference check_linear(const GoldenEntry& entry, const Linear& linear,
                                 const std::string& output) {
    const Tensor want = entry.tensor(output);
    std::int64_t rows = 0;
    const char* digits = output.data() + output.rfind('m') + 1;
    std::from_chars(digits, output.data() + output.size(), rows);
    DotOperands operands;
    operands.x = entry.tensor("x").narrow(0, 0, rows);
    operands.dequant = entry.tensor("dequant");
    if (output.starts_with("yb")) operands.bias = entry.tensor("bias");
    const Difference d = compare_by_rule(linear(operands.x, operands.bias), want,
                                         output_rule(want.dtype()), operands);
    return d ? Difference(fmt::format("{} by {}", *d, linear.kernel_name())) : std::nullopt;
  }

  Checkpoint file_;
  Report& report_;
  Device device_;
  std::string no_gpu_;  ///< Why no linear can run.
};

}  // namespace

void run_golden_cuda(const std::filesystem::path& folder, Report& report) {
  const Json manifest = read_json_file(folder / "manifest.json");
  Cases cases(folder, report);
  for (const Json& item : manifest.at("entries")) cases.run(item);
}

}  // namespace torchao_cpp::conformance
