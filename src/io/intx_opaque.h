// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "io/torch_entry.h"
#include "io/torch_object.h"

namespace torchao_cpp {

/// An IntxOpaqueTensor as IntxUnpackedToInt8Tensor, with the same codes and scales; nullopt for any
/// other class. Only one of its packings is plain bytes: what aten makes of OPAQUE_ATEN_KLEIDIAI
/// where KleidiAI does not take the weight, a float32 vector of
///
///     N * K/2 codes    two 4-bit codes + 8 as one number 0..255, the even column low, row by row
///     N * K/g scales   row by row
///     N biases         where the weight holds the bias
///
/// Leaves a note. Throws CheckpointError ao.unsupported_type, naming what would work, for the other
/// packings; ao.missing_data, ao.metadata_invalid, ao.shape_mismatch, or as TorchObject does.
/// Source: torchao 0.18 workflows/intx/intx_opaque_tensor.py; the layout was read off aten's
/// _dyn_quant_pack_4bit_weight of torch 2.13 on x86.
std::optional<TorchEntry> read_intx_opaque(const TorchObject& object, TorchNotes& notes);

/// The bias that torchao moved from the module into such a weight, under the module's name for it;
/// nullopt for a weight without one. To be asked for weights that read_intx_opaque took.
std::optional<TorchEntry> read_intx_opaque_bias(const TorchObject& object);

}  // namespace torchao_cpp
