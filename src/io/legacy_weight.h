// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "core/affine.h"
#include "io/int4_cpu_order.h"
#include "io/torch_entry.h"
#include "io/torch_object.h"

namespace torchao_cpp {

/// What the legacy reader knows of the whole file, and where it leaves remarks.
struct LegacyContext {
  Int4CpuOrder int4_cpu_order = Int4CpuOrder::kAvx512;
  TorchNotes& notes;
};

/// The activation that a wrapper class asks for.
struct LegacyActivation {
  enum class Kind : std::uint8_t { kNone, kInt8Symmetric, kInt8Asymmetric, kFloat8 };
  Kind kind = Kind::kNone;
  Json granularity;  ///< kFloat8, in the metadata's encoding.
  Json float8_dtype;
  std::optional<TorchTensor> scale;      ///< kFloat8: static.
  std::optional<TorchTensor> pre_scale;  ///< The activation is divided by it first.
};

/// AffineQuantizedTensor without its implementation.
struct AffineWeight {
  std::string fqn;
  std::int64_t n = 0;
  std::int64_t k = 0;
  DType dtype = DType::kBFloat16;
  BlockSize block_size{};
  std::optional<std::int64_t> quant_min;
  std::optional<std::int64_t> quant_max;
  std::string zero_point_domain;  ///< "INT", "FLOAT", "NONE" or empty.
  LegacyActivation activation;

  std::int64_t rows() const noexcept { return n / block_size[0]; }
  std::int64_t columns() const noexcept { return k / block_size[1]; }
};

/// The logical shape [N, K], of so few elements that no arithmetic on it overflows. Throws
/// CheckpointError ao.shape_mismatch.
std::array<std::int64_t, 2> legacy_matrix_shape(const TorchObject& object);

/// A weight of one of legacy_classes(): AffineQuantizedTensor, alone or in the wrappers that quantize
/// or scale the activation, or Int4OpaqueTensor. It becomes one of today's classes with the
/// same dequantized values, or a plain tensor where none has them. nullopt for any other class.
/// Leaves a note where the activation is quantized otherwise than by the torchao that wrote the
/// file. Throws CheckpointError: bin.unsupported_legacy_layout, ao.missing_data,
/// ao.metadata_invalid, ao.shape_mismatch, ao.dtype_mismatch, or as TorchObject does. Source:
/// torchao 0.8 to 0.15, dtypes/affine_quantized_tensor.py and dtypes/uintx, dtypes/floatx.
std::optional<TorchEntry> read_legacy_class(const TorchObject& object, LegacyContext& context);

/// The classes of a weight that read_legacy_class read, outermost first:
/// "AffineQuantizedTensor(PlainAQTTensorImpl)".
std::string legacy_class_path(const TorchObject& object);

// The implementations, each in the file of its kind. They take what `object` holds out of it.

/// Integer codes: PlainAQTTensorImpl, QDQTensorImpl, UintxAQTTensorImpl, Int4PackedTensorImpl.
TorchEntry read_legacy_integer(const TorchObject& impl, AffineWeight weight,
                               LegacyContext& context);
/// Float8AQTTensorImpl.
TorchEntry read_legacy_float8(const TorchObject& impl, AffineWeight weight, LegacyContext& context);
/// TensorCoreTiledAQTTensorImpl and Int4CPUAQTTensorImpl.
TorchEntry read_legacy_int4(const TorchObject& impl, AffineWeight weight, LegacyContext& context);
/// Int4OpaqueTensor.
TorchEntry read_int4_opaque(const TorchObject& object, LegacyContext& context);

/// 1 / scale, as act_pre_scale of today's classes, float32 [K]. Throws CheckpointError
/// ao.shape_mismatch or ao.dtype_mismatch, naming `fqn`.
Tensor inverted_scale(const TorchTensor& scale, std::int64_t k, std::string_view fqn);

}  // namespace torchao_cpp
