// SPDX-License-Identifier: Apache-2.0
#include "conformance/golden_compare.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "core/float_formats.h"

namespace torchao_cpp::conformance {
namespace {

using Difference = std::optional<std::string>;

bool is_float8(DType dtype) {
  return dtype == DType::kFloat8E4M3FN || dtype == DType::kFloat8E5M2 ||
         dtype == DType::kFloat8E8M0FNU;
}

double value_at(const Tensor& t, std::int64_t i) {
  if (is_high_precision(t.dtype())) return load_float(t.dtype(), t.bytes(), i);
  if (is_float8(t.dtype())) return decode_float(t.dtype(), t.data<std::uint8_t>()[i]);
  switch (t.dtype()) {
    case DType::kInt8:
      return t.data<std::int8_t>()[i];
    case DType::kInt32:
      return t.data<std::int32_t>()[i];
    case DType::kInt64:
      return static_cast<double>(t.data<std::int64_t>()[i]);
    default:
      return t.data<std::uint8_t>()[i];
  }
}

std::string index_text(const Tensor& t, std::int64_t flat) {
  Shape index(t.shape().size());
  for (std::size_t d = index.size(); d-- > 0;) {
    index[d] = flat % t.shape()[d];
    flat /= t.shape()[d];
  }
  return shape_to_string(index);
}

// Applies `accept(i)` to every element; reports how many were refused and the first of them.
Difference check_elements(const Tensor& got, const Tensor& want,
                          const std::function<bool(std::int64_t)>& accept) {
  std::int64_t bad = 0;
  std::int64_t first = 0;
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    if (accept(i)) continue;
    if (bad++ == 0) first = i;
  }
  if (bad == 0) return std::nullopt;
  return fmt::format("first bad index {}: got {:.9g}, expected {:.9g} ({} of {} differ)",
                     index_text(want, first), value_at(got, first), value_at(want, first), bad,
                     want.numel());
}

Difference compare_exact(const Tensor& got, const Tensor& want) {
  const auto item = static_cast<std::size_t>(dtype_size_bytes(want.dtype()));
  const bool has_nan = is_high_precision(want.dtype()) || is_float8(want.dtype());
  return check_elements(got, want, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i) * item;
    if (std::memcmp(got.bytes() + at, want.bytes() + at, item) == 0) return true;
    return has_nan && std::isnan(value_at(got, i)) && std::isnan(value_at(want, i));
  });
}

// Both NaN, or the same infinity; nothing else is settled here.
std::optional<bool> compare_special(double got, double want) {
  if (std::isnan(got) || std::isnan(want)) return std::isnan(got) && std::isnan(want);
  if (std::isinf(got) || std::isinf(want)) return got == want;
  return std::nullopt;
}

Difference compare_relative(const Tensor& got, const Tensor& want, double rtol, double atol) {
  return check_elements(got, want, [&](std::int64_t i) {
    const double g = value_at(got, i);
    const double w = value_at(want, i);
    if (const auto special = compare_special(g, w)) return *special;
    return std::fabs(g - w) <= atol + rtol * std::fabs(w);
  });
}

Difference compare_codes(const Tensor& got, const Tensor& want, double max_step,
                         double max_fraction) {
  std::int64_t differing = 0;
  const Difference too_far = check_elements(got, want, [&](std::int64_t i) {
    const double step = std::fabs(value_at(got, i) - value_at(want, i));
    differing += step > 0;
    return step <= max_step;
  });
  if (too_far) return too_far;
  if (static_cast<double>(differing) <= max_fraction * static_cast<double>(want.numel()))
    return std::nullopt;
  return fmt::format("{} of {} codes differ by one step, allowed is a fraction of {}", differing,
                     want.numel(), max_fraction);
}

// Pairs (scale, zero) in the last dimension.
Difference compare_hqq_zero(const Tensor& got, const Tensor& want, double scale_rtol,
                            double atol_in_scales) {
  return check_elements(got, want, [&](std::int64_t i) {
    const double g = value_at(got, i);
    const double w = value_at(want, i);
    if (const auto special = compare_special(g, w)) return *special;
    const double scale = std::fabs(value_at(want, i - i % 2));
    return std::fabs(g - w) <= (i % 2 == 0 ? scale_rtol : atol_in_scales) * scale;
  });
}

Difference compare_dot(const Tensor& got, const Tensor& want, const Json& rule,
                       const DotOperands& operands) {
  const double rtol = rule.at("rtol").get<double>();
  const double atol_dot = rule.at("atol_dot").get<double>();
  const bool nan_equal = rule.value("nan_equal", false);
  const std::int64_t n = want.shape().back();
  const std::int64_t k = operands.x.shape().back();
  const double f16_step = want.dtype() == DType::kFloat16 ? 0x1p-24 : 0.0;
  return check_elements(got, want, [&](std::int64_t i) {
    const double g = value_at(got, i);
    const double w = value_at(want, i);
    if (const auto special = compare_special(g, w))
      return *special && (nan_equal || !std::isnan(w));
    double dot = 0.0;
    for (std::int64_t c = 0; c < k; ++c) {
      dot += std::fabs(value_at(operands.x, i / n * k + c) *
                       value_at(operands.dequant, i % n * k + c));
    }
    const double bias = operands.bias.defined() ? std::fabs(value_at(operands.bias, i % n)) : 0.0;
    return std::fabs(g - w) <= rtol * (std::fabs(w) + bias) + atol_dot * dot + f16_step;
  });
}

}  // namespace

std::optional<std::string> compare_by_rule(const Tensor& got, const Tensor& want, const Json& rule,
                                           const DotOperands& operands) {
  if (!got.defined()) return "missing";
  if (got.dtype() != want.dtype() || got.shape() != want.shape()) {
    return fmt::format("is {} {}, expected {} {}", dtype_name(got.dtype()),
                       shape_to_string(got.shape()), dtype_name(want.dtype()),
                       shape_to_string(want.shape()));
  }
  const std::string kind = rule.at("kind").get<std::string>();
  if (kind == "exact") return compare_exact(got, want);
  if (kind == "info") return std::nullopt;
  if (kind == "rel")
    return compare_relative(got, want, rule.at("rtol").get<double>(),
                            rule.at("atol").get<double>());
  if (kind == "codes") {
    return compare_codes(got, want, rule.at("max_step").get<double>(),
                         rule.at("max_fraction").get<double>());
  }
  if (kind == "hqq_zero") {
    return compare_hqq_zero(got, want, rule.at("scale_rtol").get<double>(),
                            rule.at("atol_in_scales").get<double>());
  }
  if (kind == "dot") return compare_dot(got, want, rule, operands);
  return fmt::format("the manifest's rule '{}' is unknown", kind);
}

}  // namespace torchao_cpp::conformance
