// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "torchao_cpp/error.h"
#include "torchao_cpp/export.h"

namespace torchao_cpp {

struct ConfigType;
struct ConfigData;

/// A parsed and validated torchao config object (Int8WeightOnlyConfig, FqnToConfig, ...). Immutable.
class TORCHAO_CPP_EXPORT AOBaseConfig {
 public:
  /// `children` holds the entries of an FqnToConfig in file order (null = leave alone), empty for every other type.
  AOBaseConfig(const ConfigType& type, int version, std::unique_ptr<ConfigData> data,
               std::vector<std::pair<std::string, std::shared_ptr<const AOBaseConfig>>> children = {});
  ~AOBaseConfig();
  AOBaseConfig(const AOBaseConfig&) = delete;
  AOBaseConfig& operator=(const AOBaseConfig&) = delete;

  /// torchao's class name.
  std::string_view type_name() const noexcept;
  int version() const noexcept { return version_; }
  const ConfigType& type() const noexcept { return *type_; }
  const ConfigData& data() const noexcept { return *data_; }

  bool is_fqn_to_config() const noexcept;
  /// FqnToConfig: key -> config in file order; a null pointer means "do not quantize".
  std::span<const std::pair<std::string, std::shared_ptr<const AOBaseConfig>>> fqn_to_config() const noexcept {
    return children_;
  }

 private:
  const ConfigType* type_;
  int version_;
  std::unique_ptr<ConfigData> data_;
  std::vector<std::pair<std::string, std::shared_ptr<const AOBaseConfig>>> children_;
};

using ConfigPtr = std::shared_ptr<const AOBaseConfig>;

/// A remark of the parser that is no error: `kind` is e.g. "default_key_deprecated" or "version_mismatch".
struct ConfigWarning {
  std::string kind;
  std::string message;
};

/// Compact JSON text that torchao's config_to_dict would produce (json.dumps separators with `indent` < 0: ", " and ": ").
TORCHAO_CPP_EXPORT std::string config_to_dict(const AOBaseConfig& config, int indent = -1);

}  // namespace torchao_cpp
