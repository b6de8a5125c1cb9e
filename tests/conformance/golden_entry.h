// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "base/json.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp::conformance {

/// One entry of a golden manifest with the tensors of its file.
struct GoldenEntry {
  Json manifest;
  std::string name;  ///< The file name without its suffix.
  std::map<std::string, Tensor, std::less<>> tensors;

  /// Reads the file that `manifest["file"]` names in `folder`. Throws what Checkpoint throws.
  static GoldenEntry load(const std::filesystem::path& folder, const Json& manifest);

  /// Undefined when the file does not have it.
  Tensor tensor(std::string_view name) const;
  /// The comparison rule of a tensor; {"kind": "info"} when there is none.
  Json rule(std::string_view name) const;
  std::string class_name() const { return manifest.at("class").get<std::string>(); }

  /// The stored q.* tensors and the attributes in torchao's wire form, as a checkpoint would hold
  /// them.
  TensorParts parts() const;
  /// The weight that torchao quantizes: `weight`, multiplied by the smoothing factors where
  /// act_pre_scale holds their inverse.
  Tensor weight_to_quantize() const;
};

/// The manifest's plain attribute values -> torchao's wire form: dtype names, enum members and
/// `_type` objects become
/// {"_type": .., "_data": ..}.
Json attributes_to_wire(const Json& attributes);

/// Config JSON that torchao wrote without its tensors: every null field X for which the entry
/// stores q.X gets the values as nested lists; at any depth. A config that wraps a base_config
/// (AWQ, SmoothQuant) gives the base.
Json config_to_quantize(const GoldenEntry& entry);

}  // namespace torchao_cpp::conformance
