// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "torchao_cpp/linear.h"

namespace torchao_cpp::python {

/// The linears that were made of one weight, by the dtype of x and the device.
struct LinearCache {
  std::shared_ptr<const Linear> find_or_make(const WeightTensorPtr& weight, DType dtype,
                                             Device device) {
    const std::scoped_lock lock(mutex);
    for (const Row& row : rows) {
      if (row.dtype == dtype && row.device == device) return row.linear;
    }
    auto linear =
        std::make_shared<const Linear>(LoadedWeight{{}, weight}, dtype, std::string_view{}, device);
    rows.push_back({dtype, device, linear});
    return linear;
  }

 private:
  struct Row {
    DType dtype;
    Device device;
    std::shared_ptr<const Linear> linear;
  };
  std::mutex mutex;
  std::vector<Row> rows;
};

}  // namespace torchao_cpp::python
