// SPDX-License-Identifier: Apache-2.0
#include "io/intx_opaque.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/testing_torch.h"
#include "torchao_cpp/checkpoint.h"

namespace torchao_cpp {
namespace {

using namespace testing_files;
using namespace testing_torch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using State = std::vector<std::pair<std::string, std::string>>;

class IntxOpaqueTest : public ::testing::Test {
 protected:
  std::string weight(const std::string& packed, const std::string& format, bool has_bias) {
    const State state{
        {"packed_weights", packed},
        {"bit_width", integer(4)},
        {"block_size", ints({1, 2})},
        {"packed_weights_has_zeros", kFalse},
        {"packed_weights_has_bias", has_bias ? kTrue : kFalse},
        {"intx_packing_format",
         call(global("torchao.quantization.quantize_.workflows.intx.intx_packing_format",
                     "IntxPackingFormat"),
              {text(format)})}};
    return TorchFileBuilder::object("torchao.quantization", "IntxOpaqueTensor", "float32", {2, 4},
                                    state);
  }
  // [2, 4] in groups of 2: four bytes, four scales, two biases.
  std::string packed(const std::vector<float>& values) {
    return b_.tensor<float>("FloatStorage", {static_cast<std::int64_t>(values.size())}, values);
  }
  Checkpoint load(const std::string& value) {
    write_text(scratch_ / "f.bin", b_.file({{"l.weight", value}}));
    return Checkpoint(scratch_ / "f.bin");
  }
  std::string message(const std::string& value) {
    try {
      load(value).entry("l.weight");
    } catch (const CheckpointError& e) {
      return e.kind() + ": " + e.what();
    }
    return "no error";
  }

  TorchFileBuilder b_;
  ScratchFolder scratch_;
};

const std::string kAten = "opaque_aten_kleidiai";

TEST_F(IntxOpaqueTest, ReadsCodesScalesAndTheBiasInside) {
  const Checkpoint c =
      load(weight(packed({0x80, 0x0f, 0x79, 0x88, 1, 2, 3, 4, 0.5f, -0.5f}), kAten, true));
  EXPECT_THAT(c.names(), ElementsAre("l.weight", "l.bias"));
  const CheckpointEntry entry = c.entry("l.weight");
  ASSERT_TRUE(entry.parts.has_value());
  EXPECT_EQ(entry.parts->class_name, "IntxUnpackedToInt8Tensor");
  const auto codes = entry.parts->find("qdata").span<std::int8_t>();
  EXPECT_THAT(std::vector<std::int8_t>(codes.begin(), codes.end()),
              ElementsAre(-8, 0, 7, -8, 1, -1, 0, 0));
  EXPECT_EQ(entry.parts->find("scale").shape(), (Shape{2, 2}));
  EXPECT_EQ(entry.parts->find("scale").data<float>()[3], 4.0f);
  const Tensor bias = c.entry("l.bias").plain;
  EXPECT_EQ(bias.shape(), (Shape{2}));
  EXPECT_EQ(bias.data<float>()[1], -0.5f);
  ASSERT_EQ(c.warnings().size(), 1u);
  EXPECT_THAT(c.warnings()[0], HasSubstr("became IntxUnpackedToInt8Tensor"));
}

TEST_F(IntxOpaqueTest, RefusesPackingsOfKernelLibrariesWithTheWayOut) {
  for (const char* format :
       {"opaque_torchao_auto", "opaque_torchao_kleidiai", "opaque_torchao_lowbit"}) {
    EXPECT_THAT(message(weight(packed({1, 2, 3}), format, false)),
                AllOf(HasSubstr("ao.unsupported_type"), HasSubstr("UNPACKED_TO_INT8")))
        << format;
  }
  const std::string bytes = b_.tensor<std::uint8_t>("ByteStorage", {8}, {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_THAT(message(weight(bytes, kAten, false)), HasSubstr("KleidiAI's packing"));
}

TEST_F(IntxOpaqueTest, RefusesAVectorThatDoesNotFit) {
  EXPECT_THAT(message(weight(packed({1, 2, 3, 4, 1, 2, 3, 4}), kAten, true)),
              HasSubstr("ao.shape_mismatch"));
  EXPECT_THAT(message(weight(packed({1, 2, 3, 256, 1, 2, 3, 4}), kAten, false)),
              HasSubstr("expected a byte"));
  EXPECT_THAT(message(weight(packed({1, 2, 3.5f, 4, 1, 2, 3, 4}), kAten, false)),
              HasSubstr("expected a byte"));
  EXPECT_EQ(message(weight(packed({1, 2, 3, 255, 1, 2, 3, 4}), kAten, false)), "no error");
}

}  // namespace
}  // namespace torchao_cpp
