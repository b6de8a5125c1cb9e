// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "torchao_cpp/export.h"

namespace torchao_cpp {

/// Root of all exceptions that the library throws for something a caller or a file caused.
/// `what()` is one sentence that reads: where, what, got, expected, hint.
class TORCHAO_CPP_EXPORT Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, std::string kind = {})
      : std::runtime_error(message), kind_(std::move(kind)) {}

  /// Stable machine-readable cause, e.g. "st.truncated" or "unknown_field"; empty where none is defined.
  const std::string& kind() const noexcept { return kind_; }

 private:
  std::string kind_;
};

/// A quantization config, config.json or rule that cannot be accepted. Kinds: not_a_dict,
/// missing_type_or_data, unknown_type, unknown_field, missing_field, version_not_accepted,
/// bad_enum_or_dtype_name, validation, legacy_config, json.
class TORCHAO_CPP_EXPORT ConfigError : public Error {
 public:
  using Error::Error;
};

/// A checkpoint, index or tokenizer file whose content cannot be accepted. Kinds as in docs/checkpoint_format.md.
class TORCHAO_CPP_EXPORT CheckpointError : public Error {
 public:
  using Error::Error;
};

/// Tensor shapes that do not fit together or do not fit the format.
class TORCHAO_CPP_EXPORT ShapeError : public Error {
 public:
  using Error::Error;
};

/// Valid input that this build or this machine cannot run.
class TORCHAO_CPP_EXPORT UnsupportedError : public Error {
 public:
  using Error::Error;
};

/// The operating system refused to open, read, write, rename or map a file.
class TORCHAO_CPP_EXPORT IoError : public Error {
 public:
  using Error::Error;
};

/// A device is absent, out of memory, or reported an error.
class TORCHAO_CPP_EXPORT DeviceError : public Error {
 public:
  using Error::Error;
};

}  // namespace torchao_cpp
