// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "torchao_cpp/tensor.h"

/// The arithmetic of NF4, each step rounded to the weight's dtype as torchao 0.18 does
/// (nf4_tensor.py).
namespace torchao_cpp {

/// The 16 quantiles in `dtype`, ascending from -1 to 1.
Tensor nf4_table(DType dtype);

/// max |w| of each block of the flattened weight, [numel / block_size] in its dtype.
Tensor nf4_block_scalers(const Tensor& weight, std::int64_t block_size);

/// Index of the entry of nf4_table nearest to w / scaler for every element, the first one on ties
/// and for NaN: uint8 [numel / 2], the even element in the high nibble. No |w| is above its
/// scaler. `block_size` is even.
Tensor nf4_indices(const Tensor& weight, const Tensor& scalers, std::int64_t block_size);

/// Block scalers, quantized again.
struct NF4Scalers {
  Tensor quantized;  ///< int8 [n_blocks]
  Tensor factor;     ///< [n_blocks / scaler_block_size]
  Tensor mean;       ///< []
};

/// mean, factor = 256 / (2 max|scaler - mean|) a group, codes = clamp(round((scaler - mean) *
/// factor), -128, 127).
NF4Scalers quantize_nf4_scalers(const Tensor& scalers, std::int64_t scaler_block_size);

/// quantized / factor + mean, [n_blocks] in the dtype of `mean`.
Tensor dequantize_nf4_scalers(const NF4Scalers& scalers, std::int64_t scaler_block_size);

}  // namespace torchao_cpp
