// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/float_formats.h"
#include "kernels/cuda/activation.h"
#include "kernels/cuda/cuda_device.h"
#include "ops/linear_cases.h"

/// Quantizing activations on a GPU: rows that are held in registers give the same bytes as rows
/// that are taken value by value, which x beside a multiple of 16 bytes is.
namespace torchao_cpp::cuda {
namespace {

struct ActivationCase {
  const char* name;
  ActivationQuant::Kind kind;
  MappingType mapping = MappingType::kSymmetric;
  bool is_per_tensor = false;
  DType element = DType::kFloat8E4M3FN;
};

/// What launch_activation() made.
struct Quantized {
  std::vector<std::uint8_t> codes;
  std::vector<float> scale;
  std::vector<std::int8_t> zero_point;
};

ActivationPlan plan_of(const ActivationCase& c, DType dtype, std::int64_t k) {
  using Kind = ActivationQuant::Kind;
  ActivationPlan plan;
  plan.kind = c.kind;
  const bool is_float8 = c.kind == Kind::kFloat8Dynamic || c.kind == Kind::kFloat8Static;
  plan.form = is_float8 ? OperandForm::kFloat8 : OperandForm::kInt8;
  plan.columns = plan.block_columns = k;
  plan.x_dtype = plan.compute = rounding_to(dtype);
  plan.is_per_tensor = c.is_per_tensor;
  plan.is_static = c.kind == Kind::kInt8Static || c.kind == Kind::kFloat8Static;
  plan.static_scale = 0.03F;
  plan.static_zero_point = is_float8 ? 0 : 5;
  plan.mapping = c.mapping;
  plan.eps = 0x1p-23F;
  plan.element_dtype = c.element;
  plan.element = c.element == DType::kFloat8E5M2 ? ElementFormat{2, -14, 15, 57344.0F}
                                                 : ElementFormat{3, -6, 8, 448.0F};
  plan.has_row_scale = true;
  return plan;
}

template <typename T>
std::vector<T> downloaded(const DeviceBuffer& buffer, std::int64_t count) {
  std::vector<T> out(static_cast<std::size_t>(count));
  buffer.download(out.data(), count * static_cast<std::int64_t>(sizeof(T)));
  return out;
}

Quantized quantize(const ActivationPlan& plan, const Tensor& x, std::int64_t offset) {
  const std::int64_t m = x.shape()[0];
  DeviceBuffer input(x.nbytes() + offset, 0);
  input.upload(x.bytes(), x.nbytes(), offset);
  const DeviceBuffer operand(plan.operand_bytes(m), 0);
  const DeviceBuffer scale(m * 4, 0);
  const DeviceBuffer ends((2 * m + 2) * 4, 0);
  const std::vector<std::int8_t> unset(static_cast<std::size_t>(m), 99);
  const DeviceBuffer zero(unset.data(), m, 0);
  launch_activation(plan, input.data() + offset, m,
                    {operand.data(), scale.as<float>(), zero.as<std::int8_t>(), ends.as<float>()},
                    nullptr);
  return {downloaded<std::uint8_t>(operand, plan.operand_bytes(m)), downloaded<float>(scale, m),
          downloaded<std::int8_t>(zero, m)};
}

class CudaActivation : public testing::TestWithParam<ActivationCase> {};

TEST_P(CudaActivation, HeldRowsGiveTheBytesOfSingleValues) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    for (const std::int64_t k : {16, 272, 4096, 14336, 20000}) {
      for (const std::int64_t m : {1, 3, 300}) {
        Tensor x = ops::random_tensor(dtype, {m, k}, static_cast<unsigned>(k + m), 1.0F);
        if (m == 3) {
          store_float(dtype, x.mutable_bytes(), 7, NAN);
          store_float(dtype, x.mutable_bytes(), k + 9, std::numeric_limits<float>::infinity());
        }
        const ActivationPlan plan = plan_of(GetParam(), dtype, k);
        const Quantized held = quantize(plan, x, 0);
        const Quantized single = quantize(plan, x, dtype_size_bytes(dtype));
        const std::string where = std::string(GetParam().name) + ", " +
                                  std::string(dtype_name(dtype)) + " [" + std::to_string(m) + ", " +
                                  std::to_string(k) + "]";
        EXPECT_TRUE(held.codes == single.codes) << where;
        EXPECT_TRUE(held.zero_point == single.zero_point) << where;
        for (std::int64_t r = 0; r < m; ++r) {
          const float a = held.scale[static_cast<std::size_t>(r)];
          const float b = single.scale[static_cast<std::size_t>(r)];
          EXPECT_TRUE(a == b || (std::isnan(a) && std::isnan(b))) << where << ", row " << r;
        }
      }
    }
  }
}

std::vector<ActivationCase> activation_cases() {
  using Kind = ActivationQuant::Kind;
  return {{"int8", Kind::kInt8Dynamic},
          {"int8_asymmetric", Kind::kInt8Dynamic, MappingType::kAsymmetric},
          {"int8_tensor", Kind::kInt8Dynamic, MappingType::kSymmetric, true},
          {"int8_static", Kind::kInt8Static},
          {"float8", Kind::kFloat8Dynamic},
          {"float8_e5m2", Kind::kFloat8Dynamic, MappingType::kSymmetric, false, DType::kFloat8E5M2},
          {"float8_tensor", Kind::kFloat8Dynamic, MappingType::kSymmetric, true},
          {"float8_static", Kind::kFloat8Static}};
}

INSTANTIATE_TEST_SUITE_P(All, CudaActivation, testing::ValuesIn(activation_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace torchao_cpp::cuda
