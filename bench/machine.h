// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace torchao_cpp::bench {

/// Measured bandwidth of reading memory with all threads, in bytes a second: the best of several
/// passes over a buffer of four times the last cache level.
double measure_read_bandwidth();

/// Size of the last cache level; 32 MiB where the system does not say.
std::int64_t last_level_cache_bytes();

/// Model name of the CPU as /proc/cpuinfo gives it, "unknown" without one.
std::string cpu_name();

}  // namespace torchao_cpp::bench
