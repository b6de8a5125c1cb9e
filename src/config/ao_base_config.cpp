// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"
#include "config/config_parser.h"
#include "config/config_type.h"
#include "config/fqn_to_config.h"
#include "torchao_cpp/config.h"

namespace torchao_cpp {

AOBaseConfig::AOBaseConfig(const ConfigType& type, int version, std::unique_ptr<ConfigData> data,
                           std::vector<std::pair<std::string, std::shared_ptr<const AOBaseConfig>>> children)
    : type_(&type), version_(version), data_(std::move(data)), children_(std::move(children)) {}

AOBaseConfig::~AOBaseConfig() = default;

std::string_view AOBaseConfig::type_name() const noexcept { return type_->name; }

bool AOBaseConfig::is_fqn_to_config() const noexcept { return type_ == &kFqnToConfigType; }


Json config_to_wire(const AOBaseConfig& config) {
  return Json{{"_type", std::string(config.type_name())}, {"_version", config.version()}, {"_data", config.data().fields}};
}

std::string config_to_dict(const AOBaseConfig& config, int indent) {
  return dump_json_python(config_to_wire(config), indent);
}

}  // namespace torchao_cpp
