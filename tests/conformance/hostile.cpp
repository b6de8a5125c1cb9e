// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <exception>

#include "base/json.h"
#include "conformance/report.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

/// The hostile suite: each file or folder of manifest.json is opened, every entry is read and every quantized one built.
/// `expect` names the kind of the error that this must give, or "ok".
namespace torchao_cpp::conformance {
namespace {

/// What became of one file: "ok" or an error's kind.
struct Outcome {
  std::string kind = "ok";
  std::string message;
};

// Touches every byte, so that a tensor outside of its file would fault.
void read_bytes(const Tensor& tensor) {
  volatile unsigned sum = 0;
  for (std::int64_t i = 0; i < tensor.nbytes(); ++i) sum = sum + static_cast<unsigned>(tensor.bytes()[i]);
}

Outcome read_everything(const std::filesystem::path& path) {
  try {
    const Checkpoint checkpoint(path);
    for (const std::string& name : checkpoint.names()) {
      const CheckpointEntry entry = checkpoint.entry(name);
      if (entry.parts) {
        weight_from_parts(*entry.parts, name);
      } else {
        read_bytes(entry.plain);
      }
    }
  } catch (const Error& e) {
    return {e.kind().empty() ? "error without a kind" : e.kind(), e.what()};
  } catch (const std::exception& e) {
    return {"foreign exception", e.what()};
  }
  return {};
}

void run_file(const std::filesystem::path& path, const std::string& name, const std::string& expect, Report& report) {
  if (!std::filesystem::exists(path)) {
    report.fail(name, "the manifest lists it, but it does not exist");
    return;
  }
  const Outcome outcome = read_everything(path);
  if (outcome.kind == expect) {
    report.pass(name);
  } else {
    report.fail(name, fmt::format("gave {}, expected {}{}{}", outcome.kind, expect, outcome.message.empty() ? "" : ": ",
                                  outcome.message));
  }
}

}  // namespace

void run_hostile(const std::filesystem::path& folder, Report& report) {
  const Json manifest = read_json_file(folder / "manifest.json");
  for (const auto& [name, item] : manifest.at("files").items()) {
    run_file(folder / name, name, item.at("expect").get<std::string>(), report);
  }
}

}  // namespace torchao_cpp::conformance
