// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "conformance/golden_entry.h"

namespace torchao_cpp::conformance {

/// Quantizes an entry's weight as torchao did: by its config, or, where torchao's config needs a
/// GPU and the file was made by the tensor class itself (config null), by the config or constructor
/// that the class and attributes imply. Null when the config leaves the weight alone. Throws what
/// quantize_tensor throws.
WeightTensorPtr quantize_entry(const GoldenEntry& entry);

/// The unsigned codes 0..15 of a groupwise int4 weight, uint8 [N, K].
Tensor unpacked_codes(const WeightTensor& weight);

}  // namespace torchao_cpp::conformance
