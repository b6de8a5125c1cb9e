// SPDX-License-Identifier: Apache-2.0
// Weights that torchao 0.18 itself saved with torch.save, of the classes that safetensors cannot
// hold, and their values by torchao (scripts/make_torch_classes.py).
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/linear.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

const std::filesystem::path kFolder =
    std::filesystem::path(TORCHAO_CPP_TEST_DATA) / "torch_classes";

TEST(TorchClasses, HaveTorchaosValuesToTheBit) {
  const Checkpoint weights(kFolder / "weights.bin");
  const Checkpoint values(kFolder / "dequant.safetensors");
  ASSERT_EQ(weights.names().size(), values.names().size());
  std::map<std::string, int> classes;
  for (const std::string& name : weights.names()) {
    const CheckpointEntry entry = weights.entry(name);
    const Tensor want = values.entry(name).plain;
    if (!entry.parts) {
      EXPECT_TRUE(equal_bytes(entry.plain, want)) << name;
      continue;
    }
    const WeightTensorPtr weight = weight_from_parts(*entry.parts, name);
    ++classes[std::string(weight->class_name())];
    EXPECT_TRUE(equal_bytes(weight->dequantize(), want)) << name;
    const Linear linear(LoadedWeight{{}, weight}, DType::kBFloat16);
    const Tensor x = Tensor::zeros(DType::kBFloat16, {2, weight->shape()[1]});
    EXPECT_EQ(linear(x).shape(), (Shape{2, weight->shape()[0]})) << name;
  }
  EXPECT_EQ(classes, (std::map<std::string, int>{{"Int4Tensor", 1},
                                                 {"IntxUnpackedToInt8Tensor", 2},
                                                 {"NF4Tensor", 1},
                                                 {"PrototypeFloat8Tensor", 1},
                                                 {"UIntxBitPackedTensor", 3}}));
}

}  // namespace
}  // namespace torchao_cpp
