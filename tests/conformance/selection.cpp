// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <exception>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "conformance/report.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/torchao_config.h"

/// The selection suite: layer_selection.json.
///   CASE/LAYER       vLLM's choice for each layer, by a whole quantization_config
///   should_skip N    vLLM's should_skip
namespace torchao_cpp::conformance {
namespace {

constexpr std::string_view kUnquantized = "unquantized";
constexpr std::string_view kError = "error";

Json typed(std::string_view type, int version, Json data) {
  return Json{{"_type", std::string(type)}, {"_version", version}, {"_data", std::move(data)}};
}

/// The configs that a file calls by letters: A, B, C are Int8WeightOnlyConfig with PerRow, PerTensor, PerGroup(32);
/// every further name stands for a group size of its own.
class Names {
 public:
  Json config(const std::string& name) {
    const auto [it, is_new] = index_.emplace(name, static_cast<int>(index_.size()) + 2);
    Json granularity = Json::object();
    if (name == "A") {
      granularity = typed("PerRow", 1, Json::object({{"dim", -1}}));
    } else if (name == "B") {
      granularity = typed("PerTensor", 1, Json::object());
    } else {
      granularity = typed("PerGroup", 1, Json::object({{"group_size", name == "C" ? 32 : 32 * it->second}}));
    }
    Json data = Json::object();
    data["group_size"] = nullptr;
    data["granularity"] = std::move(granularity);
    data["set_inductor_config"] = true;
    Json out = typed("Int8WeightOnlyConfig", 2, std::move(data));
    by_text_[dump_json_python(out)] = name;
    return out;
  }

  std::string name_of(const ConfigPtr& config) const {
    if (config == nullptr) return std::string(kUnquantized);
    const auto it = by_text_.find(config_to_dict(*config));
    return it == by_text_.end() ? config_to_dict(*config) : it->second;
  }

 private:
  std::map<std::string, int> index_;
  std::map<std::string, std::string> by_text_;
};

// The case as a checkpoint's config.json would hold it.
Json quantization_config(const Json& test, Names& names) {
  Json config;
  if (test.at("rules").is_null()) {
    config = names.config("A");
  } else {
    Json map = Json::object();
    for (const Json& rule : test.at("rules")) {
      map[rule.at(0).get<std::string>()] = rule.at(1).is_null() ? Json(nullptr) : names.config(rule.at(1).get<std::string>());
    }
    Json data = Json::object();
    data["fqn_to_config"] = map;
    data["module_fqn_to_config"] = std::move(map);
    config = typed("FqnToConfig", 1, std::move(data));
  }
  Json out = Json::object();
  out["quant_method"] = "torchao";
  out["quant_type"]["default"] = std::move(config);
  out["modules_to_not_convert"] = test.at("modules_to_not_convert");
  return out;
}

void check_layer(Report& report, const std::string& name, const std::string& got, const std::string& want, const std::string& reason) {
  const bool both_errors = got == kError && want.starts_with(kError);
  if (got == want || both_errors) {
    report.pass(name);
  } else {
    report.fail(name, fmt::format("expected {}, got {} ({})", want, got, reason));
  }
}

void run_case(const Json& test, Report& report) {
  const std::string name = test.at("name").get<std::string>();
  const Json& expected = test.at("vllm");
  Names names;
  std::optional<TorchAOConfig> config;
  std::string error;
  try {
    config = TorchAOConfig::from_config(quantization_config(test, names).dump());
    config->set_selection_mode(SelectionMode::kVllm);
  } catch (const Error& e) {
    error = e.what();
  }
  if (expected.is_string()) {
    check_layer(report, name, config ? "accepted" : std::string(kError), expected.get<std::string>(), error);
    return;
  }
  for (const auto& [layer, want] : expected.items()) {
    std::string got(kError);
    std::string reason = error;
    if (config) {
      try {
        const LayerDecision decision = config->decide(layer);
        got = names.name_of(decision.config);
        reason = decision.reason;
      } catch (const Error& e) {
        reason = e.what();
      }
    }
    check_layer(report, fmt::format("{}/{}", name, layer), got, want.get<std::string>(), reason);
  }
}

void run_should_skip(const Json& test, const std::string& name, Report& report) {
  const bool got = should_skip(test.at("prefix").get<std::string>(), test.at("skip").get<std::vector<std::string>>());
  const bool want = test.at("result").get<bool>();
  if (got == want) {
    report.pass(name);
  } else {
    report.fail(name, fmt::format("should_skip('{}', {}): expected {}, got {}", test.at("prefix").get<std::string>(),
                                  test.at("skip").dump(), want, got));
  }
}

}  // namespace

void run_selection(const std::filesystem::path& folder, Report& report) {
  const auto file = std::filesystem::is_directory(folder) ? folder / "layer_selection.json" : folder;
  const Json json = read_json_file(file);
  for (const Json& test : json.at("cases")) {
    try {
      run_case(test, report);
    } catch (const std::exception& e) {
      report.fail(test.value("name", "case"), fmt::format("threw: {}", e.what()));
    }
  }
  int index = 0;
  for (const Json& test : json.value("should_skip", Json::array())) {
    run_should_skip(test, fmt::format("should_skip {}", index++), report);
  }
}

}  // namespace torchao_cpp::conformance
