// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/parallel.h"

namespace torchao_cpp {

/// A product cut into tiles of outputs for library calls on one thread each.
struct PanelPlan {
  std::int64_t columns = 64;  ///< Outputs of a panel; with a unit at most.
  std::int64_t rows = 256;    ///< Activation rows of one call at most.
  /// Outputs that panels are multiples of (`columns` is one) where they may be smaller, so that all
  /// slots have equally many; 0: they may not.
  std::int64_t unit = 0;
};

/// Slots that can be at work at once: as many scratch areas does a workspace hold.
inline std::int64_t panel_slots(std::int64_t outputs, const PanelPlan& plan) noexcept {
  const std::int64_t unit = plan.unit == 0 ? plan.columns : plan.unit;
  const std::int64_t panels = (outputs + unit - 1) / unit;
  return std::clamp<std::int64_t>(num_threads(), 1, std::max<std::int64_t>(panels, 1));
}

/// Calls fn(slot, n0, columns) for every panel of `outputs`, slots in parallel. How outputs are cut
/// depends on `slots` only where the plan has a unit.
template <typename F>
void for_each_panel(std::int64_t outputs, const PanelPlan& plan, std::int64_t slots,
                    const F& fn) noexcept {
  const std::int64_t unit = plan.unit == 0 ? plan.columns : plan.unit;
  const std::int64_t units = (outputs + unit - 1) / unit;
  std::int64_t panels = (outputs + plan.columns - 1) / plan.columns;
  if (plan.unit != 0) panels = std::min((panels + slots - 1) / slots * slots, units);
  parallel_for(slots, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t slot = begin; slot < end; ++slot) {
      for (std::int64_t p = panels * slot / slots; p < panels * (slot + 1) / slots; ++p) {
        const std::int64_t n0 = units * p / panels * unit;
        const std::int64_t n1 = units * (p + 1) / panels * unit;
        fn(slot, n0, std::min(n1, outputs) - n0);
      }
    }
  });
}

}  // namespace torchao_cpp
