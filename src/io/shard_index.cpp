// SPDX-License-Identifier: Apache-2.0
#include "io/shard_index.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/json_events.h"
#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

/// {"metadata": {"total_size": n, ..}, "weight_map": {key: file name}}
class IndexEvents : public JsonEvents {
 public:
  ShardIndex index;
  bool has_weight_map = false;

 protected:
  bool on_open(bool is_object) override {
    if (depth() == 1) return is_object || refuse("index.invalid", "is an array; expected an object");
    if (section_ != "weight_map") return true;
    if (depth() == 2 && is_object) {
      has_weight_map = true;
      return true;
    }
    return refuse("index.invalid", "weight_map is no object of strings");
  }
  bool on_key(std::string key) override {
    (depth() == 1 ? section_ : key_) = std::move(key);
    return true;
  }
  bool on_scalar(JsonScalar value) override {
    if (depth() == 0) return refuse("index.invalid", "is no object");
    if (section_ == "weight_map") {
      if (depth() == 1) return refuse("index.invalid", "weight_map is no object");
      if (value.kind != JsonScalar::Kind::kString) {
        return refuse("index.invalid", fmt::format("weight_map: the value of {} is no string", quoted_name(key_)));
      }
      index.weight_map.emplace_back(std::move(key_), std::move(value.text));
    } else if (section_ == "metadata" && depth() == 2 && key_ == "total_size" &&
               value.kind == JsonScalar::Kind::kUnsigned) {
      index.total_size = value.number;
    }
    return true;
  }
  bool on_close() override { return true; }

 private:
  std::string section_;
  std::string key_;
};

bool is_below(const fs::path& file, const fs::path& root) {
  return std::mismatch(root.begin(), root.end(), file.begin(), file.end()).first == root.end();
}

}  // namespace

bool is_plain_file_name(std::string_view name) noexcept {
  using namespace std::string_view_literals;
  return !name.empty() && name != "." && name != ".." && name.find_first_of("/\\\0"sv) == std::string_view::npos;
}

ShardIndex parse_shard_index(std::string_view text, std::string_view where) {
  IndexEvents events;
  if (const auto problem = events.parse(text)) {
    throw CheckpointError(fmt::format("{}: {}", where, problem->message), "index.invalid");
  }
  if (!events.has_weight_map) {
    throw CheckpointError(fmt::format("{}: has no weight_map; expected an object of tensor name to file name", where),
                          "index.invalid");
  }
  for (const auto& [key, file] : events.index.weight_map) {
    if (!is_plain_file_name(file)) {
      throw CheckpointError(fmt::format("{}: weight_map names {} for {}; expected a plain file name without folders",
                                        where, quoted_name(file), quoted_name(key)),
                            "index.bad_path");
    }
  }
  return std::move(events.index);
}

fs::path resolve_in_folder(const fs::path& folder, const std::string& name) {
  std::error_code error;
  const fs::path given = folder / name;
  const fs::path file = fs::canonical(given, error);
  if (error || !fs::is_regular_file(file, error)) {
    throw CheckpointError(fmt::format("{}: there is no such file; is the download complete?", given.string()),
                          "index.missing_shard");
  }
  const fs::path root = fs::canonical(folder, error);
  if (error) throw IoError(fmt::format("{}: {}", folder.string(), error.message()));
  // A hub cache keeps MODEL/snapshots/REVISION/NAME as a link to MODEL/blobs/HASH.
  const fs::path blobs = root.parent_path().parent_path() / "blobs";
  const bool in_hub_cache = root.parent_path().filename() == "snapshots" && is_below(file, blobs);
  if (!is_below(file, root) && !in_hub_cache) {
    throw CheckpointError(fmt::format("{}: is a link to '{}', outside of the model folder; put the file itself there",
                                      given.string(), file.string()),
                          "index.bad_path");
  }
  return file;
}

}  // namespace torchao_cpp
