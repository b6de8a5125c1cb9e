// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device_weight.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "core/float_formats.h"
#include "kernels/cuda/shared_plain.h"

namespace torchao_cpp::cuda {
namespace {

using Bytes = std::vector<std::uint8_t>;

int code_bits(const QuantizedWeight& w) noexcept {
  if (w.codebook.defined()) return 4;
  if (const auto bits = signed_int_bits(w.weight_dtype)) return *bits;
  switch (w.weight_dtype) {
    case DType::kFloat4E2M1FNx2:
      return 4;
    case DType::kFloat6E2M3:
    case DType::kFloat6E3M2:
      return 6;
    default:
      return 8;
  }
}

// What each code of `bits` bits stands for before any scale.
std::vector<float> code_values(const QuantizedWeight& w, int bits) {
  std::vector<float> values(std::size_t{1} << bits);
  for (std::size_t code = 0; code < values.size(); ++code) {
    const auto byte = static_cast<std::uint8_t>(code);
    if (w.codebook.defined()) {
      values[code] = load_float(w.codebook.dtype(), w.codebook.bytes(), byte);
    } else if (signed_int_bits(w.weight_dtype)) {
      const int sign = 1 << (bits - 1);
      values[code] = static_cast<float>((static_cast<int>(code) ^ sign) - sign);
    } else {
      values[code] = decode_float(w.weight_dtype, byte);
    }
  }
  return values;
}

// One code a byte -> a string of bits.
void pack_row(const std::uint8_t* codes, std::int64_t count, int bits, std::uint8_t* out) noexcept {
  const unsigned mask = (1U << bits) - 1;
  unsigned held = 0;
  int held_bits = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    held |= (codes[i] & mask) << held_bits;
    for (held_bits += bits; held_bits >= 8; held_bits -= 8) {
      *out++ = static_cast<std::uint8_t>(held);
      held >>= 8;
    }
  }
  if (held_bits > 0) *out = static_cast<std::uint8_t>(held);
}

std::int64_t padded_row(std::int64_t columns, int bits) noexcept {
  constexpr std::int64_t kUnit = WeightView::kRowUnit;
  return ((columns * bits + 7) / 8 + kUnit - 1) / kUnit * kUnit;
}

// Rows of `bytes` bytes, each padded to `row_bytes`.
Bytes padded_rows(const void* rows, std::int64_t count, std::int64_t bytes,
                  std::int64_t row_bytes) {
  Bytes out(static_cast<std::size_t>(count * row_bytes));
  parallel_for(count, (1 << 20) / row_bytes + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      std::memcpy(out.data() + n * row_bytes, static_cast<const std::byte*>(rows) + n * bytes,
                  static_cast<std::size_t>(bytes));
    }
  });
  return out;
}

}  // namespace

DeviceWeight::DeviceWeight(const LinearProblem& problem, bool is_scaled, bool rounds_values,
                           int device) {
  view_.n = problem.output_size();
  view_.k = problem.input_size();
  view_.block_columns = view_.k;
  if (problem.quantized != nullptr) {
    const QuantizedWeight& w = *problem.quantized;
    if (rounds_values) view_.rounding = rounding_to(w.dtype);
    take_codes(w, device);
    view_.is_scaled = is_scaled;
    if (is_scaled) take_scales(w, device);
    return;
  }
  take_plain(problem.plain, device);
}

void DeviceWeight::take_plain(const Tensor& plain, int device) {
  view_.rounding = rounding_to(plain.dtype());
  view_.bits = static_cast<int>(8 * dtype_size_bytes(plain.dtype()));
  view_.row_bytes = padded_row(view_.k, view_.bits);
  plain_ = SharedPlain::find(plain, device);
  if (plain_ == nullptr) {
    plain_ = std::make_shared<DeviceBuffer>(view_.n * view_.row_bytes, device);
    const std::int64_t bytes = view_.k * dtype_size_bytes(plain.dtype());
    if (bytes == view_.row_bytes) {
      plain_->upload(plain.bytes(), plain.nbytes());
    } else {
      plain_->upload(padded_rows(plain.bytes(), view_.n, bytes, view_.row_bytes).data(),
                     view_.n * view_.row_bytes);
    }
    SharedPlain::offer(plain, plain_);
  }
  view_.codes = plain_->as<std::uint8_t>();
}

void DeviceWeight::take_codes(const QuantizedWeight& w, int device) {
  const int bits = code_bits(w);
  const std::int64_t stored_row = view_.k / w.codes_per_byte;
  view_.bits = bits;
  view_.row_bytes = padded_row(view_.k, bits);
  buffers_.emplace_back(view_.n * view_.row_bytes, device);
  const auto* stored = reinterpret_cast<const std::uint8_t*>(w.qdata.bytes());
  // Nibbles and bytes are stored as they are needed.
  if (bits * w.codes_per_byte == 8) {
    if (stored_row == view_.row_bytes) {
      buffers_.back().upload(stored, view_.n * stored_row);
    } else {
      buffers_.back().upload(padded_rows(stored, view_.n, stored_row, view_.row_bytes).data(),
                             view_.n * view_.row_bytes);
    }
  } else {
    Bytes packed(static_cast<std::size_t>(view_.n * view_.row_bytes));
    parallel_for(view_.n, 65536 / view_.k + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n)
        pack_row(stored + n * stored_row, view_.k, bits, packed.data() + n * view_.row_bytes);
    });
    buffers_.back().upload(packed.data(), static_cast<std::int64_t>(packed.size()));
  }
  view_.codes = buffers_.back().as<std::uint8_t>();
  const std::vector<float> values = code_values(w, bits);
  buffers_.emplace_back(values.data(), static_cast<std::int64_t>(values.size() * sizeof(float)),
                        device);
  view_.code_values = buffers_.back().as<float>();
}

void DeviceWeight::take_scales(const QuantizedWeight& w, int device) {
  view_.zero_kind = w.zero_point_domain;
  view_.block_rows = w.block_size[0];
  view_.block_columns = w.block_size[1];
  view_.blocks_per_row = view_.k / view_.block_columns;
  buffers_.emplace_back(w.scale.bytes(), w.scale.nbytes(), device);
  view_.scale = buffers_.back().data();
  if (dtype_size_bytes(w.scale.dtype()) == 1) {
    const bool is_mx = w.scale.dtype() == DType::kFloat8E8M0FNU;
    const bool is_two_level =
        w.per_tensor_scale.defined() && w.activation.kind != ActivationQuant::Kind::kNVFP4Dynamic;
    const float factor = is_two_level ? *w.per_tensor_scale.data<float>() : 1.0f;
    std::vector<float> values(256);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float value = decode_float(w.scale.dtype(), static_cast<std::uint8_t>(i));
      values[i] = is_mx ? round_to(w.dtype, value) : factor * value;
    }
    buffers_.emplace_back(values.data(), static_cast<std::int64_t>(values.size() * sizeof(float)),
                          device);
    view_.byte_scales = buffers_.back().as<float>();
    view_.has_byte_scales = true;
  } else {
    view_.scale_dtype = rounding_to(w.scale.dtype());
  }
  if (w.zero_point_domain == ZeroPointDomain::kNone) return;
  buffers_.emplace_back(w.zero_point.bytes(), w.zero_point.nbytes(), device);
  view_.zero = buffers_.back().data();
  view_.has_byte_zero = w.zero_point.dtype() == DType::kInt8;
  view_.zero_dtype = rounding_to(w.zero_point.dtype());
}

std::int64_t DeviceWeight::nbytes() const noexcept {
  std::int64_t bytes = plain_ != nullptr ? plain_->nbytes() : 0;
  for (const DeviceBuffer& buffer : buffers_) bytes += buffer.nbytes();
  return bytes;
}

}  // namespace torchao_cpp::cuda
