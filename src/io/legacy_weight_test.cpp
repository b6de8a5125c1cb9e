// SPDX-License-Identifier: Apache-2.0
#include "io/legacy_weight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "io/testing_torch.h"
#include "torchao_cpp/checkpoint.h"

namespace torchao_cpp {
namespace {

using namespace testing_files;
using namespace testing_torch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using State = std::vector<std::pair<std::string, std::string>>;

const std::string kPlainLayout = global("torchao.dtypes.utils", "PlainLayout") + ")\x81";

std::string enum_value(std::string_view name, int value) {
  return call(global("torchao.quantization.quant_primitives", name), {integer(value)});
}

class LegacyWeightTest : public ::testing::Test {
 protected:
  std::string impl(std::string_view module, std::string_view name, const State& state) {
    return TorchFileBuilder::object(dtypes_ + std::string(module), name, "int8", {n_, k_}, state);
  }
  std::string plain_impl(const std::string& data, const std::string& scale,
                         const std::string& zero_point) {
    return impl("uintx.plain_layout", "PlainAQTTensorImpl",
                {{"int_data", data},
                 {"scale", scale},
                 {"zero_point", zero_point},
                 {"_layout", kPlainLayout}});
  }
  std::string affine(const std::string& tensor_impl, const std::string& quant_min,
                     const std::string& quant_max, int domain = 1) {
    return TorchFileBuilder::object("torchao.dtypes.affine_quantized_tensor",
                                    "AffineQuantizedTensor", "float32", {n_, k_},
                                    {{"tensor_impl", tensor_impl},
                                     {"block_size", ints({1, group_})},
                                     {"quant_min", quant_min},
                                     {"quant_max", quant_max},
                                     {"zero_point_domain", enum_value("ZeroPointDomain", domain)}});
  }
  std::string activation(const std::string& weight, std::string_view function) {
    return TorchFileBuilder::object(
        "torchao.quantization.linear_activation_quantized_tensor",
        "LinearActivationQuantizedTensor", "float32", {n_, k_},
        {{"original_weight_tensor", weight},
         {"input_quant_func", global("torchao.quantization.quant_api", function)},
         {"quant_kwargs", dict({})}});
  }
  std::string activation_scale(const std::string& weight, const std::string& scale) {
    return TorchFileBuilder::object("torchao.quantization.linear_activation_scale",
                                    "WeightTensorWithLinearActivationScaleMetadata", "float32",
                                    {n_, k_},
                                    {{"original_weight_tensor", weight}, {"scale", scale}});
  }
  /// int8 codes 1, 2, .. 8, [2, 4], one scale a row.
  std::string int8_weight(const std::string& zero_point = kNone) {
    return affine(
        plain_impl(b_.tensor<std::int8_t>("CharStorage", {2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}),
                   b_.tensor<float>("FloatStorage", {2}, {1, 2}), zero_point),
        kNone, kNone);
  }
  TensorParts parts(const std::string& weight) {
    const Checkpoint c = load(weight);
    CheckpointEntry e = c.entry("w");
    EXPECT_TRUE(e.parts.has_value());
    return e.parts ? *e.parts : TensorParts{};
  }
  Checkpoint load(const std::string& weight) {
    write_text(scratch_ / "f.bin", b_.file({{"w", weight}}));
    Checkpoint c(scratch_ / "f.bin");
    warnings_.assign(c.warnings().begin(), c.warnings().end());
    return c;
  }
  std::string kind(const std::string& weight) {
    return kind_of([&] { load(weight).entry("w"); });
  }
  static std::vector<int> codes(const Tensor& t) {
    return {t.data<std::int8_t>(), t.data<std::int8_t>() + t.numel()};
  }

  std::string dtypes_ = "torchao.dtypes.";
  std::int64_t n_ = 2;
  std::int64_t k_ = 4;
  std::int64_t group_ = 4;
  TorchFileBuilder b_;
  ScratchFolder scratch_;
  std::vector<std::string> warnings_;
};

TEST_F(LegacyWeightTest, Int8RowsBecomeInt8Tensor) {
  const TensorParts p = parts(int8_weight(b_.tensor<std::int64_t>("LongStorage", {2}, {0, 0})));
  EXPECT_EQ(p.class_name, "Int8Tensor");
  EXPECT_EQ(p.find("scale").shape(), (Shape{2, 1}));
  EXPECT_FALSE(p.find("zero_point").defined());
  EXPECT_THAT(codes(p.find("qdata")), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(LegacyWeightTest, ZeroPointsOfWholeRowsNeedIntx) {
  const TensorParts p = parts(int8_weight(b_.tensor<std::int32_t>("IntStorage", {2}, {3, -4})));
  EXPECT_EQ(p.class_name, "IntxUnpackedToInt8Tensor");
  EXPECT_THAT(codes(p.find("zero_point")), ElementsAre(3, -4));
  EXPECT_THAT(p.attributes, HasSubstr("\"int8\""));
  EXPECT_THAT(kind(int8_weight(b_.tensor<std::int32_t>("IntStorage", {2}, {300, 0}))),
              "bin.unsupported_legacy_layout");
  const TensorParts f = parts(int8_weight(b_.tensor<float>("FloatStorage", {2}, {0.5f, 300.0f})));
  EXPECT_EQ(f.find("zero_point").dtype(), DType::kFloat32);
}

TEST_F(LegacyWeightTest, SymmetricActivationsLeaveAWarning) {
  EXPECT_THAT(
      parts(activation(int8_weight(), "_int8_symm_per_token_reduced_range_quant")).attributes,
      HasSubstr("\"SYMMETRIC\""));
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("-127..127"));
  EXPECT_THAT(parts(activation(int8_weight(), "_int8_asymm_per_token_quant")).attributes,
              HasSubstr("\"ASYMMETRIC\""));
  EXPECT_TRUE(warnings_.empty());
  EXPECT_EQ(kind(activation(int8_weight(), "_int4_symm_cutlass_quant")),
            "bin.unsupported_legacy_layout");
  EXPECT_EQ(kind(activation(int8_weight(), "_input_activation_quant_func_fp8")),
            "bin.unsupported_legacy_layout");
}

TEST_F(LegacyWeightTest, NarrowRangesBecomeIntxOfThatWidth) {
  group_ = 2;
  const std::string weight =
      affine(plain_impl(b_.tensor<std::int8_t>("CharStorage", {2, 4}, {-4, 3, 0, 1, 2, -1, -2, -3}),
                        b_.tensor<float>("FloatStorage", {2, 2}, {1, 2, 3, 4}),
                        b_.tensor<float>("FloatStorage", {2, 2}, {0, 1, 2, 3})),
             integer(-4), integer(3));
  const TensorParts p = parts(activation(weight, "_int8_asymm_per_token_quant"));
  EXPECT_EQ(p.class_name, "IntxUnpackedToInt8Tensor");
  EXPECT_THAT(p.attributes, HasSubstr("\"int3\""));
  EXPECT_THAT(p.attributes, HasSubstr("int8_asym_per_token"));
  EXPECT_THAT(codes(p.find("zero_point")), ElementsAre(0, 1, 2, 3));
}

TEST_F(LegacyWeightTest, ActivationScalesAreInverted) {
  const std::string scale = b_.tensor<float>("FloatStorage", {4}, {1, 2, 4, 8});
  const TensorParts p = parts(activation_scale(int8_weight(), scale));
  EXPECT_EQ(p.find("act_pre_scale").data<float>()[3], 0.125f);
  EXPECT_EQ(warnings_.size(), 1u);
  EXPECT_EQ(parts(activation_scale(activation(int8_weight(), "_int8_asymm_per_token_quant"), scale))
                .class_name,
            "Int8Tensor");
  EXPECT_EQ(kind(activation_scale(int8_weight(b_.tensor<std::int32_t>("IntStorage", {2}, {3, -4})),
                                  scale)),
            "bin.unsupported_legacy_layout");
  EXPECT_EQ(kind(activation_scale(int8_weight(), b_.tensor<float>("FloatStorage", {3}, {1, 2, 4}))),
            "ao.shape_mismatch");
  EXPECT_EQ(kind(activation_scale(activation_scale(int8_weight(), scale), scale)),
            "pickle.type_error");
}

TEST_F(LegacyWeightTest, UintxShardsGiveTheCodesBack) {
  n_ = 2;
  k_ = 16;
  group_ = 16;
  for (int bits = 1; bits <= 7; ++bits) {
    for (const int pack_dim : {-1, 1}) {
      State state;
      int low = 0;
      const auto code = [&](std::int64_t i) {
        return static_cast<int>((i * 37 + 11) % (1 << bits));
      };
      for (const int b : {4, 2, 1}) {
        if ((bits & b) == 0) continue;
        const std::int64_t row = k_ * b / 8;
        std::vector<std::uint8_t> shard(static_cast<std::size_t>(n_ * row));
        for (std::int64_t i = 0; i < n_ * k_; ++i) {
          const std::int64_t column = i % k_;
          auto& byte = shard[static_cast<std::size_t>(i / k_ * row + column % row)];
          byte = static_cast<std::uint8_t>(byte | (code(i) >> low & ((1 << b) - 1))
                                                      << (b * (column / row)));
        }
        state.emplace_back("int" + std::to_string(b) + "_shard",
                           b_.tensor<std::uint8_t>("ByteStorage", {n_, row}, shard));
        low += b;
      }
      state.insert(state.end(), {{"packed_shape", call(global("torch", "Size"), {ints({n_, k_})})},
                                 {"bit_width", integer(bits)},
                                 {"pack_dim", integer(pack_dim)}});
      const std::string uintx = impl("uintx.uintx_layout", "UintxTensor", state);
      const TensorParts p =
          parts(affine(impl("uintx.uintx_layout", "UintxAQTTensorImpl",
                            {{"int_data", uintx},
                             {"scale", b_.tensor<float>("FloatStorage", {2}, {1, 2})},
                             {"zero_point", b_.tensor<std::int32_t>("IntStorage", {2}, {0, 1})},
                             {"_layout", kNone}}),
                       kNone, kNone));
      EXPECT_THAT(p.attributes, HasSubstr("\"int" + std::to_string(bits) + "\""));
      const int shift = 1 << (bits - 1);
      const std::vector<int> got = codes(p.find("qdata"));
      for (std::int64_t i = 0; i < n_ * k_; ++i)
        EXPECT_EQ(got[static_cast<std::size_t>(i)], code(i) - shift) << bits << " " << i;
      EXPECT_THAT(codes(p.find("zero_point")), ElementsAre(-shift, 1 - shift));
    }
  }
}

TEST_F(LegacyWeightTest, CutlassNibblesAreSigned) {
  for (const char* dtypes : {"torchao.dtypes.", "torchao.prototype.dtypes."}) {
    dtypes_ = dtypes;
    const std::string weight = affine(
        impl(
            "uintx.cutlass_int4_packed_layout", "Int4PackedTensorImpl",
            {{"int_data", b_.tensor<std::uint8_t>("CharStorage", {2, 2}, {0x87, 0x10, 0xF2, 0x03})},
             {"scale", b_.tensor<float>("FloatStorage", {2}, {1, 2})},
             {"_layout", kNone}}),
        integer(-8), integer(7));
    const TensorParts p = parts(weight);
    EXPECT_EQ(p.class_name, "IntxUnpackedToInt8Tensor");
    EXPECT_THAT(codes(p.find("qdata")), ElementsAre(7, -8, 0, 1, 2, -1, 3, 0));
  }
}

TEST_F(LegacyWeightTest, UintxIsReadUnderTheModuleItMovedTo) {
  dtypes_ = "torchao.prototype.dtypes.";
  const std::string uintx =
      impl("uintx.uintx_layout", "UintxTensor",
           {{"int4_shard", b_.tensor<std::uint8_t>("ByteStorage", {2, 2}, {0x20, 0x31, 4, 5})},
            {"packed_shape", ints({2, 4})},
            {"bit_width", integer(4)},
            {"pack_dim", integer(-1)}});
  const std::string layout = global(dtypes_ + "uintx.uintx_layout", "UintxLayout") + ")\x81";
  const TensorParts p = parts(affine(impl("uintx.uintx_layout", "UintxAQTTensorImpl",
                                          {{"int_data", uintx},
                                           {"scale", b_.tensor<float>("FloatStorage", {2}, {1, 2})},
                                           {"_layout", layout}}),
                                     kNone, kNone));
  EXPECT_EQ(p.class_name, "IntxUnpackedToInt8Tensor");
  EXPECT_THAT(codes(p.find("qdata")), ElementsAre(-8, -7, -6, -5, -4, -3, -8, -8));
}

TEST_F(LegacyWeightTest, TilesOfFewerColumnsAreRegrouped) {
  n_ = 8;
  k_ = 1024;
  group_ = 1024;
  const std::string scale_and_zero = b_.tensor<std::uint16_t>(
      "BFloat16Storage", {1, 8, 2}, std::vector<std::uint16_t>(16, 0x3f80));
  for (const int tiles : {2, 4, 8}) {
    const int words = tiles / 2;
    std::vector<std::int32_t> packed(32 * 32);
    // The int32 of lane l and place w in its row of tiles is l * 32 + w.
    for (int w = 0; w < 32; ++w) {
      for (int l = 0; l < 32; ++l)
        packed[static_cast<std::size_t>((w / words * 32 + l) * words + w % words)] = l * 32 + w;
    }
    const std::string layout =
        global("torchao.dtypes.uintx.tensor_core_tiled_layout", "TensorCoreTiledLayout") + ")\x81" +
        dict({{"inner_k_tiles", integer(tiles)}}) + "b";
    const std::string tiled =
        impl("uintx.tensor_core_tiled_layout", "TensorCoreTiledAQTTensorImpl",
             {{"packed_weight",
               b_.tensor<std::int32_t>("IntStorage", {1, 32 / words, 32, words}, packed)},
              {"scale_and_zero", scale_and_zero},
              {"transposed", kFalse},
              {"_layout", layout}});
    const std::string weight = TorchFileBuilder::object(
        "torchao.dtypes.affine_quantized_tensor", "AffineQuantizedTensor", "bfloat16", {n_, k_},
        {{"tensor_impl", tiled},
         {"block_size", ints({1, k_})},
         {"quant_min", integer(0)},
         {"quant_max", integer(15)},
         {"zero_point_domain", enum_value("ZeroPointDomain", 2)}});
    const Tensor qdata = parts(weight).find("qdata");
    ASSERT_EQ(qdata.shape(), (Shape{1, 8, 32, 4}));
    for (int w = 0; w < 32; ++w) {
      for (int l = 0; l < 32; ++l)
        EXPECT_EQ(qdata.data<std::int32_t>()[(w / 4 * 32 + l) * 4 + w % 4], l * 32 + w);
    }
  }
}

TEST_F(LegacyWeightTest, EntriesNameTheClassesOfTheFile) {
  const std::string weight = int8_weight();
  EXPECT_EQ(load(weight).entry("w").stored_class, "AffineQuantizedTensor(PlainAQTTensorImpl)");
  const std::string wrapped = activation(weight, "_int8_asymm_per_token_quant");
  EXPECT_EQ(load(activation_scale(wrapped, b_.tensor<float>("FloatStorage", {4}, {1, 2, 4, 8})))
                .entry("w")
                .stored_class,
            "WeightTensorWithLinearActivationScaleMetadata(LinearActivationQuantizedTensor("
            "AffineQuantizedTensor(PlainAQTTensorImpl)))");
  EXPECT_EQ(load(b_.tensor<float>("FloatStorage", {1}, {1})).entry("w").stored_class, "");
}

TEST_F(LegacyWeightTest, DeviceLayoutsAndOldFilesAreNamed) {
  EXPECT_EQ(kind(TorchFileBuilder::object("torchao.dtypes.affine_quantized_tensor",
                                          "AffineQuantizedTensor", "float32", {2, 4},
                                          {{"layout_tensor", kNone}, {"layout_type", kTrue}})),
            "bin.unsupported_legacy_layout");
  EXPECT_EQ(kind(affine(impl("uintx.gemlite_layout", "GemliteAQTTensorImpl", {{"x", kNone}}), kNone,
                        kNone)),
            "bin.unsupported_legacy_layout");
  EXPECT_EQ(kind(affine(int8_weight(), kNone, kNone)), "pickle.type_error");
  EXPECT_EQ(kind(plain_impl(kNone, kNone, kNone)), "pickle.type_error");
  EXPECT_EQ(kind(affine(kNone, kNone, kNone)), "ao.missing_data");
  // A dict in the place of a layout or an enum.
  for (const State& fake :
       {State{}, State{{"_type", text("Float8Layout")}}, State{{"_data", kNone}}}) {
    const std::string float8 = impl("floatx.float8_layout", "Float8AQTTensorImpl",
                                    {{"float8_data", b_.float8_tensor({2, 4}, "abcdefgh")},
                                     {"scale", b_.tensor<float>("FloatStorage", {2}, {1, 2})},
                                     {"_layout", dict(fake)}});
    const std::string want =
        fake.size() == 1 && fake[0].first == "_type" ? "pickle.type_error" : "ao.metadata_invalid";
    EXPECT_EQ(kind(affine(float8, kNone, kNone)), want);
    EXPECT_EQ(kind(TorchFileBuilder::object("torchao.dtypes.affine_quantized_tensor",
                                            "AffineQuantizedTensor", "float32", {2, 4},
                                            {{"tensor_impl", float8},
                                             {"block_size", ints({1, 4})},
                                             {"zero_point_domain", dict(fake)}})),
              want);
  }
  EXPECT_EQ(kind(activation(kNone, "_int8_asymm_per_token_quant")), "ao.missing_data");
}

// The three orders, against a direct statement of where each row lies.
TEST(Int4CpuOrder, UnpacksEachOrder) {
  const std::int64_t k = 6;
  for (const std::int64_t n : {64, 96, 32, 16, 130}) {
    for (const Int4CpuOrder order :
         {Int4CpuOrder::kAvx512, Int4CpuOrder::kAvx2, Int4CpuOrder::kOther}) {
      const std::int64_t block = order == Int4CpuOrder::kAvx512 ? 64 : 32;
      const auto code = [&](std::int64_t r, std::int64_t c) {
        return static_cast<std::uint8_t>((r * 7 + c * 3) % 16);
      };
      Tensor packed = Tensor::zeros(DType::kUInt8, {n, k / 2});
      auto* out = packed.mutable_data<std::uint8_t>();
      for (std::int64_t b = 0; b < n; b += block) {
        const std::int64_t m = std::min(block, n - b);
        for (std::int64_t c = 0; c < k; ++c) {
          for (std::int64_t d = 0; d < m / 2; ++d) {
            const bool is_split = order != Int4CpuOrder::kOther && m == block;
            const std::int64_t low = b + (is_split ? d : 2 * d);
            const std::int64_t high = b + (is_split ? d + block / 2 : 2 * d + 1);
            *out++ = static_cast<std::uint8_t>(code(low, c) | code(high, c) << 4);
          }
        }
      }
      const Tensor codes = unpack_int4_cpu(packed, n, k, order);
      for (std::int64_t i = 0; i < n * k; ++i)
        ASSERT_EQ(codes.data<std::uint8_t>()[i], code(i / k, i % k))
            << n << " " << static_cast<int>(order);
    }
  }
}

class Int4OpaqueTest : public LegacyWeightTest {
 protected:
  /// 128 rows of 64 columns in groups of 32, each with a 0 and a 15, packed in blocks of `block`
  /// rows.
  std::string opaque(std::int64_t block, std::string_view module = "torchao.quantization") {
    std::vector<std::uint8_t> bytes;
    const auto code = [](std::int64_t r, std::int64_t c) {
      return static_cast<int>(c % 32 == r % 29 ? 0 : c % 32 == 31 ? 15 : 1 + (r * 5 + c * 3) % 14);
    };
    for (std::int64_t b = 0; b < 128; b += block) {
      for (std::int64_t c = 0; c < 64; ++c) {
        for (std::int64_t d = 0; d < block / 2; ++d)
          bytes.push_back(
              static_cast<std::uint8_t>(code(b + d, c) | code(b + d + block / 2, c) << 4));
      }
    }
    return TorchFileBuilder::object(
        module, "Int4OpaqueTensor", "bfloat16", {128, 64},
        {{"qdata", b_.tensor<std::uint8_t>("ByteStorage", {128, 32}, bytes)},
         {"scale_and_zero", b_.tensor<std::uint16_t>("BFloat16Storage", {2, 128, 2},
                                                     std::vector<std::uint16_t>(512, 0x3f80))},
         {"block_size", list({integer(1), integer(32)})},
         {"act_pre_scale", kNone}});
  }
};

TEST_F(Int4OpaqueTest, TellsBlocksOf64RowsFromBlocksOf32) {
  const TensorParts wide = parts(opaque(64));
  EXPECT_EQ(wide.class_name, "Int4Tensor");
  EXPECT_TRUE(warnings_.empty());
  const TensorParts narrow = parts(opaque(32));
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("TORCHAO_CPP_INT4_CPU_ORDER"));
  EXPECT_TRUE(equal_bytes(wide.find("qdata"), narrow.find("qdata")));
  // Row 0 begins with the code 0, which is stored as -8.
  EXPECT_EQ(wide.find("qdata").data<std::uint8_t>()[0] & 15, 8);
  EXPECT_EQ(wide.find("scale").shape(), (Shape{2, 128}));
}

TEST_F(Int4OpaqueTest, IsReadUnderEveryModuleItWasIn) {
  const TensorParts first = parts(opaque(64));
  for (const char* module :
       {"torchao.prototype.int4_opaque_tensor", "torchao.prototype.quantization.int4"}) {
    EXPECT_TRUE(equal_bytes(parts(opaque(64, module)).find("qdata"), first.find("qdata")));
  }
}

TEST_F(Int4OpaqueTest, TheEnvironmentDecidesWhereTheCodesDoNot) {
  const TensorParts avx2 = parts(opaque(32));
  ASSERT_EQ(::setenv("TORCHAO_CPP_INT4_CPU_ORDER", "other", 1), 0);
  const TensorParts other = parts(opaque(32));
  EXPECT_TRUE(warnings_.empty());
  EXPECT_FALSE(equal_bytes(avx2.find("qdata"), other.find("qdata")));
  ::setenv("TORCHAO_CPP_INT4_CPU_ORDER", "avx1", 1);
  EXPECT_EQ(kind(opaque(32)), "validation");
  ::unsetenv("TORCHAO_CPP_INT4_CPU_ORDER");
}

}  // namespace
}  // namespace torchao_cpp
