// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "config/config_parser.h"
#include "conformance/report.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"
#include "torchao_cpp/torchao_config.h"

/// The configs suite: every NAME.json with a NAME.expect.json beside it, in the folder and below. An input is a torchao config
/// or a fragment of config.json that holds a quantization_config.
///   ok true: NAME/parsed, NAME/warnings, NAME/rewritten and, for fragments, NAME/hf
///   ok false: NAME is refused with the kind given
namespace torchao_cpp::conformance {
namespace {

constexpr std::string_view kInput = ".json";
constexpr std::string_view kExpect = ".expect.json";

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw IoError(fmt::format("{}: cannot be read", path.string()));
  return text.str();
}

std::string difference(const std::string& got, const std::string& want) {
  constexpr std::size_t kContext = 60;
  const auto at = static_cast<std::size_t>(std::mismatch(got.begin(), got.end(), want.begin(), want.end()).first - got.begin());
  const std::size_t from = at < kContext / 2 ? 0 : at - kContext / 2;
  return fmt::format("differs at character {}: expected '{}', got '{}'", at, want.substr(std::min(from, want.size()), kContext),
                     got.substr(std::min(from, got.size()), kContext));
}

bool is_config_name(const std::string& type) {
  const auto infos = config_infos();
  return std::any_of(infos.begin(), infos.end(), [&](const ConfigInfo& info) { return info.name == type; });
}

// Wire form -> the canonical form of the expect files.
Json canonical(const Json& wire) {
  if (wire.is_array()) {
    Json out = Json::array();
    for (const Json& item : wire) out.push_back(canonical(item));
    return out;
  }
  if (!wire.is_object()) return wire;
  if (!wire.contains("_type")) {
    Json entries = Json::array();
    for (const auto& [key, value] : wire.items()) {
      Json entry = Json::array();
      entry.push_back(key);
      entry.push_back(canonical(value));
      entries.push_back(std::move(entry));
    }
    Json out = Json::object();
    out["map"] = std::move(entries);
    return out;
  }
  const std::string type = wire.at("_type").get<std::string>();
  Json out = Json::object();
  if (type == "torch.dtype") {
    out["dtype"] = wire.at("_data");
  } else if (!wire.contains("_version")) {
    out["enum"] = type;
    out["name"] = wire.at("_data");
  } else {
    out["class"] = type;
    if (is_config_name(type)) out["version"] = wire.at("_version");
    Json fields = Json::object();
    for (const auto& [key, value] : wire.at("_data").items()) fields[key] = canonical(value);
    out["fields"] = std::move(fields);
  }
  return out;
}

struct Case {
  std::string name;
  std::string text;
  Json expect;

  // The quantization_config of a fragment; null for a bare config.
  Json fragment() const {
    Json json;
    if (try_parse_json(text, json) || !json.is_object() || !json.contains("quantization_config")) return nullptr;
    return json["quantization_config"];
  }
};

void check_text(Report& report, const std::string& name, const std::string& got, const std::string& want) {
  if (got == want) {
    report.pass(name);
  } else {
    report.fail(name, difference(got, want));
  }
}

// The kinds of the warnings, each once: torchao repeats one for each of the two maps of an FqnToConfig.
void check_warnings(Report& report, const std::string& name, const std::vector<ConfigWarning>& warnings, const Json& expected) {
  std::set<std::string> got;
  std::set<std::string> want;
  for (const ConfigWarning& warning : warnings) got.insert(warning.kind);
  for (const Json& kind : expected) want.insert(kind.get<std::string>());
  if (got == want) {
    report.pass(name);
  } else {
    report.fail(name, fmt::format("expected {}, got {}", Json(want).dump(), Json(got).dump()));
  }
}

// What of the fragment beside quant_type survives reading and writing.
void check_fragment(Report& report, const std::string& name, const Json& fragment, const Json& expect) {
  const TorchAOConfig config = TorchAOConfig::from_config(fragment.dump());
  const Json written = Json::parse(config.to_quantization_config_json());
  for (const auto& [field, want] : expect.at("hf").items()) {
    // An empty list and null mean the same.
    const Json got = written.value(field, Json(nullptr));
    const bool both_empty = got.is_null() && want.is_array() && want.empty();
    if (got != want && !both_empty) {
      report.fail(name, fmt::format("{}: expected {}, got {}", field, want.dump(), got.dump()));
      return;
    }
  }
  const std::string rewritten = dump_json_python(written.at("quant_type").at("default"));
  check_text(report, name, rewritten, dump_json_python(expect.at("rewritten")));
}

void run_accepted(const Case& test, Report& report) {
  const Json fragment = test.fragment();
  const std::string config_text = fragment.is_null() ? test.text : fragment.at("quant_type").at("default").dump();
  std::vector<ConfigWarning> warnings;
  ConfigPtr config;
  try {
    config = config_from_dict(config_text, &warnings);
  } catch (const std::exception& e) {
    report.fail(test.name + "/parsed", fmt::format("refused: {}", e.what()));
    return;
  }
  check_text(report, test.name + "/parsed", canonical(config_to_wire(*config)).dump(), test.expect.at("parsed").dump());
  check_text(report, test.name + "/rewritten", config_to_dict(*config), dump_json_python(test.expect.at("rewritten")));
  check_warnings(report, test.name + "/warnings", warnings, test.expect.at("warnings"));
  if (!fragment.is_null() && test.expect.contains("hf")) check_fragment(report, test.name + "/hf", fragment, test.expect);
}

void parse(const Case& test) {
  const Json fragment = test.fragment();
  if (fragment.is_null()) {
    config_from_dict(test.text);
    return;
  }
  const Json* quant_type = fragment.is_object() && fragment.contains("quant_type") ? &fragment["quant_type"] : nullptr;
  const bool strict = quant_type != nullptr && quant_type->is_object() && quant_type->size() == 1 && quant_type->contains("default");
  // from_config also reads old forms; a refused fragment is held against what torchao 0.18 reads.
  if (strict) config_from_dict((*quant_type)["default"].dump());
  TorchAOConfig::from_config(fragment.dump());
}

void run_refused(const Case& test, Report& report) {
  const std::string want = test.expect.at("kind").get<std::string>();
  try {
    parse(test);
  } catch (const ConfigError& e) {
    if (e.kind() == want) {
      report.pass(test.name);
    } else {
      report.fail(test.name, fmt::format("expected kind {}, got {}: {}", want, e.kind(), e.what()));
    }
    return;
  } catch (const std::exception& e) {
    report.fail(test.name, fmt::format("expected kind {}, got an error that is no ConfigError: {}", want, e.what()));
    return;
  }
  report.fail(test.name, fmt::format("accepted; expected kind {}", want));
}

void run_case(const std::filesystem::path& input, const std::filesystem::path& expect, const std::string& name, Report& report) {
  try {
    Case test{name, read_text(input), read_json_file(expect)};
    if (test.expect.at("ok").get<bool>()) {
      run_accepted(test, report);
    } else {
      run_refused(test, report);
    }
  } catch (const std::exception& e) {
    report.fail(name, fmt::format("threw: {}", e.what()));
  }
}

}  // namespace

void run_configs(const std::filesystem::path& folder, Report& report) {
  std::vector<std::filesystem::path> expects;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().filename().string().ends_with(kExpect)) expects.push_back(entry.path());
  }
  std::sort(expects.begin(), expects.end());
  for (const auto& expect : expects) {
    std::string file = expect.filename().string();
    file.resize(file.size() - kExpect.size());
    const auto input = expect.parent_path() / (file + std::string(kInput));
    const std::string name = (std::filesystem::relative(expect.parent_path(), folder) / file).lexically_normal().string();
    run_case(input, expect, name, report);
  }
}

}  // namespace torchao_cpp::conformance
