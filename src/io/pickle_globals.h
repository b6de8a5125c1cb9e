// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "torchao_cpp/dtype.h"

namespace torchao_cpp {

/// What a global of a pickle may be used for. There is no general "call": each role has its own
/// handler.
enum class PickleRole : std::uint8_t {
  kOrderedDict,
  kSize,       ///< torch.Size
  kDevice,     ///< torch.device
  kGetLayout,  ///< torch.serialization._get_layout
  kDType,      ///< A constant, never called.
  kStorage,    ///< A storage class with a dtype; only inside a persistent id.
  kUntypedStorage,
  kRebuildTensorV2,
  kRebuildTensorV3,
  kRebuildParameter,
  kRebuildFromType,
  kRebuildWrapperSubclass,  ///< Only as an argument of kRebuildFromType.
  kParameter,               ///< As the one above.
  kTensorClass,             ///< A tensor subclass; as the one above.
  kEnum,
  kDataclass,   ///< NEWOBJ without arguments, then BUILD with its fields.
  kNamedTuple,  ///< NEWOBJ with its fields.
  kFunction,    ///< A name to map, never called.
};

/// One (module, name) pair that a pickle may hold.
struct PickleGlobal {
  std::string_view module;
  std::string_view name;
  PickleRole role;
  DType dtype = DType::kFloat32;  ///< Of kDType and kStorage.
};

/// The closed list of globals: the containers and constants of torch.save, torchao's classes and
/// what their instances hold.
std::span<const PickleGlobal> pickle_globals() noexcept;

/// The entry of that list; null unless both strings are equal to its own: no prefixes, no trimming,
/// no walk along dots.
const PickleGlobal* find_pickle_global(std::string_view module, std::string_view name) noexcept;

/// A weight class of torchao that is known and not read, because its packing belongs to one device
/// or kernel library.
struct RefusedClass {
  std::string_view module;
  std::string_view name;
  std::string_view error_kind;
  std::string_view owner;   ///< Whose packing it is.
  std::string_view config;  ///< What to quantize the model with instead.
};

/// Null for any other class.
const RefusedClass* find_refused_class(std::string_view module, std::string_view name) noexcept;

/// The member of an enum of the closed list that has this value, spelt as in torchao's safetensors
/// metadata
/// ("SYMMETRIC"); nullopt when there is none.
std::optional<std::string> enum_member_name(const PickleGlobal& type, std::int64_t value);
std::optional<std::string> enum_member_name(const PickleGlobal& type, std::string_view value);

}  // namespace torchao_cpp
