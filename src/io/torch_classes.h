// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "io/torch_entry.h"
#include "io/torch_object.h"

namespace torchao_cpp {

/// An object of one of today's classes: its attributes as they are, its tensors as parts, and the
/// logical dtype and shape where the safetensors form has them as attributes. nullopt for any other
/// class. Throws CheckpointError ao.missing_data, ao.metadata_invalid, or as TorchObject does.
std::optional<TorchEntry> read_current_class(const TorchObject& object);

}  // namespace torchao_cpp
