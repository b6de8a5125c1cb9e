// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/mapped_file.h"
#include "io/safetensors_file.h"
#include "io/shard_index.h"
#include "models/conversion.h"
#include "models/layer_selection.h"
#include "models/parts_changes.h"
#include "models/stored_classes.h"
#include "torchao_cpp/error.h"

/// convert_model: any readable checkpoint to today's form, without a change of values.
namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormBin = "PyTorch .bin";
constexpr const char* kForm014 = "flattened safetensors of torchao 0.14";
constexpr const char* kFormFlattened = "flattened safetensors";
constexpr const char* kFormPlain = "plain safetensors";
constexpr const char* kPlainClass = "Tensor";

// The first file of weights, as Checkpoint chooses it; empty when there is none in safetensors.
fs::path first_safetensors_file(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / kSingleFileName, error)) return folder / kSingleFileName;
  const fs::path index = folder / kIndexFileName;
  if (!fs::exists(index, error)) return {};
  const MappedFile text(index);
  const ShardIndex shards = parse_shard_index(
      {reinterpret_cast<const char*>(text.bytes().data()), text.bytes().size()}, index.string());
  return shards.weight_map.empty() ? fs::path() : folder / shards.weight_map.front().second;
}

// torchao 0.14 spelt keys "name:part"; the folder is known to be readable.
std::string stored_form(const ModelFolder& folder) {
  const fs::path path = first_safetensors_file(folder.directory);
  if (path.empty()) return kFormBin;
  if (!folder.checkpoint.is_torchao_serialized()) return kFormPlain;
  const SafetensorsFile file(path, path.string());
  const auto& entries = file.header().entries;
  const bool has_colons = std::any_of(entries.begin(), entries.end(), [&](const auto& entry) {
    const std::size_t colon = entry.name.rfind(':');
    return colon != std::string::npos && folder.checkpoint.contains(entry.name.substr(0, colon));
  });
  return has_colons ? kForm014 : kFormFlattened;
}

[[noreturn]] void fail_changed(const std::string& fqn, const WeightTensor& before,
                               const WeightTensor& after, std::string_view what) {
  throw CheckpointError(fmt::format("weight '{}' ({}): {} after conversion to {}; expected no "
                                    "change; nothing was written",
                                    fqn, before.class_name(), what, after.class_name()),
                        "convert.changed");
}

// Null where the class is kept but not computed here.
Tensor dequantized(const WeightTensor& weight) {
  try {
    return weight.dequantize();
  } catch (const UnsupportedError&) {
    return {};
  }
}

bool same_parts(const TensorParts& a, const TensorParts& b) {
  return a.class_name == b.class_name && a.parts.size() == b.parts.size() &&
         std::all_of(a.parts.begin(), a.parts.end(), [&](const auto& part) {
           return equal_bytes(part.second, b.find(part.first));
         });
}

// Reads the new parts as a reader of the new file will, and compares.
void check_unchanged(const std::string& fqn, const TensorParts& old_parts,
                     const WeightTensor& before, const TensorParts& new_parts) {
  const WeightTensorPtr after = loaded_weight_from_parts(new_parts, fqn).quantized;
  const Tensor expected = dequantized(before);
  if (!expected.defined()) {
    if (!same_parts(old_parts, new_parts))
      fail_changed(fqn, before, *after, "cannot be dequantized, and its parts differ");
  } else if (!equal_bytes(expected, dequantized(*after))) {
    fail_changed(fqn, before, *after, "the dequantized values differ");
  }
}

void check_target_class(const std::string& fqn, const std::string& class_name) {
  if (is_safetensors_serializable(class_name)) return;
  throw UnsupportedError(
      fmt::format("weight '{}' is a {}, which {} cannot put into safetensors; dequantize the model "
                  "and quantize it again",
                  fqn, class_name, kConvertTarget));
}

ConvertModelReport::Row convert_quantized(Conversion& conversion, const CheckpointEntry& entry,
                                          std::vector<StoredClass>& classes) {
  const WeightTensorPtr weight = loaded_weight_from_parts(*entry.parts, entry.fqn).quantized;
  TensorParts parts = weight->to_parts();
  check_target_class(entry.fqn, parts.class_name);
  check_unchanged(entry.fqn, *entry.parts, *weight, parts);
  classes.push_back({entry.fqn, parts.class_name, weight->shape(), weight->dtype()});
  ConvertModelReport::Row row{entry.fqn,           entry.stored_class,
                              parts.class_name,    parts_changes(*entry.parts, parts),
                              stored_bytes(entry), parts_bytes(parts)};
  conversion.add_quantized(entry.fqn, std::move(parts));
  return row;
}

// A plain tensor, or a weight that reading made one of.
ConvertModelReport::Row convert_plain(Conversion& conversion, const CheckpointEntry& entry) {
  const std::int64_t bytes = entry.plain.nbytes();
  conversion.add_plain(entry.fqn, entry.plain);
  if (entry.stored_class.empty()) return {entry.fqn, kPlainClass, kPlainClass, {}, bytes, bytes};
  return {entry.fqn, entry.stored_class, kPlainClass, {"dequantized"}, bytes, bytes};
}

// A plain head that repeats the embedding it is tied to.
bool is_tied_copy(const Conversion& conversion, const ModelFolder& folder,
                  const CheckpointEntry& entry) {
  if (entry.parts || !conversion.is_tied_head(entry.fqn)) return false;
  const std::string embedding = std::string(embedding_prefix(folder.config)) + ".weight";
  return folder.checkpoint.contains(embedding) &&
         equal_bytes(folder.checkpoint.entry(embedding).plain, entry.plain);
}

void add_to_totals(std::vector<ConvertModelReport::ClassTotal>& totals,
                   const ConvertModelReport::Row& row) {
  auto it = std::find_if(totals.begin(), totals.end(), [&](const auto& total) {
    return total.class_before == row.class_before && total.class_after == row.class_after &&
           total.changes == row.changes;
  });
  if (it == totals.end()) {
    totals.push_back({row.class_before, row.class_after, row.changes, 0, 0, 0});
    it = std::prev(totals.end());
  }
  ++it->count;
  it->bytes_before += row.bytes_before;
  it->bytes_after += row.bytes_after;
}

// config.json with its quantization_config in today's form, or as it was where that is not defined.
// `form_before`: as stored_form.
Json converted_config(const ModelFolder& folder, std::span<const StoredClass> classes,
                      std::string_view form_before, std::vector<std::string>& notices) {
  Json config = read_json_file(folder.directory / "config.json");
  const ModelQuantization quantization =
      resolve_quantization(folder, nullptr, SelectionMode::kPackedModules);
  const auto add = [&](const std::vector<std::string>& more) {
    notices.insert(notices.end(), more.begin(), more.end());
  };
  add(quantization.notices);
  if (quantization.config) {
    config["quantization_config"] =
        Json::parse(quantization.config->to_quantization_config_json(-1));
    add(stored_class_notices(*quantization.config, classes));
  } else if (form_before == kFormBin && classes.empty() && config.contains("quantization_config")) {
    // Weights that no class of today has were dequantized when they were read.
    config.erase("quantization_config");
    add({fmt::format("{}: no weight is quantized in the result, which has no quantization_config",
                     folder.config.where)});
  } else if (!folder.config.quantization_config.empty()) {
    add({fmt::format(
        "{}: quantization_config is kept as it is{}", folder.config.where,
        classes.empty() ? "" : "; transformers and vLLM may not load the model with it")});
  } else if (!classes.empty()) {
    add(
        {fmt::format("{}: has no quantization_config, so nor has the result; transformers and vLLM "
                     "need one to load quantized weights",
                     folder.config.where)});
  }
  return config;
}

}  // namespace

ConvertModelReport convert_model(const fs::path& source, const fs::path& destination,
                                 const ConvertModelOptions& options) {
  const ModelFolder folder = ModelFolder::open(source);
  Conversion conversion(folder, destination, "convert", options.progress, options.cancelled);
  ConvertModelReport report;
  report.notices.assign(folder.checkpoint.warnings().begin(), folder.checkpoint.warnings().end());
  report.form_before = stored_form(folder);
  std::vector<StoredClass> classes;
  conversion.for_each_entry([&](const CheckpointEntry& entry) {
    if (is_tied_copy(conversion, folder, entry)) {
      report.notices.push_back(fmt::format(
          "'{}' repeats the embedding it is tied to and is not stored again", entry.fqn));
      return;
    }
    report.rows.push_back(entry.parts ? convert_quantized(conversion, entry, classes)
                                      : convert_plain(conversion, entry));
    add_to_totals(report.classes, report.rows.back());
  });
  report.form_after = classes.empty() ? kFormPlain : kFormFlattened;
  conversion.finish(converted_config(folder, classes, report.form_before, report.notices));
  report.bytes_before = conversion.bytes_before();
  report.bytes_after = conversion.bytes_after();
  return report;
}

}  // namespace torchao_cpp
