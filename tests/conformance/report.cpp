// SPDX-License-Identifier: Apache-2.0
#include "conformance/report.h"

#include <exception>

#include <utility>

namespace torchao_cpp::conformance {

void Report::check(std::string_view name, const std::function<std::optional<std::string>()>& body) {
  std::optional<std::string> difference;
  try {
    difference = body();
  } catch (const std::exception& e) {
    difference = std::string("threw: ") + e.what();
  }
  if (difference) {
    fail(name, *difference);
  } else {
    pass(name);
  }
}

void Report::pass(std::string_view /*name*/) { ++passed_; }

void Report::fail(std::string_view name, std::string detail) { failures_.push_back({std::string(name), std::move(detail)}); }

void Report::skip(std::string_view name, std::string reason) { skips_.push_back({std::string(name), std::move(reason)}); }

}  // namespace torchao_cpp::conformance
