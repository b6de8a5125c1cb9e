// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "io/checkpoint_files.h"

namespace torchao_cpp {

/// One parameter and where its data lie. Plain: one part without a name.
struct FlattenedEntry {
  std::string fqn;
  std::string class_name;  ///< Empty for a plain tensor.
  std::string attributes;  ///< JSON text of `_data`.
  std::vector<std::pair<std::string, FlatTensor>> parts;

  bool is_plain() const noexcept { return class_name.empty(); }
};

/// A checkpoint's keys grouped into parameters.
struct FlattenedForm {
  std::vector<FlattenedEntry> entries;  ///< In tensor_names' order, then unclaimed keys in file order.
  std::vector<std::string> tied;        ///< Listed in tensor_names, but without data.
  bool has_tensor_names = false;        ///< Written by torchao.
  std::vector<std::string> warnings;
};

/// Groups the keys by torchao's metadata, merged over all files: keys `mod._leaf_part` by `_tensor_data_names`
/// (torchao >= 0.15), or `name:part` and `name:_data` (0.14). Keys are built, never found by prefix; a key that no listed
/// name claims becomes a plain entry. Without `tensor_names` every key is a plain entry.
///
/// Checks the metadata's structure and the tagged types of attributes, not the classes. Throws CheckpointError:
/// ao.metadata_invalid, ao.missing_data (some parts of a weight but not all) or ao.unsupported_type.
FlattenedForm assemble_flattened_form(const CheckpointFiles& files);

}  // namespace torchao_cpp
