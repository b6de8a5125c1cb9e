// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "models/model_folder.h"
#include "models/quoted_list.h"
#include "models/tensor_difference.h"
#include "torchao_cpp/error.h"

/// diff_checkpoints: two checkpoints, weight by weight.
namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

/// One side of a row: what a weight is, and its values unless they cannot be had.
struct Side {
  std::string class_name = "Tensor";
  std::string dtype;
  Shape shape;
  Tensor values;
  std::string problem;
};

void dequantize_into(const CheckpointEntry& entry, Side& side) {
  side.class_name = entry.parts->class_name;
  try {
    const WeightTensorPtr weight = loaded_weight_from_parts(*entry.parts, entry.fqn).quantized;
    side.class_name = weight->class_name();
    side.dtype = dtype_name(weight->dtype());
    side.shape = weight->shape();
    side.values = weight->dequantize();
  } catch (const Error& e) {
    side.problem = e.what();
  }
}

Side side_of(const CheckpointEntry& entry) {
  Side side;
  if (entry.parts) {
    dequantize_into(entry, side);
    return side;
  }
  side.dtype = dtype_name(entry.plain.dtype());
  side.shape = entry.plain.shape();
  side.values = entry.plain;
  if (!is_comparable(entry.plain.dtype()))
    side.problem = fmt::format("values of {} cannot be compared", side.dtype);
  return side;
}

std::string problem_of(const Side& a, const Side& b) {
  if (!a.problem.empty()) return "A: " + a.problem;
  if (!b.problem.empty()) return "B: " + b.problem;
  if (a.shape == b.shape) return "";
  return fmt::format("shape {} in A, {} in B", shape_to_string(a.shape), shape_to_string(b.shape));
}

/// Compares common weights one at a time.
class Comparison {
 public:
  Comparison(const Checkpoint& a, const Checkpoint& b, const DiffOptions& options)
      : a_(a), b_(b), options_(options) {}

  DiffReport run() {
    for (const std::string& fqn : a_.names()) {
      if (b_.contains(fqn)) {
        compare(fqn);
      } else {
        report_.only_in_a.push_back(fqn);
      }
    }
    for (const std::string& fqn : b_.names()) {
      if (!a_.contains(fqn)) report_.only_in_b.push_back(fqn);
    }
    report_.total = total_.numbers();
    report_.total_differing = differing_.numbers();
    return std::move(report_);
  }

 private:
  void compare(const std::string& fqn) {
    if (options_.cancelled != nullptr && options_.cancelled->load())
      throw Error("cancelled", "cancelled");
    const CheckpointEntry entry_a = a_.entry(fqn);
    const CheckpointEntry entry_b = b_.entry(fqn);
    const Side a = side_of(entry_a);
    const Side b = side_of(entry_b);
    DiffReport::Row row{fqn,     a.class_name, b.class_name,     a.dtype,
                        b.dtype, a.shape,      problem_of(a, b), {}};
    if (row.problem.empty()) add_numbers(tensor_difference(a.values, b.values), row);
    report_.rows.push_back(std::move(row));
    done_ += stored_bytes(entry_a) + stored_bytes(entry_b);
    if (options_.progress) options_.progress("compare", done_, a_.nbytes() + b_.nbytes());
  }

  void add_numbers(const DifferenceSums& sums, DiffReport::Row& row) {
    row.numbers = sums.numbers();
    total_.add(sums);
    ++report_.compared;
    if (row.numbers.is_equal) {
      ++report_.equal;
    } else {
      differing_.add(sums);
    }
  }

  const Checkpoint& a_;
  const Checkpoint& b_;
  const DiffOptions& options_;
  DiffReport report_;
  DifferenceSums total_;
  DifferenceSums differing_;
  std::int64_t done_ = 0;
};

void check_compared(const DiffReport& report, const fs::path& a, const fs::path& b) {
  if (report.compared > 0) return;
  const std::string where = fmt::format("{} and {}", a.string(), b.string());
  if (report.rows.empty()) {
    throw CheckpointError(
        fmt::format("{}: no weight has the same name in both; A has {}; B has {}", where,
                    quoted_list(report.only_in_a, 3), quoted_list(report.only_in_b, 3)),
        "diff.nothing");
  }
  const DiffReport::Row& row = report.rows.front();
  throw CheckpointError(
      fmt::format("{}: no weight can be compared; '{}': {}", where, row.fqn, row.problem),
      "diff.nothing");
}

void add_warnings(const Checkpoint& checkpoint, std::vector<std::string>& notices) {
  notices.insert(notices.end(), checkpoint.warnings().begin(), checkpoint.warnings().end());
}

// Problems first, then NaN, then numbers.
int severity(const DiffReport::Row& row) {
  if (!row.problem.empty()) return 0;
  return std::isnan(row.numbers.sqnr_db) ? 1 : 2;
}

}  // namespace

DiffReport diff_checkpoints(const fs::path& a, const fs::path& b, const DiffOptions& options) {
  const Checkpoint checkpoint_a(a);
  const Checkpoint checkpoint_b(b);
  DiffReport report = Comparison(checkpoint_a, checkpoint_b, options).run();
  check_compared(report, a, b);
  add_warnings(checkpoint_a, report.notices);
  add_warnings(checkpoint_b, report.notices);
  return report;
}

std::vector<std::size_t> worst_first(const DiffReport& report) {
  std::vector<std::size_t> order(report.rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
    const DiffReport::Row& a = report.rows[i];
    const DiffReport::Row& b = report.rows[j];
    if (severity(a) != severity(b)) return severity(a) < severity(b);
    return severity(a) == 2 && a.numbers.sqnr_db < b.numbers.sqnr_db;
  });
  return order;
}

}  // namespace torchao_cpp
