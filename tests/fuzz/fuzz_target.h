// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <utility>

#include "torchao_cpp/error.h"

/// What every target implements: libFuzzer calls it, and so does the plain main of the regression
/// tests. It must return for any bytes. A crash, an exception that is no torchao_cpp::Error, too
/// much memory or time is a finding.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace torchao_cpp::fuzz {

/// Aborts with `message` when what a target holds is not so.
inline void hold(bool claim, std::string_view message) {
  if (claim) return;
  std::fputs(fmt::format("broken: {}\n", message).c_str(), stderr);
  std::abort();
}

/// True when `body` returns, false when it throws an Error. Anything else passes through and ends
/// the program.
template <typename Body>
bool accepts(Body&& body) {
  try {
    std::forward<Body>(body)();
    return true;
  } catch (const Error& e) {
    hold(*e.what() != '\0', "an error without a message");
    return false;
  }
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// The input's two parts: before and after the first byte 0xff, which no UTF-8 text holds.
inline std::pair<std::string_view, std::string_view> split(std::string_view input) {
  const std::size_t at = input.find('\xff');
  if (at == std::string_view::npos) return {input, {}};
  return {input.substr(0, at), input.substr(at + 1)};
}

}  // namespace torchao_cpp::fuzz
