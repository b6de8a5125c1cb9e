// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "conformance/report.h"

/// torchao-conformance SUITE FOLDER [--json] [--device cuda[:i]]: holds the library against a folder of cases made by torchao.
namespace torchao_cpp::conformance {
namespace {

constexpr int kExitPassed = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

struct Suite {
  std::string_view name;
  void (*run)(const std::filesystem::path& folder, Report& report);
};
constexpr auto kSuites = std::to_array<Suite>({
    {"configs", &run_configs},
    {"selection", &run_selection},
    {"golden", &run_golden},
    {"golden_cuda", &run_golden_cuda},
    {"checkpoints", &run_checkpoints},
    {"hostile", &run_hostile},
});

struct Arguments {
  Suite suite;
  std::filesystem::path folder;
  bool json = false;
  Device device;
};

// "cpu", "cuda" or "cuda:1"
std::optional<Device> parse_device(std::string_view name) {
  if (name == "cpu") return Device::cpu();
  if (name == "cuda") return Device::cuda(0);
  if (!name.starts_with("cuda:")) return std::nullopt;
  name.remove_prefix(5);
  int index = -1;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (error != std::errc() || stop != name.data() + name.size() || index < 0) return std::nullopt;
  return Device::cuda(index);
}

std::optional<Arguments> parse_arguments(int argc, char** argv) {
  Arguments out;
  std::vector<std::string_view> positional;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--json") {
      out.json = true;
    } else if (argument == "--device" && i + 1 < argc) {
      const auto device = parse_device(argv[++i]);
      if (!device) return std::nullopt;
      out.device = *device;
    } else if (argument.starts_with("-")) {
      return std::nullopt;
    } else {
      positional.push_back(argument);
    }
  }
  if (positional.size() != 2) return std::nullopt;
  for (const Suite& suite : kSuites) {
    if (suite.name != positional[0]) continue;
    out.suite = suite;
    out.folder = positional[1];
    return out;
  }
  return std::nullopt;
}

Json to_json(const std::vector<Report::Failure>& cases, const char* detail) {
  Json out = Json::array();
  for (const Report::Failure& c : cases) out.push_back(Json{{"case", c.name}, {detail, c.detail}});
  return out;
}

void print_json(const Suite& suite, const Report& report) {
  const Json out{{"suite", std::string(suite.name)},
                 {"passed", report.passed()},
                 {"failed", report.failures().size()},
                 {"skipped", report.skips().size()},
                 {"failures", to_json(report.failures(), "detail")},
                 {"skips", to_json(report.skips(), "reason")}};
  fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
}

void print_text(const Report& report) {
  for (const Report::Failure& skip : report.skips()) fmt::print("SKIP {}: {}\n", skip.name, skip.detail);
  for (const Report::Failure& failure : report.failures()) fmt::print("FAIL {}: {}\n", failure.name, failure.detail);
  fmt::print("{} passed, {} failed, {} skipped\n", report.passed(), report.failures().size(), report.skips().size());
}

int run(const Arguments& arguments) {
  Report report(arguments.device);
  std::error_code error;
  if (!std::filesystem::exists(arguments.folder, error)) {
    fmt::print(stderr, "torchao-conformance: {}: no such file or folder\n", arguments.folder.string());
    return kExitFailed;
  }
  try {
    arguments.suite.run(arguments.folder, report);
  } catch (const std::exception& e) {
    report.fail(arguments.folder.string(), e.what());
  }
  if (arguments.json) {
    print_json(arguments.suite, report);
  } else {
    print_text(report);
  }
  return report.failures().empty() && report.passed() > 0 ? kExitPassed : kExitFailed;
}

}  // namespace
}  // namespace torchao_cpp::conformance

int main(int argc, char** argv) {
  using namespace torchao_cpp::conformance;
  const auto arguments = parse_arguments(argc, argv);
  if (!arguments) {
    fmt::print(stderr, "usage: torchao-conformance {{configs|selection|golden|golden_cuda|checkpoints|hostile}} FOLDER [--json] "
                       "[--device cpu|cuda|cuda:INDEX]\n");
    return kExitUsage;
  }
  return run(*arguments);
}
