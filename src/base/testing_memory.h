// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

/// What Linux says of this process's memory, in bytes.
namespace torchao_cpp {

struct MemoryUse {
  std::int64_t resident = 0;   ///< VmRSS: anonymous + file + shared.
  std::int64_t peak = 0;       ///< VmHWM: the highest resident since the start or reset_peak().
  std::int64_t anonymous = 0;  ///< RssAnon: heap, stacks, anonymous maps.
  std::int64_t file = 0;       ///< RssFile: pages of mapped files.
};

inline MemoryUse memory_use() {
  MemoryUse use;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string key;
    std::int64_t kib = 0;
    words >> key >> kib;
    if (key == "VmRSS:") use.resident = kib * 1024;
    if (key == "VmHWM:") use.peak = kib * 1024;
    if (key == "RssAnon:") use.anonymous = kib * 1024;
    if (key == "RssFile:") use.file = kib * 1024;
  }
  return use;
}

/// Sets the peak back to what is resident now. False where the system does not let us.
inline bool reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace torchao_cpp
