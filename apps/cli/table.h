// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace torchao_cpp::cli {

/// Text in aligned columns under a header line.
class Table {
 public:
  struct Column {
    std::string title;
    bool is_number = false;  ///< Aligned to the right.
  };
  using Row = std::vector<std::string>;

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// One cell for each column.
  void add(Row row) { rows_.push_back(std::move(row)); }
  bool empty() const noexcept { return rows_.empty(); }
  /// Lines with their line breaks; columns that are empty in every row are left out.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

}  // namespace torchao_cpp::cli
