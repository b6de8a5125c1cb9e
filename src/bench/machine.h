// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "torchao_cpp/bench.h"

namespace torchao_cpp {

/// Bytes a second that all threads together read: the best of several passes over a buffer of four
/// times the last cache level, at most 1 GiB.
double measure_read_bandwidth();

/// The best of several runs of loops that touch registers alone.
std::vector<PeakRate> measure_peaks();

/// Random values of a normal weight's size, bfloat16 [N, K].
Tensor random_weight(const WeightShape& shape, unsigned seed);

/// The config that a benchmark names. Throws Error naming it when it is no shorthand.
ConfigPtr bench_config(const std::string& name);

/// Throws Error unless there are shapes and all sizes are at least 1.
void check_shapes(const std::vector<WeightShape>& shapes);

/// Not empty.
double median(std::vector<double> values);

}  // namespace torchao_cpp
