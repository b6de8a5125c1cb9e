// SPDX-License-Identifier: Apache-2.0
#include "io/pickle_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/testing_torch.h"

namespace torchao_cpp {
namespace {

using namespace testing_torch;
using ::testing::HasSubstr;
using testing_files::as_bytes;
using testing_files::kind_of;
using namespace std::string_literals;

const std::string kHead = "\x80\x02"s;

std::string kind(const std::string& pickle) {
  return kind_of([&] { read_pickle(as_bytes(pickle), "f.bin"); });
}
/// The kind for a pickle whose root is a dict that holds this value.
std::string value_kind(const std::string& value) {
  return kind(kHead + dict({{"w", value}}) + ".");
}

TEST(PickleReader, ReadsTheValuesOfATorchFile) {
  const std::string pickle = kHead +
                             dict({{"i", "K\7"},
                                   {"j", "M\0\1"s},
                                   {"k", integer(-5)},
                                   {"l", "\x8a\2\0\x80"s},
                                   {"f", "G\x3f\xf8\0\0\0\0\0\0"s},
                                   {"s", "U\2hi"},
                                   {"t", "K\1\x85"s},
                                   {"n", kNone},
                                   {"b", kTrue},
                                   {"list", list({kNone, kFalse})},
                                   {"size", call(global("torch", "Size"), {ints({2, 3})})},
                                   {"d", ordered_dict()}}) +
                             ".";
  const PickleDocument d = read_pickle(as_bytes(pickle), "f.bin");
  const auto value = [&](std::size_t i) -> const PickleValue& { return *d.root->items[2 * i + 1]; };
  EXPECT_EQ(value(0).integer(), 7);
  EXPECT_EQ(value(1).integer(), 256);
  EXPECT_EQ(value(2).integer(), -5);
  EXPECT_EQ(value(3).integer(), -32768);
  EXPECT_EQ(value(4).number(), 1.5);
  EXPECT_EQ(value(5).text(), "hi");
  EXPECT_EQ(value(6).items.size(), 1u);
  EXPECT_TRUE(value(7).is(PickleKind::kNone));
  EXPECT_EQ(value(8).integer(), 1);
  EXPECT_EQ(value(9).items.size(), 2u);
  EXPECT_EQ(value(10).items[1]->integer(), 3);
  EXPECT_TRUE(value(11).is(PickleKind::kDict));
}

TEST(PickleReader, SharesValuesThroughTheMemo) {
  const std::string pickle =
      kHead + "}q\1(" + text("a") + "r\0\0\1\0"s + list({kNone}) + "q\2" + text("b") + "h\2u.";
  const PickleDocument d = read_pickle(as_bytes(pickle), "f.bin");
  EXPECT_EQ(d.root->items[1], d.root->items[3]);
  EXPECT_EQ(value_kind("h\3"), "pickle.malformed");
  EXPECT_EQ(value_kind("Nr\xff\xff\xff\xff"s), "pickle.limit_exceeded");
}

TEST(PickleReader, TakesOnlyProtocol2AndItsOpcodes) {
  EXPECT_EQ(kind("\x80\x02}."s), "ok");
  EXPECT_EQ(kind("\x80\x04}."s), "pickle.unsupported_protocol");
  EXPECT_EQ(kind("}."), "pickle.unsupported_protocol");
  EXPECT_EQ(kind(""), "pickle.malformed");
  for (const char op :
       "\x93\x94\x95\x96io0"
       "12P\x82\x83\x84I\x8b"
       "FLSTVBC\x8c\x8d\x8e\x8f\x90\x91\x92\x80\x81"s) {
    const std::string kind = value_kind(std::string(1, op));
    EXPECT_TRUE(kind == "pickle.forbidden_opcode" || (op == '\x81' && kind == "pickle.malformed"))
        << int(op) << kind;
  }
}

TEST(PickleReader, TakesOnlyGlobalsThatAreListedExactly) {
  EXPECT_EQ(value_kind(global("torch", "bfloat16")), "ok");
  const std::vector<std::pair<std::string, std::string>> forbidden{
      {"os", "system"},
      {"torch", "load"},
      {"torch", "bfloat16 "},
      {" torch", "bfloat16"},
      {"torch", ""},
      {"torch", "bfloat16\0"s},
      {"torch", "storage.UntypedStorage"},
      {"torch.storage", "FloatStorage"},
      {"torch", "ComplexFloatStorage"},
      {"torchao.quantization", "NotThere"},
      {"torchao.quantization.quant_api", "quantize_"},
      {"builtins", "eval"},
      {"__builtin__", "getattr"},
      {"torch", "float32\r"}};
  for (const auto& [module, name] : forbidden) {
    EXPECT_EQ(value_kind(global(module, name)), "pickle.forbidden_global") << module << name;
  }
  EXPECT_EQ(
      value_kind(global("torchao.dtypes.uintx.marlin_sparse_layout", "MarlinSparseAQTTensorImpl")),
      "bin.unsupported_legacy_layout");
  EXPECT_EQ(value_kind(global("torchao.prototype.quantization.int8_lut_tensor.int8_lut_tensor",
                              "Int8LutTensor")),
            "ao.unsupported_type");
  EXPECT_EQ(value_kind("ctorch"), "pickle.malformed");
}

TEST(PickleReader, SaysWhatWouldWorkForClassesOfOneDevice) {
  const auto message = [](std::string_view module, std::string_view name) -> std::string {
    const std::string pickle = kHead + global(module, name) + ".";
    try {
      read_pickle(as_bytes(pickle), "f.bin");
    } catch (const CheckpointError& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_THAT(message("torchao.prototype.float8_opaque_tensor", "Float8OpaqueTensor"),
              HasSubstr("belongs to the CPU that packed it and is not read; quantize the "
                        "unquantized model again with Float8DynamicActivationFloat8WeightConfig"));
  EXPECT_THAT(message("torchao.dtypes.uintx.gemlite_layout", "GemliteAQTTensorImpl"),
              HasSubstr("again with UIntxWeightOnlyConfig"));
}

TEST(PickleReader, CallsNothingButTheListedForms) {
  const std::string mapping = global("torchao.quantization.quant_primitives", "MappingType");
  const std::string row = global("torchao.quantization.granularity", "PerRow");
  EXPECT_EQ(value_kind(call(mapping, {integer(1)})), "ok");
  EXPECT_EQ(value_kind(call(mapping, {kNone})), "pickle.type_error");
  EXPECT_EQ(value_kind(call(global("torch", "bfloat16"), {})), "pickle.type_error");
  EXPECT_EQ(value_kind(call(global("torchao.quantization.quant_api", "_int8_asymm_per_token_quant"),
                            {kNone})),
            "pickle.type_error");
  EXPECT_EQ(value_kind(call(text("x"), {})), "pickle.type_error");
  EXPECT_EQ(value_kind(global("collections", "OrderedDict") + ints({1}) + "R"),
            "pickle.type_error");
  EXPECT_EQ(value_kind(row + ")\x81" + dict({{"dim", integer(-1)}}) + "b"), "ok");
  EXPECT_EQ(value_kind(row + ")\x81" + dict({}) + "b" + dict({}) + "b"), "pickle.type_error");
  EXPECT_EQ(value_kind(row + ")\x81" + list({}) + "b"), "pickle.type_error");
  EXPECT_EQ(value_kind(row + ")R"), "pickle.type_error");
  EXPECT_EQ(value_kind(mapping + ")\x81"), "pickle.type_error");
  EXPECT_EQ(value_kind(ordered_dict() + dict({{"_metadata", kNone}}) + "b"), "pickle.type_error");
  EXPECT_EQ(kind(kHead + ordered_dict() + dict({{"_metadata", ordered_dict()}}) + "b."), "ok");
  EXPECT_EQ(kind(kHead + ordered_dict() + dict({{"__class__", kNone}}) + "b."),
            "pickle.type_error");
  EXPECT_EQ(kind(kHead + dict({}) + dict({{"_metadata", kNone}}) + "b."), "pickle.type_error");
  EXPECT_EQ(value_kind(tuple({text("module"), kNone}) + "Q"), "pickle.type_error");
}

TEST(PickleReader, RefusesBrokenStructure) {
  for (const std::string& value : {"t"s, "(("s, "e"s, "]Ka"s, "R"s, "b"s, "X\xff\xff\xff\x7f"s,
                                   "X\1\0\0\0\xff"s, "U\5ab"s, "\x8a\5\1"s, "(K\1a"s, "("s}) {
    EXPECT_NE(value_kind(value), "ok") << value;
  }
  EXPECT_EQ(value_kind("t"), "pickle.malformed");
  EXPECT_EQ(value_kind("X\1\0\0\0\xff"s), "pickle.malformed");
  EXPECT_EQ(value_kind("\x8a\x09\1\1\1\1\1\1\1\1\1"s), "pickle.type_error");
  EXPECT_EQ(kind(kHead + "(Nt(Na."), "pickle.malformed");
  EXPECT_EQ(kind(kHead + "}NNs."), "pickle.type_error");
  EXPECT_EQ(kind(kHead + "}(" + text("a") + "u."), "pickle.malformed");
  EXPECT_EQ(kind(kHead + "}"), "pickle.malformed");
  EXPECT_EQ(kind(kHead + "."), "pickle.malformed");
  EXPECT_EQ(kind(kHead + "]."), "pickle.type_error");
  EXPECT_EQ(kind(kHead + "N}."), "pickle.malformed");
  EXPECT_EQ(kind(kHead + "}.."), "pickle.malformed");
}

TEST(PickleReader, BoundsDepthMarksAndSelfReference) {
  std::string deep = "]";
  for (int i = 0; i < 60; ++i) deep = list({deep});
  EXPECT_EQ(value_kind(deep), "ok");
  for (int i = 0; i < 10; ++i) deep = list({deep});
  EXPECT_EQ(value_kind(deep), "pickle.limit_exceeded");
  EXPECT_EQ(value_kind("]q\1h\1a"), "pickle.type_error");
  EXPECT_EQ(kind(kHead + std::string(257, '(')), "pickle.limit_exceeded");
  EXPECT_EQ(kind(kHead + std::string((1 << 20) + 2, 'N')), "pickle.limit_exceeded");
  // Two lists, each in the other.
  EXPECT_EQ(value_kind("]q\1]q\2h\1aa"), "ok");
}

}  // namespace
}  // namespace torchao_cpp
