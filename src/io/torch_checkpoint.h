// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>

#include "io/checkpoint_source.h"

namespace torchao_cpp {

/// A folder with pytorch_model.bin, or pytorch_model.bin.index.json and its shards, or one file of
/// torch.save. Shards are held against the index as those of safetensors are. Throws IoError or
/// CheckpointError.
std::unique_ptr<const CheckpointSource> open_torch_checkpoint(const std::filesystem::path& path);

}  // namespace torchao_cpp
