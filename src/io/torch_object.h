// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/json.h"
#include "io/torch_tensor.h"

namespace torchao_cpp {

/// An instance of a tensor subclass as a torch file holds it: class, logical dtype and shape, and
/// the attributes of the Python object. Refers to the pickle's values and to the archive, which
/// must outlive it.
class TorchObject {
 public:
  /// From REDUCE of _rebuild_from_type_v2 with a class of torchao. `fqn` names the weight in
  /// messages. Throws CheckpointError pickle.type_error.
  TorchObject(const PickleValue& call, const ZipFile& zip, std::string_view fqn);

  std::string_view class_name() const noexcept { return type_->name; }
  DType dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  const std::string& fqn() const noexcept { return fqn_; }

  /// The attribute; null when it is absent or None.
  const PickleValue* find(std::string_view name) const;
  /// The tensor; nullopt when it is absent or None. Throws CheckpointError pickle.type_error, or as
  /// TorchTensor does.
  std::optional<TorchTensor> tensor(std::string_view name) const;
  /// As above; throws ao.missing_data when there is none.
  TorchTensor required_tensor(std::string_view name) const;
  /// A tensor subclass in an attribute; throws ao.missing_data or pickle.type_error.
  TorchObject required_object(std::string_view name) const;
  /// An integer; nullopt when it is absent or None.
  std::optional<std::int64_t> integer(std::string_view name) const;
  /// The attribute in the encoding of torchao's safetensors metadata (attribute_from_pickle); JSON
  /// null when absent.
  Json attribute(std::string_view name) const;
  /// Throws ao.metadata_invalid for an attribute that is neither None nor among `names`.
  void expect_attributes(std::initializer_list<std::string_view> names) const;

  /// Calls `visit(name, value)` for each attribute that is not None.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (std::size_t i = 0; i + 1 < state_->items.size(); i += 2) {
      if (!state_->items[i + 1]->is(PickleKind::kNone))
        visit(state_->items[i]->text(), *state_->items[i + 1]);
    }
  }

  /// Throws CheckpointError "FILE: weight 'fqn' (class): message".
  [[noreturn]] void fail(std::string_view kind, std::string_view message) const;

 private:
  std::string label(std::string_view name) const;
  void read_state(const PickleValue& state);

  const ZipFile& zip_;
  std::string fqn_;
  const PickleGlobal* type_ = nullptr;
  DType dtype_ = DType::kFloat32;
  Shape shape_;
  const PickleValue* state_ = nullptr;
  std::unordered_map<std::string_view, const PickleValue*> attributes_;
};

/// A value of an attribute in the encoding of torchao's safetensors metadata: tuples and torch.Size
/// as arrays, dtypes, enums and dataclasses as {"_type": .., "_data": ..}. Throws CheckpointError
/// pickle.type_error, or pickle.limit_exceeded for a value of more parts than any attribute has.
/// `what` names it in messages.
Json attribute_from_pickle(const PickleValue& value, std::string_view what);

}  // namespace torchao_cpp
