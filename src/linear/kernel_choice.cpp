// SPDX-License-Identifier: Apache-2.0
#include "linear/kernel_choice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "base/logging.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/linear.h"

namespace torchao_cpp {
namespace {

enum class Force : std::uint8_t { kNothing, kIsa, kName };

Force parse_force(std::string_view force) {
  if (force.empty()) return Force::kNothing;
  std::vector<std::string> isas;
  for (const LinearKernel& kernel : kernel_list()) {
    if (kernel.name() == force) return Force::kName;
    if (kernel.isa == force) return Force::kIsa;
    if (std::find(isas.begin(), isas.end(), kernel.isa) == isas.end())
      isas.emplace_back(kernel.isa);
  }
  throw UnsupportedError(
      fmt::format("no kernel or instruction set is called '{}'; expected one of {} or a name that "
                  "'torchao kernels' lists",
                  force, fmt::join(isas, ", ")));
}

std::string described(const LinearProblem& problem) {
  return fmt::format("weight {} for {} activations",
                     shape_to_string(Shape{problem.output_size(), problem.input_size()}),
                     dtype_name(problem.activation_dtype));
}

void log_choice(const LinearProblem& problem, const KernelChoice& choice) {
  if (!logs_debug()) return;
  log_debug(fmt::format("{}: {}", described(problem), choice.kernel->name()));
  for (const std::string& rejected : choice.rejected) log_debug("  not " + rejected);
}

}  // namespace

KernelChoice choose_kernel(const LinearProblem& problem, std::string_view force) {
  const Force forced = parse_force(force);
  const std::optional<LinearOperation> operation = operation_of(problem);
  KernelChoice choice;
  for (const LinearKernel& kernel : kernel_list()) {
    if (!operation || kernel.operation != *operation) continue;
    const bool is_name_of_operation = forced == Force::kName &&
                                      force.starts_with(operation_name(*operation)) &&
                                      force[operation_name(*operation).size()] == '/';
    Support support = check_support(kernel, problem);
    if (forced == Force::kIsa && kernel.isa != force)
      support = Support::no(fmt::format("'{}' is forced", force));
    if (is_name_of_operation && kernel.name() != force)
      support = Support::no(fmt::format("'{}' is forced", force));
    if (support.ok) {
      choice.kernel = &kernel;
      log_choice(problem, choice);
      return choice;
    }
    choice.rejected.push_back(fmt::format("{}: {}", kernel.name(), support.reason));
  }
  if (!operation) {
    throw UnsupportedError(
        fmt::format("{}: no kernel combines {} codes with this quantization of the activation",
                    described(problem), dtype_name(problem.quantized->weight_dtype)));
  }
  throw UnsupportedError(
      fmt::format("{}: no kernel fits: {}", described(problem), fmt::join(choice.rejected, "; ")));
}

std::vector<KernelInfo> kernel_infos() {
  std::vector<KernelInfo> infos;
  for (const LinearKernel& kernel : kernel_list()) {
    Support support = kernel.runs_here();
    infos.push_back({kernel.name(), std::string(operation_name(kernel.operation)),
                     std::string(kernel.isa), support.ok, std::move(support.reason),
                     kernel.has_fewer_roundings});
  }
  return infos;
}

}  // namespace torchao_cpp
