// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <functional>

#include "base/json.h"
#include "conformance/checkpoint_logits.h"
#include "conformance/golden_compare.h"
#include "conformance/report.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

/// The checkpoints suite: each form of each checkpoint of manifest.json, in its stages. The names of the .bin form begin
/// with ID/bin instead of ID.
///   ID/classes     every weight has the class that the manifest names, or the one that stands for it today
///   ID/dequantize  every tensor of dequant.safetensors, bit for bit
///   ID/parts       every quantized weight written back as parts, and those read again
///   ID/write       the whole checkpoint written in one file and in shards, and read again
///   ID/...         the logits (checkpoint_logits.h)
/// and the logits of the unquantized models in base/.
namespace torchao_cpp::conformance {
namespace {

namespace fs = std::filesystem;
using Difference = std::optional<std::string>;

/// Removed with everything in it.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (fs::temp_directory_path() / "torchao_conformance_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw IoError(fmt::format("{}: cannot be made", pattern));
    path_ = pattern;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

void run_case(Report& report, const std::string& name, const std::function<Difference()>& body) {
  Difference difference;
  try {
    difference = body();
  } catch (const std::exception& e) {
    difference = fmt::format("threw: {}", e.what());
  }
  if (difference) {
    report.fail(name, *difference);
  } else {
    report.pass(name);
  }
}

Difference compare_exact(const Tensor& got, const Tensor& want) {
  return compare_by_rule(got, want, Json{{"kind", "exact"}});
}

// What a class of older torchao becomes; "Tensor" for a weight that no class of today has.
std::string class_today(const std::string& stored, const Json& manifest) {
  if (stored == "Int4OpaqueTensor") return "Int4Tensor";
  if (!manifest.contains("tensor_impls") || manifest["tensor_impls"].empty()) return stored;
  const auto impl = manifest["tensor_impls"][0].get<std::string>();
  if (impl == "Float8AQTTensorImpl") {
    return stored == "WeightTensorWithLinearActivationQuantizationMetadata" ? "PrototypeFloat8Tensor" : "Float8Tensor";
  }
  if (impl == "TensorCoreTiledAQTTensorImpl") return "Int4TilePackedTo4dTensor";
  if (impl == "Int4CPUAQTTensorImpl") return "Tensor";
  const bool is_int4 = manifest.at("config").get<std::string>().starts_with("8da4w");
  return impl == "PlainAQTTensorImpl" && !is_int4 ? "Int8Tensor" : "IntxUnpackedToInt8Tensor";
}

Difference check_classes(const Checkpoint& checkpoint, const Json& manifest) {
  for (const auto& [fqn, class_name] : manifest.at("classes").items()) {
    const CheckpointEntry entry = checkpoint.entry(fqn);
    const std::string got = entry.parts ? entry.parts->class_name : "Tensor";
    const std::string want = class_today(class_name.get<std::string>(), manifest);
    if (got != want) return fmt::format("{} is {}, expected {}", fqn, got, want);
  }
  for (const std::string& fqn : checkpoint.names()) {
    if (checkpoint.entry(fqn).parts && !manifest["classes"].contains(fqn)) {
      return fmt::format("{} is quantized, expected a plain tensor", fqn);
    }
  }
  return std::nullopt;
}

Difference check_dequantize(const Checkpoint& checkpoint, const fs::path& expected) {
  const Checkpoint want(expected);
  for (const std::string& fqn : want.names()) {
    const CheckpointEntry entry = checkpoint.entry(fqn);
    const Tensor got = entry.parts ? weight_from_parts(*entry.parts, fqn)->dequantize() : entry.plain;
    if (const Difference d = compare_exact(got, want.entry(fqn).plain)) return fmt::format("{}: {}", fqn, *d);
  }
  return std::nullopt;
}

// An older file's attributes, at any depth; today's form may have more.
bool has_all(const Json& got, const Json& want) {
  if (!want.is_object() || !got.is_object()) return got == want;
  for (const auto& [name, value] : want.items()) {
    if (!got.contains(name) || !has_all(got[name], value)) return false;
  }
  return true;
}

Difference compare_parts(const TensorParts& got, const TensorParts& want) {
  if (got.class_name != want.class_name) return fmt::format("class {}, expected {}", got.class_name, want.class_name);
  if (!has_all(Json::parse(got.attributes), Json::parse(want.attributes)))
    return fmt::format("attributes {}, expected {}", got.attributes, want.attributes);
  for (const auto& [name, tensor] : want.parts) {
    if (const Difference d = compare_exact(got.find(name), tensor)) return fmt::format("{}: {}", name, *d);
  }
  if (got.parts.size() == want.parts.size()) return std::nullopt;
  return fmt::format("{} parts, expected {}", got.parts.size(), want.parts.size());
}

Difference check_parts(const Checkpoint& checkpoint) {
  for (const std::string& fqn : checkpoint.names()) {
    const CheckpointEntry entry = checkpoint.entry(fqn);
    if (!entry.parts) continue;
    const TensorParts once = weight_from_parts(*entry.parts, fqn)->to_parts();
    if (const Difference d = compare_parts(once, *entry.parts)) return fmt::format("{}: {}", fqn, *d);
    const TensorParts twice = weight_from_parts(once, fqn)->to_parts();
    if (twice.attributes != once.attributes) {
      return fmt::format("{}: attributes {} the second time, {} the first", fqn, twice.attributes, once.attributes);
    }
    if (const Difference d = compare_parts(twice, once)) return fmt::format("{}, second time: {}", fqn, *d);
  }
  return std::nullopt;
}

Difference compare_checkpoints(const Checkpoint& got, const Checkpoint& want) {
  std::vector<std::string> got_names(got.names().begin(), got.names().end());
  std::vector<std::string> want_names(want.names().begin(), want.names().end());
  if (!want.is_torchao_serialized()) {
    // Plain safetensors come in the container's order.
    std::ranges::sort(got_names);
    std::ranges::sort(want_names);
  }
  if (got_names != want_names) {
    return fmt::format("names [{}], expected [{}]", fmt::join(got_names, ", "), fmt::join(want_names, ", "));
  }
  for (const std::string& fqn : want.names()) {
    const CheckpointEntry a = got.entry(fqn);
    const CheckpointEntry b = want.entry(fqn);
    if (a.parts.has_value() != b.parts.has_value()) return fmt::format("{}: quantized in one only", fqn);
    const Difference d = b.parts ? compare_parts(*a.parts, *b.parts) : compare_exact(a.plain, b.plain);
    if (d) return fmt::format("{}: {}", fqn, *d);
  }
  return std::nullopt;
}

Difference check_write(const Checkpoint& checkpoint) {
  const ScratchFolder scratch;
  // All in one, and about four shards.
  for (const std::int64_t shard_bytes : {checkpoint.nbytes() + 1, checkpoint.nbytes() / 4 + 1}) {
    const fs::path folder = scratch.path() / fmt::format("shards-of-{}", shard_bytes);
    CheckpointWriter writer(folder, shard_bytes);
    for (const std::string& fqn : checkpoint.names()) {
      CheckpointEntry entry = checkpoint.entry(fqn);
      if (entry.parts) {
        writer.add(fqn, std::move(*entry.parts));
      } else {
        writer.add(fqn, std::move(entry.plain));
      }
    }
    writer.finish();
    if (const Difference d = compare_checkpoints(Checkpoint(folder), checkpoint)) {
      return fmt::format("shards of at most {} bytes: {}", shard_bytes, *d);
    }
  }
  return std::nullopt;
}

void run_form(const fs::path& folder, const std::string& form, const std::string& name, const Json& manifest, Report& report) {
  std::optional<Checkpoint> checkpoint;
  try {
    checkpoint.emplace(folder / form);
  } catch (const std::exception& e) {
    report.fail(name, fmt::format("threw: {}", e.what()));
    return;
  }
  run_case(report, name + "/classes", [&] { return check_classes(*checkpoint, manifest); });
  run_case(report, name + "/dequantize", [&] { return check_dequantize(*checkpoint, folder / "dequant.safetensors"); });
  run_case(report, name + "/parts", [&] { return check_parts(*checkpoint); });
  run_case(report, name + "/write", [&] { return check_write(*checkpoint); });
  check_logits(name, folder / form, folder / "expected.safetensors", report);
}

void run_checkpoint(const fs::path& folder, const Json& manifest, Report& report) {
  const auto id = manifest.at("id").get<std::string>();
  for (const Json& form : manifest.at("forms")) {
    const auto name = form.get<std::string>();
    run_form(folder / id, name, name == "safetensors" ? id : id + "/" + name, manifest, report);
  }
}

}  // namespace

void run_checkpoints(const fs::path& folder, Report& report) {
  const Json manifest = read_json_file(folder / "manifest.json");
  for (const Json& checkpoint : manifest.at("checkpoints")) run_checkpoint(folder, checkpoint, report);
  if (!manifest.contains("models")) return;
  for (const auto& [model, description] : manifest["models"].items()) {
    const fs::path base = folder / "base" / model;
    if (fs::exists(base / "expected.safetensors")) {
      check_logits("base/" + model, base, base / "expected.safetensors", report);
    }
  }
}

}  // namespace torchao_cpp::conformance
