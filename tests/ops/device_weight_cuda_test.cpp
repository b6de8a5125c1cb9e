// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/shared_plain.h"
#include "ops/linear_cases.h"

/// Weights in a GPU's memory.
namespace torchao_cpp::cuda {
namespace {

DeviceWeight make_weight(const Tensor& plain) {
  LinearProblem problem;
  problem.plain = plain;
  problem.device = Device::cuda(0);
  return {problem, true, false, 0};
}

TEST(DeviceWeight, ASharedTensorIsThereOnce) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  const Tensor plain = ops::random_tensor(DType::kBFloat16, {5, 24}, 1, 1.0F);
  const SharedPlain shared(plain);
  const DeviceWeight first = make_weight(plain);
  const DeviceWeight second = make_weight(plain);
  EXPECT_EQ(first.view().codes, second.view().codes);
  EXPECT_NE(first.view().codes, make_weight(plain.clone()).view().codes);
  EXPECT_NE(first.view().codes, make_weight(plain.narrow(0, 0, 3)).view().codes);
}

TEST(DeviceWeight, CopiesThatOthersHoldStay) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  const Tensor plain = ops::random_tensor(DType::kFloat32, {4, 8}, 1, 1.0F);
  const SharedPlain shared(plain);
  auto first = std::make_unique<DeviceWeight>(make_weight(plain));
  const DeviceWeight second = make_weight(plain);
  first.reset();
  const DeviceBuffer probe(plain.nbytes(), 0);
  EXPECT_NE(reinterpret_cast<const std::uint8_t*>(probe.data()), second.view().codes);
  EXPECT_EQ(make_weight(plain).view().codes, second.view().codes);
}

TEST(DeviceWeight, WhatIsNotSharedIsCopied) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  const Tensor plain = ops::random_tensor(DType::kFloat16, {4, 8}, 1, 1.0F);
  { const SharedPlain over(plain); }
  const DeviceWeight first = make_weight(plain);
  EXPECT_NE(first.view().codes, make_weight(plain).view().codes);
}

}  // namespace
}  // namespace torchao_cpp::cuda
