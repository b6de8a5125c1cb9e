// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace torchao_cpp::conformance {

/// Collects the outcome of each case of one suite.
class Report {
 public:
  struct Failure {
    std::string name;
    std::string detail;  ///< First bad index, expected and actual.
  };

  void pass(std::string_view name);
  void fail(std::string_view name, std::string detail);
  void skip(std::string_view name, std::string reason);

  int passed() const noexcept { return passed_; }
  const std::vector<Failure>& failures() const noexcept { return failures_; }
  const std::vector<Failure>& skips() const noexcept { return skips_; }

 private:
  int passed_ = 0;
  std::vector<Failure> failures_;
  std::vector<Failure> skips_;
};

/// Each suite reads any folder of its form (what is in it comes from its manifest or listing alone).
void run_configs(const std::filesystem::path& folder, Report& report);
void run_selection(const std::filesystem::path& folder, Report& report);
void run_golden(const std::filesystem::path& folder, Report& report);
void run_checkpoints(const std::filesystem::path& folder, Report& report);
void run_hostile(const std::filesystem::path& folder, Report& report);

}  // namespace torchao_cpp::conformance
