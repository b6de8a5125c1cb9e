// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/config.h"

/// What the commands print and how they are interrupted.
namespace torchao_cpp::cli {

/// Wrong arguments that the parser could not see; the program says so and exits with 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The reader of standard output went away; the program exits quietly.
class OutputClosed : public std::exception {};

/// Ctrl-C or a request to end while a command was at work; the program exits with
/// interrupted_status().
class Interrupted : public std::exception {};

/// Writes to standard output and flushes. Throws OutputClosed when the pipe is closed, IoError for
/// any other reason.
void write_out(std::string_view text);

/// One line on standard error: "note: ...".
void write_note(std::string_view text);
void write_notes(std::span<const std::string> notes);
void write_notes(std::span<const ConfigWarning> warnings);
/// A line on standard error as it is.
void write_status(std::string_view line);

/// From now on the first SIGINT or SIGTERM sets the returned flag; the next one kills.
const std::atomic<bool>& watch_interrupts();
/// What shells report for the signal that came: 130 for SIGINT, 143 for SIGTERM.
int interrupted_status();
/// Throws Interrupted when the flag of watch_interrupts() is set.
void check_interrupted();

/// A bar on standard error, drawn only where that is a terminal.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Redraws at most ten times a second. `is_bytes`: show MiB and MiB/s instead of counts.
  void update(std::string_view stage, std::int64_t done, std::int64_t total, bool is_bytes = true);
  /// Removes the bar from the screen.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool is_terminal_;
  bool is_drawn_ = false;
  std::string stage_;
  Clock::time_point stage_start_;
  Clock::time_point last_drawn_;
};

/// "12.3 MiB"
std::string format_bytes(std::int64_t bytes);
/// "1234567" as "1,234,567"
std::string format_count(std::int64_t count);
/// `text` with control characters as "?": names come from files and must not reach the terminal
/// raw.
std::string printable(std::string_view text);
/// As printable, but keeps line breaks.
std::string printable_lines(std::string_view text);

}  // namespace torchao_cpp::cli
