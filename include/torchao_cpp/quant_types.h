// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "torchao_cpp/export.h"

namespace torchao_cpp {

/// torchao's granularities (torchao/quantization/granularity.py): which elements share one scale.
struct PerTensor {
  friend bool operator==(const PerTensor&, const PerTensor&) = default;
};
struct PerToken {
  friend bool operator==(const PerToken&, const PerToken&) = default;
};
struct PerRow {
  std::int64_t dim = -1;  ///< The axis that is reduced over.
  friend bool operator==(const PerRow&, const PerRow&) = default;
};
struct PerAxis {
  std::int64_t axis = 0;  ///< The axis that is kept.
  friend bool operator==(const PerAxis&, const PerAxis&) = default;
};
struct PerGroup {
  std::int64_t group_size = 0;  ///< Along the last axis.
  friend bool operator==(const PerGroup&, const PerGroup&) = default;
};
struct PerBlock {
  std::vector<std::int64_t> block_size;
  friend bool operator==(const PerBlock&, const PerBlock&) = default;
};
using Granularity = std::variant<PerTensor, PerToken, PerRow, PerAxis, PerGroup, PerBlock>;

/// "PerRow(dim=-1)" as Python prints it.
TORCHAO_CPP_EXPORT std::string to_string(const Granularity& granularity);

enum class MappingType : std::uint8_t { kSymmetric, kSymmetricNoClippingErr, kAsymmetric };
enum class ScaleCalculationMode : std::uint8_t { kFloor, kRceil, kCeil, kEven };
enum class Int4PackingFormat : std::uint8_t { kPlain, kPreshuffled, kPlainInt32, kTilePackedTo4d };
enum class Int4ChooseQParamsAlgorithm : std::uint8_t { kTinygemm, kHqq };
enum class IntxChooseQParamsAlgorithm : std::uint8_t { kAffine, kHqqScaleOnly };
enum class IntxPackingFormat : std::uint8_t {
  kUnpackedToInt8,
  kOpaqueAtenKleidiai,
  kOpaqueTorchaoAuto,
  kOpaqueTorchaoKleidiai,
  kOpaqueTorchaoLowbit
};
enum class Float8PackingFormat : std::uint8_t { kPlain, kSparse2dData2dMetadata, kSparse1dData1dMetadata };
enum class KernelPreference : std::uint8_t { kAuto, kTorch, kMslk, kEmulated, kTriton };

}  // namespace torchao_cpp
