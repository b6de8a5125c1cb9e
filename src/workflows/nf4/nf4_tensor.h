// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// torchao's NF4Tensor (QLoRA): indices into a table of 16 normal quantiles, with scales that are
/// quantized themselves.
///
/// The weight [N, K] is flattened and cut into blocks of block_size (64). quantized_data uint8
/// [numel / 2], the even element in the high nibble; quantized_scalers int8 [n_blocks];
/// quantization_factor [n_blocks / scaler_block_size] and scaler_mean [] in the weight's dtype; nf4
/// the table [16] in that dtype. w = nf4[index] * (quantized_scaler / factor + mean), each step
/// rounded to the dtype. torchao puts this class into no safetensors file, so the attributes here
/// are block_size, n_blocks, scaler_block_size and shape. Source: torchao 0.18
/// workflows/nf4/nf4_tensor.py.
class NF4Tensor final : public WeightTensor {
 public:
  struct Data {
    Tensor quantized_data;
    Tensor quantized_scalers;
    Tensor quantization_factor;
    Tensor scaler_mean;
    Tensor nf4;
    std::int64_t block_size = 64;
    std::int64_t scaler_block_size = 256;
    std::int64_t n = 0;
    std::int64_t k = 0;
  };

  /// `data` must fit together; from_parts and from_hp check.
  explicit NF4Tensor(Data data) : data_(std::move(data)) {}

  /// As WeightTensorType::from_parts.
  static WeightTensorPtr from_parts(const TensorParts& parts, std::string_view fqn);
  /// Quantizes [N, K] float32, float16 or bfloat16 (torchao's to_nf4). N * K must be a multiple of
  /// block_size * scaler_block_size. Throws ShapeError or UnsupportedError.
  static WeightTensorPtr from_hp(const Tensor& weight, std::int64_t block_size = 64,
                                 std::int64_t scaler_block_size = 256);

  std::string_view class_name() const noexcept override { return "NF4Tensor"; }
  Shape shape() const override { return {data_.n, data_.k}; }
  DType dtype() const noexcept override { return data_.nf4.dtype(); }
  Tensor dequantize(std::optional<DType> output_dtype = std::nullopt) const override;
  TensorParts to_parts() const override;
  QuantizedWeight to_quantized_weight() const override;
  /// Rows alone, in steps that hold whole groups of scalers.
  WeightTensorPtr slice(int dim, std::int64_t start, std::int64_t end) const override;
  WeightTensorPtr concat_rows(std::span<const WeightTensorPtr> parts) const override;
  std::string describe() const override;

  const Data& data() const noexcept { return data_; }

 private:
  /// The scale of each block in the weight's dtype.
  Tensor dequantized_scalers() const;

  Data data_;
};

extern const WeightTensorType kNF4TensorType;

}  // namespace torchao_cpp
