// SPDX-License-Identifier: Apache-2.0
#include "core/float8_quant.h"

#include <algorithm>

#include "base/parallel.h"
#include "core/float_formats.h"
#include "core/float_runs.h"

namespace torchao_cpp {

float Float8Scale::operator()(float abs_max) const noexcept {
  float m = abs_max;
  // torch.clamp keeps NaN, and takes the upper bound when the bounds cross.
  if (value_lb) {
    const float lb = round_to(dtype, static_cast<float>(*value_lb));
    m = m < lb ? lb : m;
  }
  if (value_ub) {
    const float ub = round_to(dtype, static_cast<float>(*value_ub));
    m = m > ub ? ub : m;
  }
  return round_to(dtype, m / max_finite(float8_dtype));
}

void quantize_float8(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                     float scale, DType float8_dtype, std::uint8_t* codes) noexcept {
  encode_quotients(float8_dtype, dtype, data, begin, count, scale, codes);
}

Float8Quantized quantize_float8_weight(const Tensor& weight, const BlockSize& block,
                                       const Float8Scale& choose_scale) {
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  const std::int64_t bn = block[0];
  const std::int64_t bk = block[1];
  const std::int64_t columns = k / bk;
  Float8Quantized out{Tensor::empty(choose_scale.float8_dtype, {n, k}),
                      Tensor::empty(DType::kFloat32, {n / bn, columns})};
  auto* codes = out.qdata.mutable_data<std::uint8_t>();
  auto* scales = out.scale.mutable_data<float>();
  const void* data = weight.bytes();
  const DType dtype = weight.dtype();
  if (bn == 1) {  // A block lies in one row, and in the cache when it is encoded.
    parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin * columns; b < end * columns; ++b) {
        scales[b] = choose_scale(abs_max(dtype, data, b * bk, bk));
        quantize_float8(dtype, data, b * bk, bk, scales[b], choose_scale.float8_dtype,
                        codes + b * bk);
      }
    });
    return out;
  }
  // One block of all the rows (PerTensor) leaves nothing to share out here, so its maximum is found
  // in parallel.
  const bool is_one_block = bn == n && columns == 1;
  if (is_one_block) scales[0] = choose_scale(abs_max_rows(dtype, data, n, k, k));
  parallel_for(is_one_block ? 0 : n / bn, row_grain(bn * k),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t b = begin * columns; b < end * columns; ++b) {
                   const std::int64_t first = b / columns * bn * k + b % columns * bk;
                   float best = 0.0f;
                   for (std::int64_t r = 0; r < bn && best == best; ++r) {
                     const float m = abs_max(dtype, data, first + r * k, bk);
                     best = m > best || m != m ? m : best;
                   }
                   scales[b] = choose_scale(best);
                 }
               });
  parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * columns; i < end * columns; ++i) {
      const float scale = scales[i / columns / bn * columns + i % columns];
      quantize_float8(dtype, data, i * bk, bk, scale, choose_scale.float8_dtype, codes + i * bk);
    }
  });
  return out;
}

Tensor dequantize_float8_weight(const Tensor& qdata, const Tensor& scale, const BlockSize& block,
                                DType output_dtype) {
  const std::int64_t n = qdata.shape()[0];
  const std::int64_t k = qdata.shape()[1];
  const std::int64_t bn = block[0];
  const std::int64_t bk = block[1];
  const std::int64_t columns = k / bk;
  Tensor weight = Tensor::empty(output_dtype, {n, k});
  std::byte* out = weight.mutable_bytes();
  const auto* codes = qdata.data<std::uint8_t>();
  const auto* scales = scale.data<float>();
  parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
    float values[kFloatRun];
    for (std::int64_t i = begin * columns; i < end * columns; ++i) {
      const float s = scales[i / columns / bn * columns + i % columns];
      for (std::int64_t done = 0; done < bk; done += kFloatRun) {
        const std::int64_t count = std::min(kFloatRun, bk - done);
        decode_floats(qdata.dtype(), codes + i * bk + done, count, values);
        for (std::int64_t j = 0; j < count; ++j) values[j] *= s;
        store_floats(output_dtype, out, i * bk + done, count, values);
      }
    }
  });
  return weight;
}

}  // namespace torchao_cpp
