// SPDX-License-Identifier: Apache-2.0
#include "conformance/checkpoint_logits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

/// Cases of one model folder:
///   NAME/logits_f32           the unquantized model in float32
///   NAME/logits_f32_dequant   in float32 on dequantized weights, activations not quantized
///   NAME/logits               as config.json says: its dtype, its quantization
namespace torchao_cpp::conformance {
namespace {

// float32 against float32 differs by the order of sums only: about ten dependent products a layer,
// each with a relative error of up to K * 2^-24 (K = 96: 6e-6), in one or two layers. Relative to
// the largest logit.
constexpr double kFloat32Tolerance = 1e-4;
// The stored float32 logits of an unquantized model come from one that was made in its own dtype
// and then widened, so its rotary frequencies are rounded to that dtype: a relative error of eps /
// 2 in angles of at most a few radians.
double rotary_rounding(DType dtype) {
  switch (dtype) {
    case DType::kBFloat16:
      return 0x1p-8;
    case DType::kFloat16:
      return 0x1p-11;
    default:
      return 0;
  }
}
// The model's own dtype: two runs that round at the same places but sum in another order each stand
// as far from the exact result as the stored run does, so they may be twice that far apart at the
// worst element...
constexpr double kWorstFactor = 2.0;
// ...and, over all elements, independent errors of equal size make sqrt(2), which differs by a
// quarter between models with as few logits as these.
constexpr double kRmsFactor = 1.75;

struct Expected {
  std::vector<std::int32_t> ids;
  Tensor logits;
  Tensor logits_f32;
  Tensor logits_f32_dequant;
};

Tensor optional_tensor(const Checkpoint& file, std::string_view name) {
  return file.contains(name) ? file.entry(name).plain : Tensor{};
}

Expected read_expected(const std::filesystem::path& path) {
  const Checkpoint file(path);
  Expected out;
  const Tensor ids = file.entry("input_ids").plain;
  if (ids.dtype() != DType::kInt64)
    throw Error(
        fmt::format("{}: input_ids is {}, expected int64", path.string(), dtype_name(ids.dtype())));
  for (const std::int64_t id : ids.span<std::int64_t>())
    out.ids.push_back(static_cast<std::int32_t>(id));
  out.logits = optional_tensor(file, "logits");
  out.logits_f32 = optional_tensor(file, "logits_f32");
  out.logits_f32_dequant = optional_tensor(file, "logits_f32_dequant");
  return out;
}

struct Distance {
  double worst = 0;
  double rms = 0;
  std::size_t worst_index = 0;
};

Distance distance(std::span<const float> a, std::span<const float> b) {
  Distance out;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= out.worst)) {  // also when d is NaN
      out.worst = d;
      out.worst_index = i;
    }
    out.rms += d * d;
  }
  out.rms = std::sqrt(out.rms / static_cast<double>(std::max<std::size_t>(a.size(), 1)));
  return out;
}

double largest_magnitude(std::span<const float> values) {
  double out = 0;
  for (const float v : values) out = std::max(out, std::fabs(static_cast<double>(v)));
  return out;
}

// Why `got` is too far from `want`, or nothing.
std::optional<std::string> compare(const Tensor& got, const Tensor& want, double worst_allowed,
                                   double rms_allowed) {
  if (got.numel() != want.numel()) {
    return fmt::format("shape {}, expected {}", shape_to_string(got.shape()),
                       shape_to_string(want.shape()));
  }
  const auto a = got.span<float>();
  const auto b = want.span<float>();
  const Distance d = distance(a, b);
  if (d.worst <= worst_allowed && d.rms <= rms_allowed) return std::nullopt;
  return fmt::format(
      "worst at [{}, {}]: got {}, expected {}; off by {:.3g} (allowed {:.3g}), root mean square "
      "{:.3g} (allowed {:.3g})",
      d.worst_index / static_cast<std::size_t>(got.size(1)),
      d.worst_index % static_cast<std::size_t>(got.size(1)), a[d.worst_index], b[d.worst_index],
      d.worst, worst_allowed, d.rms, rms_allowed);
}

/// Runs the cases of one folder.
class Cases {
 public:
  Cases(std::string_view name, const std::filesystem::path& folder, const Expected& expected,
        Report& report)
      : name_(name), folder_(folder), expected_(expected), report_(report) {}

  void run_unquantized_float32() {
    if (!expected_.logits_f32.defined()) return;
    const DType own = LLM(folder_).dtype();
    run_float32("logits_f32", expected_.logits_f32, kFloat32Tolerance + rotary_rounding(own));
  }

  void run_dequantized_float32() {
    if (expected_.logits_f32_dequant.defined())
      run_float32("logits_f32_dequant", expected_.logits_f32_dequant, kFloat32Tolerance);
  }

  // What the reference's own dtype and activation quantization did to its logits is the measure for
  // ours.
  void run_own_dtype(const Tensor& float32_logits) {
    if (!expected_.logits.defined() || !float32_logits.defined()) return;
    const Distance reference =
        distance(expected_.logits.span<float>(), float32_logits.span<float>());
    const double floor =
        kFloat32Tolerance * std::max(1.0, largest_magnitude(expected_.logits.span<float>()));
    run("logits", {}, expected_.logits, kWorstFactor * reference.worst + floor,
        kRmsFactor * reference.rms + floor);
  }

 private:
  void run_float32(std::string_view stage, const Tensor& want, double tolerance) {
    ModelOptions options;
    options.dtype = DType::kFloat32;
    options.dequantize_weights = true;
    const double allowed = tolerance * std::max(1.0, largest_magnitude(want.span<float>()));
    run(stage, options, want, allowed, allowed);
  }

  void run(std::string_view stage, const ModelOptions& options, const Tensor& want,
           double worst_allowed, double rms_allowed) {
    const std::string name = fmt::format("{}/{}", name_, stage);
    try {
      ModelOptions on_device = options;
      on_device.device = report_.device();
      LLM llm(folder_, on_device);
      if (const auto difference =
              compare(llm.logits(expected_.ids), want, worst_allowed, rms_allowed)) {
        report_.fail(name, *difference);
      } else {
        report_.pass(name);
      }
    } catch (const std::exception& e) {
      report_.fail(name, fmt::format("threw: {}", e.what()));
    }
  }

  std::string name_;
  const std::filesystem::path& folder_;
  const Expected& expected_;
  Report& report_;
};

}  // namespace

void check_logits(std::string_view name, const std::filesystem::path& model_folder,
                  const std::filesystem::path& expected_file, Report& report) {
  try {
    const std::string architecture = inspect_model(model_folder).architecture;
    if (!is_supported_architecture(architecture)) {
      report.skip(fmt::format("{}/logits", name),
                  fmt::format("the architecture {} is not in this version", architecture));
      return;
    }
    const Expected expected = read_expected(expected_file);
    Cases cases(name, model_folder, expected, report);
    cases.run_unquantized_float32();
    cases.run_dequantized_float32();
    cases.run_own_dtype(expected.logits_f32_dequant.defined() ? expected.logits_f32_dequant
                                                              : expected.logits_f32);
  } catch (const std::exception& e) {
    report.fail(fmt::format("{}/logits", name), fmt::format("threw: {}", e.what()));
  }
}

}  // namespace torchao_cpp::conformance
