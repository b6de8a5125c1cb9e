// SPDX-License-Identifier: Apache-2.0
#include "models/parts_changes.h"

#include <fmt/format.h>

#include "base/json.h"

namespace torchao_cpp {
namespace {

// {"_type": T, "_data": {..}} holds its fields one level down; that level has no name of its own.
constexpr const char* kDataKey = "_data";

std::string joined(const std::string& path, const std::string& key) {
  if (key == kDataKey) return path;
  return path.empty() ? key : path + "." + key;
}

/// Collects the differences of two attribute objects.
class AttributeChanges {
 public:
  explicit AttributeChanges(std::vector<std::string>& out) : out_(out) {}

  void compare(const Json& before, const Json& after, const std::string& path) {
    if (before.is_object() && after.is_object()) {
      compare_objects(before, after, path);
    } else if (before.is_array() && after.is_array() && before.size() == after.size()) {
      for (std::size_t i = 0; i < before.size(); ++i) compare(before[i], after[i], path);
    } else if (before != after) {
      add(path, "changed");
    }
  }

 private:
  void compare_objects(const Json& before, const Json& after, const std::string& path) {
    for (const auto& [key, value] : after.items()) {
      const auto old = before.find(key);
      if (old == before.end()) {
        add(joined(path, key), "added");
      } else {
        compare(*old, value, joined(path, key));
      }
    }
    for (const auto& [key, value] : before.items()) {
      if (!after.contains(key)) add(joined(path, key), "dropped");
    }
  }

  void add(const std::string& path, const char* what) {
    std::string text = fmt::format("attribute '{}' {}", path, what);
    // Entries of an array and the fields of one tagged object share a path.
    if (out_.empty() || out_.back() != text) out_.push_back(std::move(text));
  }

  std::vector<std::string>& out_;
};

void compare_part(const std::string& name, const Tensor& before, const Tensor& after,
                  std::vector<std::string>& out) {
  if (!before.defined()) {
    out.push_back(fmt::format("part '{}' added", name));
    return;
  }
  if (before.dtype() != after.dtype()) {
    out.push_back(fmt::format("part '{}' {} became {}", name, dtype_name(before.dtype()),
                              dtype_name(after.dtype())));
  }
  if (before.dim() != after.dim()) {
    out.push_back(
        fmt::format("part '{}' of rank {} became rank {}", name, before.dim(), after.dim()));
  } else if (before.shape() != after.shape()) {
    out.push_back(fmt::format("part '{}' has another shape", name));
  } else if (before.bytes() != after.bytes() && !equal_bytes(before, after) &&
             before.dtype() == after.dtype()) {
    out.push_back(fmt::format("part '{}' has other values", name));
  }
}

}  // namespace

std::vector<std::string> parts_changes(const TensorParts& before, const TensorParts& after) {
  std::vector<std::string> out;
  if (before.class_name != after.class_name)
    out.push_back(fmt::format("class {} became {}", before.class_name, after.class_name));
  AttributeChanges(out).compare(parse_json(before.attributes, "attributes"),
                                parse_json(after.attributes, "attributes"), "");
  for (const auto& [name, tensor] : after.parts) compare_part(name, before.find(name), tensor, out);
  for (const auto& [name, tensor] : before.parts) {
    if (!after.find(name).defined()) out.push_back(fmt::format("part '{}' dropped", name));
  }
  return out;
}

}  // namespace torchao_cpp
