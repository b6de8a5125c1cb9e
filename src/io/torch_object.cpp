// SPDX-License-Identifier: Apache-2.0
#include "io/torch_object.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// torchao's deepest attribute has 4 levels and some 30 values. Shared values are expanded, so the
// number must be bounded.
constexpr int kMaxAttributeDepth = 8;
constexpr int kMaxAttributeValues = 1000;

class AttributeConverter {
 public:
  explicit AttributeConverter(std::string_view what) : what_(what) {}

  Json convert(const PickleValue& value, int depth = 0) {
    if (depth > kMaxAttributeDepth || ++count_ > kMaxAttributeValues)
      fail("pickle.limit_exceeded", "has more parts than any attribute of torchao");
    switch (value.kind) {
      case PickleKind::kNone:
        return nullptr;
      case PickleKind::kBool:
        return value.integer() != 0;
      case PickleKind::kInt:
        return value.integer();
      case PickleKind::kFloat:
        if (!std::isfinite(value.number())) fail("pickle.type_error", "is not finite");
        return value.number();
      case PickleKind::kString:
        return std::string(value.text());
      case PickleKind::kTuple:
      case PickleKind::kList:
        return convert_sequence(value, depth);
      case PickleKind::kDict:
        return convert_fields(value, depth);
      case PickleKind::kGlobal:
        if (value.has_role(PickleRole::kDType))
          return tagged("torch.dtype", std::string(dtype_name(value.global->dtype)));
        break;
      case PickleKind::kObject:
        return convert_object(value, depth);
      default:
        break;
    }
    fail("pickle.type_error", "is no value of an attribute");
  }

 private:
  static Json tagged(std::string_view type, Json data) {
    return Json{{"_type", std::string(type)}, {"_data", std::move(data)}};
  }

  Json convert_sequence(const PickleValue& value, int depth) {
    Json out = Json::array();
    for (const PickleValue* item : value.items) out.push_back(convert(*item, depth + 1));
    return out;
  }

  Json convert_fields(const PickleValue& dict, int depth) {
    Json out = Json::object();
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      // Only what this class makes of enums and dataclasses has one.
      if (dict.items[i]->text() == "_type")
        fail("pickle.type_error", "has a key '_type', which no attribute of torchao has");
      out[std::string(dict.items[i]->text())] = convert(*dict.items[i + 1], depth + 1);
    }
    return out;
  }

  Json convert_object(const PickleValue& value, int depth) {
    const auto& arguments = value.items[0]->items;
    switch (value.global->role) {
      case PickleRole::kEnum:
        return convert_enum(value);
      case PickleRole::kDataclass:
        return tagged(value.global->name,
                      value.is_built ? convert_fields(*value.items[1], depth) : Json::object());
      case PickleRole::kNamedTuple:  // Float8MMConfig, the only one
        return tagged(value.global->name, Json{{"emulate", arguments[0]->integer() != 0},
                                               {"use_fast_accum", arguments[1]->integer() != 0},
                                               {"pad_inner_dim", arguments[2]->integer() != 0}});
      default:
        fail("pickle.type_error", "is no value of an attribute");
    }
  }

  Json convert_enum(const PickleValue& value) {
    const PickleValue& member = *value.items[0]->items[0];
    // The one enum that torchao's metadata spell as a bare string.
    if (value.global->name == "IntxUnpackedToInt8TensorActivationQuantization" &&
        member.is(PickleKind::kString)) {
      return std::string(member.text());
    }
    const auto name = member.is(PickleKind::kInt)
                          ? enum_member_name(*value.global, member.integer())
                          : enum_member_name(*value.global, member.text());
    if (!name) fail("pickle.type_error", fmt::format("is no member of {}", value.global->name));
    return tagged(value.global->name, *name);
  }

  [[noreturn]] void fail(std::string_view kind, std::string_view message) const {
    throw CheckpointError(fmt::format("{} {}", what_, message), std::string(kind));
  }

  std::string_view what_;
  int count_ = 0;
};

}  // namespace

Json attribute_from_pickle(const PickleValue& value, std::string_view what) {
  return AttributeConverter(what).convert(value);
}

TorchObject::TorchObject(const PickleValue& call, const ZipFile& zip, std::string_view fqn)
    : zip_(zip), fqn_(fqn) {
  const auto wrong = [&] {
    throw CheckpointError(fmt::format("{}: weight {} is no instance of a tensor class of torchao",
                                      zip.where(), quoted_name(fqn)),
                          "pickle.type_error");
  };
  if (!call.is_object(PickleRole::kRebuildFromType)) wrong();
  const auto& a = call.items[0]->items;
  if (a.size() != 4 || !a[0]->is_global(PickleRole::kRebuildWrapperSubclass) ||
      !a[1]->is_global(PickleRole::kTensorClass) || !a[2]->is(PickleKind::kTuple)) {
    wrong();
  }
  type_ = a[1]->global;
  // class, dtype, size, stride, storage_offset, layout, device, requires_grad
  const auto& meta = a[2]->items;
  if (meta.size() != 8 || !meta[0]->is_global(PickleRole::kTensorClass) ||
      meta[0]->global != type_ || !meta[1]->is_global(PickleRole::kDType) ||
      !meta[4]->is(PickleKind::kInt) || !meta[5]->is_object(PickleRole::kGetLayout) ||
      !meta[6]->is_object(PickleRole::kDevice) || !meta[7]->is(PickleKind::kBool)) {
    wrong();
  }
  dtype_ = meta[1]->global->dtype;
  shape_ = pickled_integers(*meta[2], label("size"));
  pickled_integers(*meta[3], label("stride"));
  read_state(*a[3]);
}

void TorchObject::read_state(const PickleValue& state) {
  state_ = &state;
  // With slots, a pair: the attributes and the slots, of which there are none.
  if (state.is(PickleKind::kTuple) && state.items.size() == 2) {
    const PickleValue& slots = *state.items[1];
    if (slots.is(PickleKind::kNone) || (slots.is(PickleKind::kDict) && slots.items.empty()))
      state_ = state.items[0];
  }
  if (!state_->is(PickleKind::kDict))
    fail("pickle.type_error", "its state is no dict of attributes");
  for (std::size_t i = 0; i + 1 < state_->items.size(); i += 2) {
    if (!attributes_.emplace(state_->items[i]->text(), state_->items[i + 1]).second) {
      fail("pickle.type_error",
           fmt::format("has the attribute {} twice", quoted_name(state_->items[i]->text())));
    }
  }
}

const PickleValue* TorchObject::find(std::string_view name) const {
  const auto found = attributes_.find(name);
  return found == attributes_.end() || found->second->is(PickleKind::kNone) ? nullptr
                                                                            : found->second;
}

std::optional<TorchTensor> TorchObject::tensor(std::string_view name) const {
  const PickleValue* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_object(PickleRole::kRebuildParameter) && value->items[0]->items.size() == 3)
    value = value->items[0]->items[0];
  if (!is_torch_tensor(*value)) fail("pickle.type_error", fmt::format("'{}' is no tensor", name));
  return TorchTensor(*value, zip_, label(name));
}

TorchTensor TorchObject::required_tensor(std::string_view name) const {
  auto out = tensor(name);
  if (!out) fail("ao.missing_data", fmt::format("required tensor '{}' is missing", name));
  return *std::move(out);
}

TorchObject TorchObject::required_object(std::string_view name) const {
  const PickleValue* value = find(name);
  if (value == nullptr)
    fail("ao.missing_data", fmt::format("required tensor '{}' is missing", name));
  return {*value, zip_, fqn_};
}

std::optional<std::int64_t> TorchObject::integer(std::string_view name) const {
  const PickleValue* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is(PickleKind::kInt))
    fail("pickle.type_error", fmt::format("'{}' is no integer", name));
  return value->integer();
}

Json TorchObject::attribute(std::string_view name) const {
  const PickleValue* value = find(name);
  return value == nullptr ? Json(nullptr) : attribute_from_pickle(*value, label(name));
}

void TorchObject::expect_attributes(std::initializer_list<std::string_view> names) const {
  for_each([&](std::string_view name, const PickleValue& value) {
    // torch marks parameters so.
    const bool is_mark = name == "_is_param" && value.is(PickleKind::kBool);
    if (!is_mark && std::find(names.begin(), names.end(), name) == names.end()) {
      fail("ao.metadata_invalid", fmt::format("unknown attribute {}", quoted_name(name)));
    }
  });
}

std::string TorchObject::label(std::string_view name) const {
  return fmt::format("{}: weight {} ({}): '{}'", zip_.where(), quoted_name(fqn_), type_->name,
                     name);
}

void TorchObject::fail(std::string_view kind, std::string_view message) const {
  throw CheckpointError(
      fmt::format("{}: weight {} ({}): {}", zip_.where(), quoted_name(fqn_), type_->name, message),
      std::string(kind));
}

}  // namespace torchao_cpp
