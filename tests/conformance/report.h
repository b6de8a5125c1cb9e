// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/device.h"

namespace torchao_cpp::conformance {

/// Collects the outcome of each case of one suite.
class Report {
 public:
  struct Failure {
    std::string name;
    std::string detail;  ///< First bad index, expected and actual.
  };

  /// `device`: where linears and models run.
  explicit Report(Device device = {}) : device_(device) {}

  Device device() const noexcept { return device_; }
  /// Runs one case: a difference or an exception fails it.
  void check(std::string_view name, const std::function<std::optional<std::string>()>& body);
  void pass(std::string_view name);
  void fail(std::string_view name, std::string detail);
  void skip(std::string_view name, std::string reason);

  int passed() const noexcept { return passed_; }
  const std::vector<Failure>& failures() const noexcept { return failures_; }
  const std::vector<Failure>& skips() const noexcept { return skips_; }

 private:
  Device device_;
  int passed_ = 0;
  std::vector<Failure> failures_;
  std::vector<Failure> skips_;
};

/// Each suite reads any folder of its form (what is in it comes from its manifest or listing alone).
void run_configs(const std::filesystem::path& folder, Report& report);
void run_selection(const std::filesystem::path& folder, Report& report);
void run_golden(const std::filesystem::path& folder, Report& report);
void run_golden_cuda(const std::filesystem::path& folder, Report& report);
void run_checkpoints(const std::filesystem::path& folder, Report& report);
void run_hostile(const std::filesystem::path& folder, Report& report);

}  // namespace torchao_cpp::conformance
