// SPDX-License-Identifier: Apache-2.0
#include "base/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>
#include <string>

namespace torchao_cpp {
namespace {

std::shared_ptr<spdlog::logger> make_logger() {
  auto logger = std::make_shared<spdlog::logger>("torchao_cpp",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%H:%M:%S.%e %n %l: %v");
  logger->set_level(spdlog::level::off);
  const char* asked = std::getenv("TORCHAO_CPP_LOG");
  if (asked == nullptr || *asked == '\0') return logger;
  const std::string level = asked;
  if (level == "error" || level == "info" || level == "debug") {
    logger->set_level(spdlog::level::from_str(level));
  } else if (level != "off") {
    logger->set_level(spdlog::level::err);
    logger->error("TORCHAO_CPP_LOG is '{}'; expected off, error, info or debug", level);
  }
  return logger;
}

// One of our own: spdlog's registry and default logger belong to the program that links us.
spdlog::logger* logger() noexcept {
  static const std::shared_ptr<spdlog::logger> kLogger = [] {
    try {
      return make_logger();
    } catch (const std::exception&) {
      return std::shared_ptr<spdlog::logger>();  // A log that cannot be made is not worth failing
                                                 // for.
    }
  }();
  return kLogger.get();
}

}  // namespace

bool logs_debug() noexcept {
  return logger() != nullptr && logger()->should_log(spdlog::level::debug);
}

void log_info(std::string_view message) noexcept {
  if (logger() != nullptr) logger()->info(message);
}

void log_debug(std::string_view message) noexcept {
  if (logger() != nullptr) logger()->debug(message);
}

}  // namespace torchao_cpp
