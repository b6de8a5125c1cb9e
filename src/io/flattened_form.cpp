// SPDX-License-Identifier: Apache-2.0
#include "io/flattened_form.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/json.h"
#include "core/checkpoint_attributes.h"
#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kTensorNames = "tensor_names";
constexpr std::string_view kPlainType = "Tensor";
constexpr std::string_view kPlainPart014 = "_data";

[[noreturn]] void fail(std::string_view where, std::string_view kind, std::string_view message) {
  throw CheckpointError(fmt::format("{}: {}", where, message), std::string(kind));
}

/// A metadata value and the file that holds it.
struct MetadataValue {
  const std::string* text;
  const std::string* where;
};

/// Builds the form; one object for one checkpoint.
class Assembler {
 public:
  explicit Assembler(const CheckpointFiles& files) : files_(files) {}

  FlattenedForm run() {
    merge_metadata();
    for (const std::string& name : names_) add_listed(name);
    add_unclaimed();
    return std::move(form_);
  }

 private:
  // Every shard carries the metadata of the whole model, but only those of one weight must agree.
  void merge_metadata() {
    std::unordered_set<std::string_view> texts;
    for (const auto& file : files_.files) {
      for (const auto& [key, text] : file->header().metadata) {
        if (key == kTensorNames && texts.insert(text).second) read_names(text, file->where());
        metadata_.emplace(key, MetadataValue{&text, &file->where()});
      }
    }
    for (const auto& file : files_.files) {
      for (const auto& [key, text] : file->header().metadata) {
        const MetadataValue& first = metadata_.at(key);
        if (*first.text == text || !listed_.contains(key)) continue;
        if (parse(key, {&text, &file->where()}) != parse(key, first)) {
          fail(file->where(), "ao.metadata_invalid",
               fmt::format("the metadata of {} are not those in '{}'", quoted_name(key), *first.where));
        }
      }
    }
  }

  void read_names(const std::string& text, const std::string& where) {
    form_.has_tensor_names = true;
    const Json list = parse(kTensorNames, {&text, &where});
    if (!list.is_array()) {
      fail(where, "ao.metadata_invalid", fmt::format("tensor_names is {}; expected an array", json_type_name(list)));
    }
    std::unordered_set<std::string> here;
    for (const Json& item : list) {
      if (!item.is_string()) {
        fail(where, "ao.metadata_invalid", fmt::format("tensor_names holds {}; expected strings", json_type_name(item)));
      }
      auto name = item.get<std::string>();
      if (!here.insert(name).second) {
        fail(where, "ao.metadata_invalid", fmt::format("tensor_names lists {} twice", quoted_name(name)));
      }
      if (listed_.insert(name).second) names_.push_back(std::move(name));
    }
  }

  Json parse(std::string_view key, const MetadataValue& value) const {
    Json json;
    if (const auto problem = try_parse_json(*value.text, json)) {
      fail(*value.where, "ao.metadata_invalid", fmt::format("metadata {}: {}", quoted_name(key), problem->message));
    }
    return json;
  }

  void add_listed(const std::string& name) {
    const auto found = metadata_.find(name);
    if (found == metadata_.end()) {
      fail(files_.files.front()->where(), "ao.metadata_invalid",
           fmt::format("tensor_names lists {}, which has no metadata entry", quoted_name(name)));
    }
    where_ = *found->second.where;
    const Json entry = parse(name, found->second);
    if (!entry.is_object()) invalid(name, fmt::format("is {}; expected an object", json_type_name(entry)));
    const auto type = entry.find("_type");
    if (type == entry.end() || !type->is_string()) invalid(name, "has no _type string");
    FlattenedEntry flattened;
    flattened.fqn = name;
    if (*type == kPlainType) {
      find_plain(flattened);
    } else {
      flattened.class_name = type->get<std::string>();
      if (flattened.class_name.empty()) invalid(name, "has an empty _type");
      read_attributes(entry, flattened);
      find_parts(entry, flattened);
    }
    if (flattened.parts.empty()) {
      form_.tied.push_back(name);
    } else {
      form_.entries.push_back(std::move(flattened));
    }
  }

  void read_attributes(const Json& entry, FlattenedEntry& flattened) const {
    const auto data = entry.find("_data");
    if (data == entry.end() || !data->is_object()) invalid(flattened.fqn, "has no _data object");
    if (const auto problem = check_attribute_types(*data)) {
      fail(where_, problem->kind, fmt::format("metadata {}: {}", quoted_name(flattened.fqn), problem->message));
    }
    flattened.attributes = data->dump();
  }

  void find_plain(FlattenedEntry& flattened) {
    for (const std::string& key : {flattened.fqn, fmt::format("{}:{}", flattened.fqn, kPlainPart014)}) {
      const auto found = files_.by_key.find(key);
      if (found == files_.by_key.end()) continue;
      claim(flattened, "", found->second);
      return;
    }
  }

  void find_parts(const Json& entry, FlattenedEntry& flattened) {
    const auto names = entry.find("_tensor_data_names");
    if (names == entry.end()) return find_parts_014(flattened);
    if (!names->is_array()) invalid(flattened.fqn, "has _tensor_data_names that are no array");
    const std::size_t dot = flattened.fqn.rfind('.');
    if (dot == std::string::npos) invalid(flattened.fqn, "is quantized, but its name has no dot");
    const std::string prefix = fmt::format("{}._{}_", flattened.fqn.substr(0, dot), flattened.fqn.substr(dot + 1));
    std::string missing;
    for (const Json& item : *names) {
      if (!item.is_string() || item.get_ref<const std::string&>().empty()) {
        invalid(flattened.fqn, "has _tensor_data_names that are no names");
      }
      const auto& part = item.get_ref<const std::string&>();
      const auto found = files_.by_key.find(prefix + part);
      if (found == files_.by_key.end()) {
        missing = prefix + part;
      } else {
        claim(flattened, part, found->second);
      }
    }
    if (!missing.empty() && !flattened.parts.empty()) {
      fail(where_, "ao.missing_data", fmt::format("weight {} ({}): no file holds its part {}", quoted_name(flattened.fqn),
                                                  quoted_name(flattened.class_name), quoted_name(missing)));
    }
  }

  // torchao 0.14 does not list the parts; the keys tell them.
  void find_parts_014(FlattenedEntry& flattened) {
    if (!parts_014_) {
      parts_014_.emplace();
      for (const FlatTensor& t : files_.tensors) {
        const std::string_view key = t.entry->name;
        const std::size_t colon = key.rfind(':');
        if (colon != std::string_view::npos) (*parts_014_)[key.substr(0, colon)].push_back(t);
      }
    }
    if (parts_014_->empty()) invalid(flattened.fqn, "has no _tensor_data_names");
    const auto found = parts_014_->find(flattened.fqn);
    if (found == parts_014_->end()) return;
    for (const FlatTensor& t : found->second) claim(flattened, t.entry->name.substr(flattened.fqn.size() + 1), t);
  }

  void claim(FlattenedEntry& flattened, std::string part, const FlatTensor& tensor) {
    if (!claimed_.insert(tensor.entry).second) {
      invalid(flattened.fqn, fmt::format("claims the key {}, as another part or name does", quoted_name(tensor.entry->name)));
    }
    flattened.parts.emplace_back(std::move(part), tensor);
  }

  void add_unclaimed() {
    std::vector<std::string_view> unclaimed;
    for (const FlatTensor& t : files_.tensors) {
      if (claimed_.contains(t.entry)) continue;
      // A quantized weight has the name already, and a plain tensor of that name would hide it.
      if (listed_.contains(t.entry->name)) {
        fail(t.file->where(), "ao.metadata_invalid",
             fmt::format("the key {} is stored plain, but tensor_names lists it as quantized", quoted_name(t.entry->name)));
      }
      unclaimed.push_back(t.entry->name);
      form_.entries.push_back({t.entry->name, "", "", {{"", t}}});
    }
    if (!form_.has_tensor_names || unclaimed.empty()) return;
    form_.warnings.push_back(fmt::format("{} keys belong to no name in tensor_names and are taken as plain tensors; the first is {}",
                                         unclaimed.size(), quoted_name(unclaimed.front())));
  }

  [[noreturn]] void invalid(std::string_view name, std::string_view message) const {
    fail(where_, "ao.metadata_invalid", fmt::format("metadata {} {}", quoted_name(name), message));
  }

  const CheckpointFiles& files_;
  FlattenedForm form_;
  std::vector<std::string> names_;
  std::unordered_set<std::string> listed_;
  std::unordered_map<std::string_view, MetadataValue> metadata_;
  std::unordered_set<const SafetensorsEntry*> claimed_;
  std::optional<std::unordered_map<std::string_view, std::vector<FlatTensor>>> parts_014_;
  std::string where_;
};

}  // namespace

FlattenedForm assemble_flattened_form(const CheckpointFiles& files) { return Assembler(files).run(); }

}  // namespace torchao_cpp
