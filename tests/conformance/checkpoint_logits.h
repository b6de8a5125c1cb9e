// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string_view>

#include "conformance/report.h"

namespace torchao_cpp::conformance {

/// Runs the model in `model_folder` (config.json and weights) on the `input_ids` of FILE and compares with the `logits`
/// and `logits_f32_dequant` stored there, where FILE is `expected_file`, a safetensors file.
/// Adds one case or more to `report`, named NAME/...; skips, with the reason, an architecture that is not supported.
/// An exception of the model is a failed case; nothing is thrown.
void check_logits(std::string_view name, const std::filesystem::path& model_folder,
                  const std::filesystem::path& expected_file, Report& report);

}  // namespace torchao_cpp::conformance
