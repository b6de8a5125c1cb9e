// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/checkpoint.h"

namespace torchao_cpp {

/// One name of a torch file, checked when the file was opened. `read` borrows or copies the data;
/// it may be called from many threads, needs nothing but itself, and throws CheckpointError for
/// data that do not fit.
struct TorchEntry {
  std::string fqn;
  bool is_plain = true;
  bool is_listed = true;     ///< False: a part of another entry, which no index lists.
  std::int64_t nbytes = 0;   ///< As stored.
  std::string stored_class;  ///< As CheckpointEntry's.
  std::function<CheckpointEntry()> read;
};

/// Remarks about many weights, one line each: the text, how many weights it is about, and the first
/// of them.
class TorchNotes {
 public:
  void add(std::string_view fqn, std::string text);
  std::vector<std::string> lines(std::string_view where) const;

 private:
  struct Count {
    std::string first;
    std::size_t weights = 0;
  };
  std::map<std::string, Count> notes_;
};

}  // namespace torchao_cpp
