// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/parallel.h"

namespace torchao_cpp {

/// A product cut into tiles of outputs for library calls on one thread each.
struct PanelPlan {
  std::int64_t columns = 64;  ///< Outputs of a panel.
  std::int64_t rows = 256;    ///< Activation rows of one call at most.
};

/// Slots that can be at work at once: as many scratch areas does a workspace hold.
inline std::int64_t panel_slots(std::int64_t outputs, const PanelPlan& plan) noexcept {
  const std::int64_t panels = (outputs + plan.columns - 1) / plan.columns;
  return std::clamp<std::int64_t>(num_threads(), 1, std::max<std::int64_t>(panels, 1));
}

/// Calls fn(slot, n0, columns) for every panel of `outputs`, slots in parallel. How outputs are cut
/// does not depend on `slots`.
template <typename F>
void for_each_panel(std::int64_t outputs, const PanelPlan& plan, std::int64_t slots,
                    const F& fn) noexcept {
  const std::int64_t panels = (outputs + plan.columns - 1) / plan.columns;
  parallel_for(slots, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t slot = begin; slot < end; ++slot) {
      for (std::int64_t p = panels * slot / slots; p < panels * (slot + 1) / slots; ++p) {
        const std::int64_t n0 = p * plan.columns;
        fn(slot, n0, std::min(plan.columns, outputs - n0));
      }
    }
  });
}

}  // namespace torchao_cpp
