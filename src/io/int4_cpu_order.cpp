// SPDX-License-Identifier: Apache-2.0
#include "io/int4_cpu_order.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kSampleRows = 64;  // one block of the larger size, two of the smaller
constexpr std::int64_t kMaxSampleGroups = 4096;
constexpr int kMaxWrappers = 2;  // one that scales the activation, one that quantizes it
// Mixed groups hold both ends of the range in some 40 % of cases, whole ones in nearly all.
constexpr double kDecisiveShare = 0.1;

constexpr std::int64_t block_rows(Int4CpuOrder order) noexcept {
  return order == Int4CpuOrder::kAvx512 ? 64 : 32;
}

// Rows of the low and high nibble of byte d in a block of m rows.
std::pair<std::int64_t, std::int64_t> nibble_rows(Int4CpuOrder order, std::int64_t m,
                                                  std::int64_t d) noexcept {
  const std::int64_t block = block_rows(order);
  if (order == Int4CpuOrder::kOther || m != block) return {2 * d, 2 * d + 1};
  return {d, d + block / 2};
}

std::int64_t count_full_groups(const Tensor& codes, std::int64_t group_size) {
  const auto all = codes.span<std::uint8_t>();
  std::int64_t full = 0;
  for (std::size_t at = 0; at < all.size(); at += static_cast<std::size_t>(group_size)) {
    const auto [low, high] =
        std::ranges::minmax(all.subspan(at, static_cast<std::size_t>(group_size)));
    full += low == 0 && high == 15 ? 1 : 0;
  }
  return full;
}

std::optional<Int4CpuOrder> asked_order() {
  const char* asked = std::getenv("TORCHAO_CPP_INT4_CPU_ORDER");
  if (asked == nullptr || *asked == '\0') return std::nullopt;
  const std::string_view name = asked;
  if (name == "avx512") return Int4CpuOrder::kAvx512;
  if (name == "avx2") return Int4CpuOrder::kAvx2;
  if (name == "other") return Int4CpuOrder::kOther;
  throw ConfigError(
      fmt::format("TORCHAO_CPP_INT4_CPU_ORDER is '{}'; expected avx512, avx2 or other", name),
      "validation");
}

}  // namespace

Tensor unpack_int4_cpu(const Tensor& packed, std::int64_t n, std::int64_t k, Int4CpuOrder order) {
  Tensor out = Tensor::empty(DType::kUInt8, {n, k});
  auto* codes = out.mutable_data<std::uint8_t>();
  const auto* bytes = packed.data<std::uint8_t>();
  for (std::int64_t b = 0; b < n; b += block_rows(order)) {
    const std::int64_t m = std::min(block_rows(order), n - b);
    for (std::int64_t d = 0; d < m / 2; ++d) {
      const auto [low, high] = nibble_rows(order, m, d);
      const std::uint8_t* from = bytes + b * k / 2 + d;
      std::uint8_t* const to_low = codes + (b + low) * k;
      std::uint8_t* const to_high = codes + (b + high) * k;
      for (std::int64_t c = 0; c < k; ++c) {
        const std::uint8_t byte = from[c * (m / 2)];
        to_low[c] = byte & 15;
        to_high[c] = byte >> 4;
      }
    }
  }
  return out;
}

void Int4CpuOrderVote::add(const TorchObject& object, int depth) {
  // A pickle may hold a weight that wraps itself.
  if (depth > kMaxWrappers) return;
  if (object.find("original_weight_tensor") != nullptr)
    return add(object.required_object("original_weight_tensor"), depth + 1);
  const bool is_opaque = object.class_name() == "Int4OpaqueTensor";
  if (!is_opaque && object.class_name() != "AffineQuantizedTensor") return;
  const PickleValue* block_size = object.find("block_size");
  if (block_size == nullptr || object.shape().size() != 2) return;
  std::optional<TorchTensor> packed;
  if (is_opaque) {
    packed = object.tensor("qdata");
  } else {
    const TorchObject impl = object.required_object("tensor_impl");
    if (impl.class_name() != "Int4CPUAQTTensorImpl") return;
    packed = impl.tensor("packed_weight");
  }
  const auto block = pickled_integers(*block_size, object.fqn());
  const std::int64_t n = object.shape()[0];
  const std::int64_t k = object.shape()[1];
  // What is malformed is refused by the reader of the class.
  if (!packed || packed->dtype() != DType::kUInt8 || block.size() != 2 || block[1] < 1 || n < 2 ||
      n % 2 != 0 || k < 1 || k % block[1] != 0 || packed->numel() / n != k / 2 ||
      packed->numel() % n != 0 || k % 2 != 0) {
    return;
  }
  if (first_.empty()) first_ = object.fqn();
  if (groups_ >= kMaxSampleGroups) return;
  const std::int64_t rows = std::min(n, kSampleRows);
  const Tensor sample = packed->read().reshape({packed->numel()}).narrow(0, 0, rows * k / 2);
  groups_ += rows * (k / block[1]);
  full_64_ += count_full_groups(unpack_int4_cpu(sample, rows, k, Int4CpuOrder::kAvx512), block[1]);
  full_32_ += count_full_groups(unpack_int4_cpu(sample, rows, k, Int4CpuOrder::kAvx2), block[1]);
}

Int4CpuOrder Int4CpuOrderVote::decide(TorchNotes& notes) const {
  if (first_.empty()) return Int4CpuOrder::kAvx512;
  if (const auto asked = asked_order()) return *asked;
  const auto margin = static_cast<std::int64_t>(static_cast<double>(groups_) * kDecisiveShare);
  if (full_64_ > full_32_ + margin) return Int4CpuOrder::kAvx512;
  if (full_32_ > full_64_ + margin) {
    notes.add(first_,
              "the int4 weights were packed by a CPU without AVX-512, and nothing says which; the "
              "order of AVX2 is assumed. "
              "If the output is nonsense, set TORCHAO_CPP_INT4_CPU_ORDER=other");
    return Int4CpuOrder::kAvx2;
  }
  notes.add(first_,
            "nothing says which CPU packed the int4 weights; the order of AVX-512 is assumed. "
            "If the output is nonsense, set TORCHAO_CPP_INT4_CPU_ORDER to avx2 or other");
  return Int4CpuOrder::kAvx512;
}

}  // namespace torchao_cpp
