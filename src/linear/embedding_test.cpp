// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <vector>

#include "torchao_cpp/linear.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kRows = 128;
constexpr std::int64_t kColumns = 512;  // more than one run of values

// At most two of four columns are not zero, for the sparse classes.
Tensor weight(DType dtype) {
  Tensor t = Tensor::zeros(DType::kFloat32, {kRows, kColumns});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = i % 4 < 2 ? static_cast<float>(static_cast<int>(i * 37 % 101) - 50) * 0.013f : 0.0f;
  return t.to(dtype);
}

Tensor looked_up(const Embedding& embedding, DType dtype, const std::vector<std::int32_t>& ids) {
  Tensor out =
      Tensor::empty(dtype, {static_cast<std::int64_t>(ids.size()), embedding.embedding_dim()});
  embedding.apply(ids, out.mutable_bytes());
  return out;
}

Tensor rows_of(const Tensor& table, const std::vector<std::int32_t>& ids) {
  std::vector<Tensor> rows;
  for (const std::int32_t id : ids) rows.push_back(table.narrow(0, id, 1));
  return concat_rows(rows);
}

const std::vector<std::int32_t> kIds{0, 127, 5, 64, 5};

TEST(Embedding, GivesTheRowsOfAPlainTable) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    const Tensor table = weight(dtype);
    const Embedding embedding(LoadedWeight{table, nullptr}, dtype);
    EXPECT_EQ(embedding.num_embeddings(), kRows);
    EXPECT_EQ(embedding.embedding_dim(), kColumns);
    EXPECT_TRUE(equal_bytes(looked_up(embedding, dtype, kIds), rows_of(table, kIds)));
  }
}

TEST(Embedding, DequantizesRowsAsTheWholeWeightIsDequantized) {
  int tried = 0;
  for (const char* config :
       {"int8wo", "int8wo-32", "int8dq", "int8dq-tensor", "int4wo-128", "int4wo-64-hqq",
        "intx4wo-32", "intx2wo", "intx7wo-64", "8da4w", "fp8wo", "fp8dq-row", "fp8dq-tensor",
        "fp8dq-block", "fp8da4w", "mxfp8", "mxfp6", "mxfp4", "nvfp4wo"}) {
    const ConfigPtr parsed = config_from_shorthand(config);
    ASSERT_NE(parsed, nullptr) << config;
    const WeightTensorPtr quantized = quantize_tensor(weight(DType::kBFloat16), *parsed).weight;
    ASSERT_NE(quantized, nullptr) << config;
    for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
      const Embedding embedding(LoadedWeight{{}, quantized}, dtype);
      EXPECT_TRUE(equal_bytes(looked_up(embedding, dtype, kIds),
                              rows_of(quantized->dequantize().to(dtype), kIds)))
          << config << " " << dtype_name(dtype);
      ++tried;
    }
  }
  EXPECT_EQ(tried, 19 * 3);
}

TEST(Embedding, HoldsTheCodesAndNotTheValues) {
  const WeightTensorPtr quantized =
      quantize_tensor(weight(DType::kBFloat16), *config_from_shorthand("intx8wo")).weight;
  const Embedding embedding(LoadedWeight{{}, quantized}, DType::kBFloat16);
  EXPECT_EQ(embedding.nbytes(), kRows * kColumns + kRows * 2);  // int8 codes, bfloat16 scales
}

}  // namespace
}  // namespace torchao_cpp
