// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <exception>

#include "base/json.h"
#include "conformance/golden_compare.h"
#include "conformance/golden_entry.h"
#include "conformance/golden_from_hp.h"
#include "conformance/report.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/linear.h"
#include "torchao_cpp/quantize.h"

/// The golden suite: each entry of manifest.json in its stages
///   NAME/quantize    the weight, quantized by the entry's config, against every stored q.* tensor
///   NAME/parts       the stored tensors read as a checkpoint entry and written back unchanged
///   NAME/dequantize  the stored tensors dequantized, against `dequant`
///   NAME/linear Y    the linear on the stored tensors, against each output Y
/// and each of the `refusals`: what torchao refuses, leaves alone or quantizes after all.
namespace torchao_cpp::conformance {
namespace {

using Difference = std::optional<std::string>;

Difference check_quantize(const GoldenEntry& entry) {
  const WeightTensorPtr weight = quantize_entry(entry);
  if (weight == nullptr) return "the weight was left unquantized";
  if (weight->class_name() != entry.class_name()) {
    return fmt::format("gave class {}, expected {}", weight->class_name(), entry.class_name());
  }
  const TensorParts got = weight->to_parts();
  const TensorParts want = entry.parts();
  // The inverse smoothing factors are an input here; calibration is not part of quantizing a
  // weight.
  const std::string_view given = "act_pre_scale";
  for (const auto& [name, tensor] : want.parts) {
    if (name == given) continue;
    if (const Difference d = compare_by_rule(got.find(name), tensor, entry.rule("q." + name))) {
      return fmt::format("q.{}: {}", name, *d);
    }
  }
  for (const auto& [name, tensor] : got.parts) {
    if (!want.find(name).defined()) return fmt::format("q.{}: made, but torchao stores none", name);
  }
  if (entry.tensor("q.codes").defined()) {
    if (const Difference d = compare_by_rule(unpacked_codes(*weight), entry.tensor("q.codes"),
                                             entry.rule("q.codes"))) {
      return fmt::format("q.codes: {}", *d);
    }
  }
  return std::nullopt;
}

Difference check_parts(const GoldenEntry& entry) {
  const TensorParts want = entry.parts();
  const TensorParts got = weight_from_parts(want, entry.name)->to_parts();
  // The manifest lists attributes in another order than checkpoints do.
  const auto got_attributes = nlohmann::json::parse(got.attributes);
  const auto want_attributes = nlohmann::json::parse(want.attributes);
  if (got_attributes != want_attributes) {
    return fmt::format("attributes {}, expected {}", got_attributes.dump(), want_attributes.dump());
  }
  if (got.parts.size() != want.parts.size()) {
    return fmt::format("{} tensors, expected {}", got.parts.size(), want.parts.size());
  }
  for (const auto& [name, tensor] : want.parts) {
    if (const Difference d = compare_by_rule(got.find(name), tensor, Json{{"kind", "exact"}})) {
      return fmt::format("{}: {}", name, *d);
    }
  }
  return std::nullopt;
}

Difference check_dequantize(const GoldenEntry& entry) {
  const WeightTensorPtr weight = weight_from_parts(entry.parts(), entry.name);
  // Rules such as "info" speak of a weight quantized anew; from the stored tensors dequantizing is
  // exact, but for formats whose own rule is a tolerance.
  Json rule = entry.rule("dequant");
  if (rule.at("kind") == "info") rule = Json{{"kind", "exact"}};
  if (const Difference d = compare_by_rule(weight->dequantize(), entry.tensor("dequant"), rule))
    return d;
  if (!entry.tensor("q.codes").defined()) return std::nullopt;
  const Difference d =
      compare_by_rule(unpacked_codes(*weight), entry.tensor("q.codes"), Json{{"kind", "exact"}});
  return d ? Difference("unpacked codes: " + *d) : std::nullopt;
}

// The M of "y_m5".
std::int64_t output_rows(const std::string& output) {
  const std::size_t at = output.rfind("_m");
  std::int64_t m = 0;
  if (at != std::string::npos)
    std::from_chars(output.data() + at + 2, output.data() + output.size(), m);
  return m;
}

bool has_fewer_roundings(const Linear& linear) {
  const std::vector<KernelInfo> infos = kernel_infos();
  return std::any_of(infos.begin(), infos.end(), [&](const KernelInfo& info) {
    return info.name == linear.kernel_name() && info.has_fewer_roundings;
  });
}

// For a kernel that leaves out the roundings of operands: two steps of the output's dtype, relative
// to sum |x||w| (each operand is rounded twice by half a step at most).
Json without_roundings(Json rule, DType dtype) {
  if (rule.at("kind") != "dot" || dtype == DType::kFloat32) return rule;
  const double step = dtype == DType::kBFloat16 ? 0x1p-7 : 0x1p-10;
  rule["atol_dot"] = std::max(rule.at("atol_dot").get<double>(), 2 * step);
  return rule;
}

Difference check_linear(const GoldenEntry& entry, const Linear& linear, const std::string& output) {
  const Tensor want = entry.tensor(output);
  DotOperands operands;
  operands.x = entry.tensor("x").narrow(0, 0, output_rows(output));
  operands.dequant = entry.tensor("dequant");
  if (output.starts_with("yb")) operands.bias = entry.tensor("bias");
  Json rule = entry.rule(output);
  if (has_fewer_roundings(linear)) rule = without_roundings(std::move(rule), want.dtype());
  const Difference d = compare_by_rule(linear(operands.x, operands.bias), want, rule, operands);
  return d ? Difference(fmt::format("{} by {}", *d, linear.kernel_name())) : std::nullopt;
}

void run_linears(const GoldenEntry& entry, Report& report) {
  const Json& outputs = entry.manifest.at("outputs");
  if (!outputs.is_array()) return;
  std::optional<Linear> linear;
  std::optional<Linear> reference;  // Beside a kernel with fewer roundings.
  std::string reason;
  try {
    const LoadedWeight weight{{}, weight_from_parts(entry.parts(), entry.name)};
    const DType dtype = entry.tensor("x").dtype();
    linear.emplace(weight, dtype, "", report.device());
    if (has_fewer_roundings(*linear) && report.device().type == DeviceType::kCPU)
      reference.emplace(weight, dtype, "ref");
  } catch (const std::exception& e) {
    reason = e.what();
  }
  for (const Json& item : outputs) {
    const std::string output = item.get<std::string>();
    report.check(fmt::format("{}/linear {}", entry.name, output), [&]() -> Difference {
      if (!linear) return "threw: " + reason;
      return check_linear(entry, *linear, output);
    });
    if (!reference) continue;
    report.check(fmt::format("{}/linear {} with all roundings", entry.name, output),
                 [&] { return check_linear(entry, *reference, output); });
  }
}

void run_entry(const std::filesystem::path& folder, const Json& manifest, Report& report) {
  GoldenEntry entry;
  try {
    entry = GoldenEntry::load(folder, manifest);
  } catch (const std::exception& e) {
    report.fail(manifest.value("file", "entry"), fmt::format("threw: {}", e.what()));
    return;
  }
  report.check(entry.name + "/quantize", [&] { return check_quantize(entry); });
  report.check(entry.name + "/parts", [&] { return check_parts(entry); });
  report.check(entry.name + "/dequantize", [&] { return check_dequantize(entry); });
  run_linears(entry, report);
}

// Values do not matter to what is refused, but an all-zero weight might be special.
Tensor ramp_weight(DType dtype, std::int64_t n, std::int64_t k) {
  Tensor ramp = Tensor::empty(DType::kFloat32, {n, k});
  auto values = ramp.mutable_span<float>();
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(i % 17) / 8.0f - 1.0f;
  return ramp.to(dtype);
}

Difference check_refusal(const Json& refusal) {
  const std::string want = refusal.at("result").get<std::string>();
  const auto dtype = compute_dtype_from_name(refusal.at("weight_dtype").get<std::string>());
  if (!dtype) return "unknown weight_dtype";
  const Tensor weight =
      ramp_weight(*dtype, refusal.at("N").get<std::int64_t>(), refusal.at("K").get<std::int64_t>());
  QuantizeOutcome outcome;
  try {
    outcome = quantize_tensor(weight, *config_from_dict(refusal.at("config").dump()));
  } catch (const Error& e) {
    return want == "error" ? std::nullopt
                           : Difference(fmt::format("expected {}, threw: {}", want, e.what()));
  }
  const std::string got = outcome.weight ? "quantized" : "unchanged";
  if (got != want) return fmt::format("{}, expected {}", got, want);
  if (!outcome.weight)
    return outcome.reason.empty() ? Difference("left alone without a reason") : std::nullopt;
  if (outcome.weight->class_name() == refusal.at("class").get<std::string>()) return std::nullopt;
  return fmt::format("gave class {}, expected {}", outcome.weight->class_name(),
                     refusal.at("class").dump());
}

}  // namespace

void run_golden(const std::filesystem::path& folder, Report& report) {
  const Json manifest = read_json_file(folder / "manifest.json");
  for (const Json& entry : manifest.at("entries")) run_entry(folder, entry, report);
  if (!manifest.contains("refusals")) return;
  for (const Json& refusal : manifest["refusals"]) {
    report.check("refusals/" + refusal.at("name").get<std::string>(),
                 [&] { return check_refusal(refusal); });
  }
}

}  // namespace torchao_cpp::conformance
