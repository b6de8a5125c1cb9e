// SPDX-License-Identifier: Apache-2.0
#include "console.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "torchao_cpp/error.h"

namespace torchao_cpp::cli {
namespace {

std::atomic<bool> interrupted{false};
std::atomic<int> received_signal{SIGINT};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free,
              "set by a signal handler");

void on_interrupt(int signal) {
  received_signal.store(signal);
  interrupted.store(true);
}

}  // namespace

void write_out(std::string_view text) {
  errno = 0;
  const std::size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
  if (written == text.size() && std::fflush(stdout) == 0) return;
  if (errno == EPIPE) throw OutputClosed();
  throw IoError(fmt::format("standard output: {}", std::strerror(errno)));
}

void write_status(std::string_view line) { fmt::print(stderr, "{}\n", line); }

void write_note(std::string_view text) { write_status(fmt::format("note: {}", printable(text))); }

void write_notes(std::span<const std::string> notes) {
  for (const std::string& note : notes) write_note(note);
}

void write_notes(std::span<const ConfigWarning> warnings) {
  for (const ConfigWarning& warning : warnings) write_note(warning.message);
}

const std::atomic<bool>& watch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  // Back to the default after one: a second Ctrl-C ends a program that does not get to its flag.
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  return interrupted;
}

int interrupted_status() { return 128 + received_signal.load(); }

void check_interrupted() {
  if (interrupted.load()) throw Interrupted();
}

ProgressBar::ProgressBar() : is_terminal_(isatty(STDERR_FILENO) == 1) {}

void ProgressBar::update(std::string_view stage, std::int64_t done, std::int64_t total,
                         bool is_bytes) {
  if (!is_terminal_ || total <= 0) return;
  const Clock::time_point now = Clock::now();
  if (stage != stage_) {
    stage_ = stage;
    stage_start_ = now;
  } else if (done < total && now - last_drawn_ < std::chrono::milliseconds(100)) {
    return;
  }
  last_drawn_ = now;
  constexpr std::size_t kWidth = 30;
  const double share = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
  const auto filled = static_cast<std::size_t>(share * kWidth);
  const double seconds = std::chrono::duration<double>(now - stage_start_).count();
  // Before that a rate is a guess.
  std::string rate;
  if (seconds > 0.2) {
    const double per_second = static_cast<double>(done) / seconds;
    rate = is_bytes ? fmt::format(", {}/s", format_bytes(static_cast<std::int64_t>(per_second)))
                    : fmt::format(", {:.1f}/s", per_second);
  }
  const std::string amount = is_bytes
                                 ? fmt::format("{} of {}", format_bytes(done), format_bytes(total))
                                 : fmt::format("{} of {}", done, total);
  fmt::print(stderr, "\r\x1b[K{:<10} [{}{}] {:3.0f}%  {}", printable(stage),
             std::string(filled, '#'), std::string(kWidth - filled, '.'), 100 * share,
             amount + rate);
  std::fflush(stderr);
  is_drawn_ = true;
}

void ProgressBar::clear() {
  if (!is_drawn_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  is_drawn_ = false;
}

std::string format_bytes(std::int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string format_count(std::int64_t count) {
  std::string digits = std::to_string(count);
  for (std::ptrdiff_t i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > (count < 0 ? 1 : 0);
       i -= 3)
    digits.insert(static_cast<std::size_t>(i), 1, ',');
  return digits;
}

std::string printable_lines(std::string_view text) {
  std::string out(text);
  const auto is_control = [](char c) {
    return c != '\n' && (static_cast<unsigned char>(c) < 0x20 || c == 0x7F);
  };
  std::replace_if(out.begin(), out.end(), is_control, '?');
  return out;
}

std::string printable(std::string_view text) {
  std::string out = printable_lines(text);
  std::replace(out.begin(), out.end(), '\n', '?');
  return out;
}

}  // namespace torchao_cpp::cli
