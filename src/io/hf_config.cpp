// SPDX-License-Identifier: Apache-2.0
#include "io/hf_config.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>

#include "base/json.h"
#include "base/mapped_file.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// Far above any model, and small enough that products of two sizes fit 64 bits.
constexpr std::int64_t kLargestSize = (std::int64_t{1} << 31) - 1;
constexpr std::int64_t kMostLayers = 100'000;

/// Typed access to an object of the file. Absent and null are the same throughout, as in transformers.
class Section {
 public:
  Section(const Json& object, std::string_view where, std::string path)
      : object_(object), where_(where), path_(std::move(path)) {}

  const Json* find(std::string_view key) const {
    const auto it = object_.find(std::string(key));
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  std::int64_t size(std::string_view key, std::int64_t most = kLargestSize) const {
    const Json* value = find(key);
    if (value == nullptr) return 0;
    if (!value->is_number_integer() || *value < 1 || *value > most) {
      fail(key, *value, fmt::format("an integer from 1 to {}", most));
    }
    return value->get<std::int64_t>();
  }

  void boolean(std::string_view key, bool& out) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) fail(key, *value, "true or false");
    out = value->get<bool>();
  }

  void boolean(std::string_view key, std::optional<bool>& out) const {
    if (find(key) == nullptr) return;
    bool value = false;
    boolean(key, value);
    out = value;
  }

  void positive(std::string_view key, double& out) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_number() || !(value->get<double>() > 0) || !std::isfinite(value->get<double>())) {
      fail(key, *value, "a number above 0");
    }
    out = value->get<double>();
  }

  void text(std::string_view key, std::string& out) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_string()) fail(key, *value, "a string");
    out = value->get<std::string>();
  }

  void texts(std::string_view key, std::vector<std::string>& out) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    bool fits = value->is_array();
    for (std::size_t i = 0; fits && i < value->size(); ++i) {
      fits = (*value)[i].is_string();
      if (fits) out.push_back((*value)[i].get<std::string>());
    }
    if (!fits) fail(key, *value, "an array of strings");
  }

  void switches(std::string_view key, std::vector<std::int64_t>& out) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    const bool is_array = value->is_array();
    for (const Json& item : is_array ? *value : Json::array({*value})) {
      if (!is_array || !item.is_number_integer() || (item != 0 && item != 1))
        fail(key, item, "an array of 0 and 1");
      out.push_back(item.get<std::int64_t>());
    }
  }

  // -1 is how some files say "none".
  std::vector<std::int64_t> token_ids(std::string_view key) const {
    const Json* value = find(key);
    if (value == nullptr) return {};
    const Json list = value->is_array() ? *value : Json::array({*value});
    std::vector<std::int64_t> ids;
    for (const Json& item : list) {
      if (!item.is_number_integer() || item < -1 || item > kLargestSize) {
        fail(key, item, "a token id or an array of token ids");
      }
      if (item >= 0) ids.push_back(item.get<std::int64_t>());
    }
    return ids;
  }

  std::optional<std::int64_t> token_id(std::string_view key) const {
    const std::vector<std::int64_t> ids = token_ids(key);
    return ids.empty() ? std::nullopt : std::optional(ids.front());
  }

  std::optional<Section> section(std::string_view key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_object()) fail(key, *value, "an object");
    return Section(*value, where_, path_ + std::string(key) + ".");
  }

  const Json& json() const noexcept { return object_; }

  [[noreturn]] void fail(std::string_view key, const Json& value, std::string_view expected) const {
    constexpr std::size_t kLongest = 60;  // of the offending value, in a one-line message
    std::string got = value.dump(-1, ' ', true);
    if (got.size() > kLongest) got = got.substr(0, kLongest) + "...";
    throw ConfigError(fmt::format("{}: {}{} is {}; expected {}", where_, path_, key, got, expected), "validation");
  }

 private:
  const Json& object_;
  std::string_view where_;
  std::string path_;
};

Section root_section(const Json& json, std::string_view where) {
  if (!json.is_object()) {
    throw ConfigError(fmt::format("{}: is {}; expected an object", where, json_type_name(json)), "not_a_dict");
  }
  return {json, where, ""};
}

void read_theta(const Section& section, RopeParameters& rope) {
  section.positive("rope_theta", rope.rope_theta);
  rope.has_rope_theta = rope.has_rope_theta || section.find("rope_theta") != nullptr;
}

void read_rope_object(const Section& section, RopeParameters& rope) {
  read_theta(section, rope);
  section.text("type", rope.rope_type);
  section.text("rope_type", rope.rope_type);
  for (const auto& [key, value] : section.json().items()) {
    if (key == "rope_theta" || key == "type" || key == "rope_type" || value.is_null()) continue;
    if (value.is_number()) {
      rope.numbers[key] = value.get<double>();
    } else {
      rope.other_keys.push_back(key);
    }
  }
}

RopeParameters read_rope(const Section& root) {
  RopeParameters rope;
  read_theta(root, rope);
  // transformers 5 writes all of it into rope_parameters; before, rope_scaling had the rest.
  const auto parameters = root.section("rope_parameters");
  if (parameters) {
    read_rope_object(*parameters, rope);
  } else if (const auto scaling = root.section("rope_scaling")) {
    read_rope_object(*scaling, rope);
  }
  return rope;
}

std::optional<DType> read_dtype(const Section& root) {
  for (const std::string_view key : {"dtype", "torch_dtype"}) {
    const Json* value = root.find(key);
    if (value == nullptr) continue;
    constexpr std::string_view kExpected = "\"bfloat16\", \"float16\" or \"float32\"";
    if (!value->is_string()) root.fail(key, *value, kExpected);
    std::string_view name = value->get_ref<const std::string&>();
    if (name == "auto") return std::nullopt;
    if (name.starts_with("torch.")) name.remove_prefix(6);
    const auto dtype = dtype_from_name(name);
    if (!dtype || !is_high_precision(*dtype)) root.fail(key, *value, kExpected);
    return dtype;
  }
  return std::nullopt;
}

void read_sizes(const Section& root, HfConfig& config) {
  config.vocab_size = root.size("vocab_size");
  config.hidden_size = root.size("hidden_size");
  config.intermediate_size = root.size("intermediate_size");
  config.num_hidden_layers = root.size("num_hidden_layers", kMostLayers);
  config.num_attention_heads = root.size("num_attention_heads");
  config.num_key_value_heads = root.size("num_key_value_heads");
  config.head_dim = root.size("head_dim");
  config.max_position_embeddings = root.size("max_position_embeddings");
  config.ffn_dim = root.size("ffn_dim");
  config.word_embed_proj_dim = root.size("word_embed_proj_dim");
  if (config.num_key_value_heads == 0) config.num_key_value_heads = config.num_attention_heads;
  const bool divides = config.num_attention_heads > 0 && config.hidden_size % config.num_attention_heads == 0;
  if (config.head_dim == 0 && divides) config.head_dim = config.hidden_size / config.num_attention_heads;
}

void read_sliding_window(const Section& root, HfConfig& config) {
  root.boolean("use_sliding_window", config.use_sliding_window);
  config.has_sliding_window = root.json().contains("sliding_window");
  const std::int64_t window = root.size("sliding_window");
  if (window > 0) config.sliding_window = window;
}

void read_no_rope_layers(const Section& root, HfConfig& config) {
  root.switches("no_rope_layers", config.no_rope_layers);
  const std::int64_t interval = root.size("no_rope_layer_interval");
  if (interval > 0) config.no_rope_layer_interval = interval;
}

void read_opt_switches(const Section& root, HfConfig& config) {
  root.positive("init_std", config.init_std);
  root.text("activation_function", config.activation_function);
  root.boolean("enable_bias", config.enable_bias);
  root.boolean("layer_norm_elementwise_affine", config.layer_norm_elementwise_affine);
  root.boolean("do_layer_norm_before", config.do_layer_norm_before);
  root.boolean("_remove_final_layer_norm", config.remove_final_layer_norm);
}

std::string read_text(const std::filesystem::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

HfConfig HfConfig::load(const std::filesystem::path& directory) {
  const std::filesystem::path generation = directory / "generation_config.json";
  std::error_code ignored;
  const std::string generation_text = std::filesystem::exists(generation, ignored) ? read_text(generation) : "";
  const std::filesystem::path path = directory / "config.json";
  return parse(read_text(path), path.string(), generation_text);
}

HfConfig HfConfig::parse(std::string_view config_json, std::string_view where, std::string_view generation_config_json) {
  const Json json = parse_json(config_json, where);
  const Section root = root_section(json, where);
  HfConfig config;
  config.where = where;
  root.texts("architectures", config.architectures);
  root.text("model_type", config.model_type);
  read_sizes(root, config);
  root.positive("rms_norm_eps", config.rms_norm_eps);
  root.positive("initializer_range", config.initializer_range);
  root.text("hidden_act", config.hidden_act);
  root.boolean("attention_bias", config.attention_bias);
  root.boolean("mlp_bias", config.mlp_bias);
  root.boolean("tie_word_embeddings", config.tie_word_embeddings);
  config.rope = read_rope(root);
  read_sliding_window(root, config);
  root.texts("layer_types", config.layer_types);
  read_no_rope_layers(root, config);
  read_opt_switches(root, config);
  config.dtype = read_dtype(root);
  config.bos_token_id = root.token_id("bos_token_id");
  config.pad_token_id = root.token_id("pad_token_id");
  config.eos_token_ids = root.token_ids("eos_token_id");
  if (const auto quantization = root.section("quantization_config")) {
    config.quantization_config = quantization->json().dump();
  }
  if (!generation_config_json.empty()) {
    const std::string generation_where =
        (std::filesystem::path(where).parent_path() / "generation_config.json").string();
    const Json generation_json = parse_json(generation_config_json, generation_where);
    std::vector<std::int64_t> ids = root_section(generation_json, generation_where).token_ids("eos_token_id");
    if (!ids.empty()) config.eos_token_ids = std::move(ids);
  }
  return config;
}

void HfConfig::require_decoder_sizes(bool is_opt) const {
  struct Required {
    std::string_view key;
    std::int64_t value;
  };
  const std::array<Required, 5> required{{{"vocab_size", vocab_size},
                                          {"hidden_size", hidden_size},
                                          {is_opt ? "ffn_dim" : "intermediate_size", is_opt ? ffn_dim : intermediate_size},
                                          {"num_hidden_layers", num_hidden_layers},
                                          {"num_attention_heads", num_attention_heads}}};
  for (const Required& r : required) {
    if (r.value == 0) throw ConfigError(fmt::format("{}: {} is missing; expected a positive integer", where, r.key), "missing_field");
  }
  if (is_opt && hidden_size % num_attention_heads != 0) {
    throw ConfigError(fmt::format("{}: hidden_size is {}; expected a multiple of num_attention_heads, {}", where, hidden_size,
                                  num_attention_heads),
                      "validation");
  }
  if (is_opt) return;
  if (num_attention_heads % num_key_value_heads != 0) {
    throw ConfigError(fmt::format("{}: num_attention_heads is {}; expected a multiple of num_key_value_heads, {}", where,
                                  num_attention_heads, num_key_value_heads),
                      "validation");
  }
  if (head_dim == 0) {
    throw ConfigError(fmt::format("{}: hidden_size is {}; expected a multiple of num_attention_heads, {}, where head_dim is not given",
                                  where, hidden_size, num_attention_heads),
                      "validation");
  }
  if (num_attention_heads > kLargestSize / head_dim) {
    throw ConfigError(fmt::format("{}: num_attention_heads is {} and head_dim {}; expected a product of at most {}", where,
                                  num_attention_heads, head_dim, kLargestSize),
                      "validation");
  }
}

}  // namespace torchao_cpp
