// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/export.h"

namespace torchao_cpp {

/// Calls run(context, c) once for each c in [0, chunks), on any threads, and returns when all calls have. Called from
/// several threads at once where the caller of the library is. Must not throw.
using ParallelRunner = void (*)(std::int64_t chunks, void (*run)(const void* context, std::int64_t chunk),
                                const void* context);

/// From now on parallel work runs on the threads of a host that has a pool of its own (OpenMP's under torch), so that two
/// pools do not wait for each other's cores. Null: on the library's pool again. No result depends on it.
TORCHAO_CPP_EXPORT void set_parallel_runner(ParallelRunner runner) noexcept;

}  // namespace torchao_cpp
