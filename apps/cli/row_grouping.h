// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace torchao_cpp::cli {

/// A named row of a report that may stand for several layers.
struct NamedRow {
  std::string fqn;
  std::vector<std::string> cells;
  std::size_t count = 1;  ///< How many rows it stands for.
};

/// Joins rows that differ in the layer number alone: "model.layers.0.mlp.up_proj" to
/// "model.layers.27.mlp.up_proj" become "model.layers.0-27.mlp.up_proj" where their cells are
/// equal. Order is that of the first of each.
std::vector<NamedRow> group_rows(const std::vector<NamedRow>& rows);

}  // namespace torchao_cpp::cli
