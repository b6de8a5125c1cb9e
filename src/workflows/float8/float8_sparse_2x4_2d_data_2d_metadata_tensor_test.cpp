// SPDX-License-Identifier: Apache-2.0
#include "workflows/float8/float8_sparse_2x4_2d_data_2d_metadata_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/json.h"
#include "core/float_formats.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Sparse = Float8Sparse2x4_2DData2DMetadataTensor;

// Tensors that torchao made on an H100, by name. A plain reader, as this folder knows no files.
std::map<std::string, Tensor> golden() {
  std::ifstream file(
      std::filesystem::path(TORCHAO_CPP_TEST_DATA) / "golden_cuda/float8_sparse.safetensors",
      std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  const std::map<std::string, DType> dtypes{{"BF16", DType::kBFloat16},
                                            {"F16", DType::kFloat16},
                                            {"F32", DType::kFloat32},
                                            {"F8_E4M3", DType::kFloat8E4M3FN},
                                            {"U8", DType::kUInt8}};
  std::map<std::string, Tensor> out;
  const Json header = parse_json(bytes.substr(8, length), "golden");
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    Tensor t = Tensor::empty(dtypes.at(entry.at("dtype").get<std::string>()),
                             entry.at("shape").get<Shape>());
    std::memcpy(t.mutable_bytes(),
                bytes.data() + 8 + length + entry.at("data_offsets")[0].get<std::size_t>(),
                static_cast<std::size_t>(t.nbytes()));
    out.emplace(name, t);
  }
  return out;
}

Float8Attributes dynamic_per_row(DType dtype) {
  Float8Attributes a;
  a.dtype = dtype;
  a.act_quant_kwargs = QuantizeTensorToFloat8Kwargs{};
  return a;
}

// [4, 8] with two values in each four columns, another pair of positions in each row.
Tensor small_weight() {
  Tensor w = Tensor::zeros(DType::kFloat32, {4, 8});
  constexpr int kPairs[4][2] = {{0, 1}, {0, 3}, {1, 2}, {2, 3}};
  for (std::int64_t row = 0; row < 4; ++row) {
    for (std::int64_t c = 0; c < 8; c += 4) {
      w.mutable_data<float>()[row * 8 + c + kPairs[row][0]] = 1.0F;
      w.mutable_data<float>()[row * 8 + c + kPairs[row][1]] = -0.5F;
    }
  }
  return w;
}

template <typename F>
std::string message_of(const F& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.kind() + " " + e.what();
  }
  return "no error";
}

TEST(Float8Sparse2x4, EqualsWhatTheGpuMade) {
  const auto tensors = golden();
  int cases = 0;
  for (const auto& [name, weight] : tensors) {
    if (!name.ends_with("/weight")) continue;
    const std::string prefix = name.substr(0, name.size() - 6);
    const WeightTensorPtr made = Sparse::from_hp(weight, dynamic_per_row(weight.dtype()));
    const TensorParts parts = made->to_parts();
    for (const char* part : {"qdata", "sparse_metadata", "scale"})
      EXPECT_TRUE(equal_bytes(parts.find(part), tensors.at(prefix + "q." + part)))
          << prefix << part;
    const WeightTensorPtr read = Sparse::from_parts(parts, "w");
    // A -0 is not stored, so it comes back as 0.
    const Tensor dense = read->to_quantized_weight().qdata;
    const Tensor codes = tensors.at(prefix + "codes");
    for (std::int64_t i = 0; i < codes.numel(); ++i) {
      ASSERT_EQ(decode_float(DType::kFloat8E4M3FN, dense.data<std::uint8_t>()[i]),
                decode_float(DType::kFloat8E4M3FN, codes.data<std::uint8_t>()[i]))
          << prefix << i;
    }
    if (tensors.contains(prefix + "dequant")) {
      EXPECT_TRUE(equal_bytes(read->dequantize(), tensors.at(prefix + "dequant"))) << prefix;
    }
    EXPECT_EQ(read->to_parts().attributes, parts.attributes);
    ++cases;
  }
  EXPECT_EQ(cases, 5);
}

TEST(Float8Sparse2x4, GroupsWithFewerThanTwoValuesRoundTrip) {
  for (const std::array<float, 4> group :
       {std::array<float, 4>{0, 0, 0, 0}, {1, 0, 0, 0}, {0, 0, 2, 0}, {0, 0, 0, 3}}) {
    Tensor w = Tensor::zeros(DType::kFloat32, {1, 8});
    std::copy(group.begin(), group.end(), w.mutable_data<float>());
    w.mutable_data<float>()[4] = 4.0F;
    const WeightTensorPtr made = Sparse::from_hp(w, {});
    const WeightTensorPtr read = Sparse::from_parts(made->to_parts(), "w");
    EXPECT_TRUE(equal_bytes(read->dequantize(), made->dequantize()));
    EXPECT_EQ(made->dequantize().data<float>()[4], 4.0F);
  }
}

TEST(Float8Sparse2x4, RefusesAWeightThatIsNotSparse) {
  Tensor w = small_weight();
  w.mutable_data<float>()[8 + 5] = 1.0F;
  EXPECT_THAT(
      message_of([&] { Sparse::from_hp(w, {}); }),
      AllOf(HasSubstr("row 1 has 3 values"), HasSubstr("columns 4 to 7"), HasSubstr("prune")));
  EXPECT_THAT(message_of([] {
                Sparse::from_hp(Tensor::zeros(DType::kFloat32, {2, 6}), {});
              }),
              HasSubstr("multiple of 4"));
}

TEST(Float8Sparse2x4, SlicesAtGroupsAndStacksRows) {
  const WeightTensorPtr whole = Sparse::from_hp(small_weight(), {});
  const Tensor dense = whole->dequantize();
  const WeightTensorPtr top = whole->slice(0, 0, 1);
  const WeightTensorPtr rest = whole->slice(0, 1, 4);
  EXPECT_TRUE(equal_bytes(rest->dequantize(), dense.narrow(0, 1, 3).clone()));
  EXPECT_TRUE(equal_bytes(whole->slice(1, 4, 8)->dequantize(), dense.narrow(1, 4, 4)));
  const std::array<WeightTensorPtr, 2> parts{top, rest};
  EXPECT_TRUE(equal_bytes(top->concat_rows(parts)->to_parts().find("qdata"),
                          whole->to_parts().find("qdata")));
  EXPECT_THAT(message_of([&] { whole->slice(1, 2, 8); }), HasSubstr("multiples of 4"));
}

TEST(Float8Sparse2x4, RefusesPartsThatDoNotFit) {
  TensorParts parts = Sparse::from_hp(small_weight(), {})->to_parts();
  const auto with = [&](std::size_t i, Tensor t) {
    TensorParts changed = parts;
    changed.parts[i].second = std::move(t);
    return message_of([&] { Sparse::from_parts(changed, "w"); });
  };
  EXPECT_THAT(with(1, Tensor::zeros(DType::kUInt8, {4, 16})), HasSubstr("ao.shape_mismatch"));
  EXPECT_THAT(with(0, Tensor::zeros(DType::kFloat8E5M2, {4, 4})), HasSubstr("ao.dtype_mismatch"));
  EXPECT_THAT(with(0, Tensor::zeros(DType::kFloat8E4M3FN, {4, 3})), HasSubstr("ao.shape_mismatch"));
  parts.parts.pop_back();
  EXPECT_THAT(message_of([&] { Sparse::from_parts(parts, "w"); }), HasSubstr("ao.missing_data"));
}

}  // namespace
}  // namespace torchao_cpp
