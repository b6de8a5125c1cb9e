// SPDX-License-Identifier: Apache-2.0
#include "models/parts_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace torchao_cpp {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TensorParts with_attributes(const std::string& attributes) {
  return {"Int8Tensor", attributes, {}};
}

std::vector<std::string> changes(const std::string& before, const std::string& after) {
  return parts_changes(with_attributes(before), with_attributes(after));
}

TEST(PartsChanges, OrderIsNoChange) {
  EXPECT_THAT(changes(R"({"a":1,"b":{"x":[1,2],"y":null}})", R"({"b":{"y":null,"x":[1,2]},"a":1})"),
              IsEmpty());
}

TEST(PartsChanges, NamesAttributesByTheirPath) {
  EXPECT_THAT(changes(R"({"kwargs":{"_type":"K","_data":{"old":1,"same":2}},"n":1})",
                      R"({"kwargs":{"_type":"K","_data":{"same":2,"new":null}},"n":2,"m":0})"),
              ElementsAre("attribute 'kwargs.new' added", "attribute 'kwargs.old' dropped",
                          "attribute 'n' changed", "attribute 'm' added"));
}

TEST(PartsChanges, AChangedTypeIsNamedOnce) {
  EXPECT_THAT(
      changes(R"({"p":{"_type":"K","_data":"FBGEMM"}})", R"({"p":{"_type":"K","_data":"MSLK"}})"),
      ElementsAre("attribute 'p' changed"));
  EXPECT_THAT(changes(R"({"b":[1,2]})", R"({"b":[3,4]})"), ElementsAre("attribute 'b' changed"));
  EXPECT_THAT(changes(R"({"b":[1,2]})", R"({"b":null})"), ElementsAre("attribute 'b' changed"));
}

TEST(PartsChanges, ComparesPartsByName) {
  TensorParts before{"A", "{}", {}};
  before.parts = {{"gone", Tensor::zeros(DType::kInt8, {1})},
                  {"dtype", Tensor::zeros(DType::kBFloat16, {2, 1})},
                  {"shape", Tensor::zeros(DType::kInt8, {2, 3})},
                  {"rank", Tensor::zeros(DType::kInt8, {2})},
                  {"same", Tensor::zeros(DType::kInt8, {2})},
                  {"value", Tensor::zeros(DType::kInt8, {2})}};
  TensorParts after{"B", "{}", {}};
  Tensor ones = Tensor::zeros(DType::kInt8, {2});
  ones.mutable_data<std::int8_t>()[1] = 1;
  after.parts = {{"new", Tensor::zeros(DType::kInt8, {1})},
                 {"value", ones},
                 {"dtype", Tensor::zeros(DType::kFloat32, {2, 1})},
                 {"shape", Tensor::zeros(DType::kInt8, {2, 4})},
                 {"rank", Tensor::zeros(DType::kInt8, {2, 1})},
                 {"same", Tensor::zeros(DType::kInt8, {2})}};
  EXPECT_THAT(parts_changes(before, after),
              ElementsAre("class A became B", "part 'new' added", "part 'value' has other values",
                          "part 'dtype' bfloat16 became float32", "part 'shape' has another shape",
                          "part 'rank' of rank 1 became rank 2", "part 'gone' dropped"));
}

}  // namespace
}  // namespace torchao_cpp
