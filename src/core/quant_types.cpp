// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/quant_types.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace torchao_cpp {
namespace {

struct Printer {
  std::string operator()(const PerTensor&) const { return "PerTensor()"; }
  std::string operator()(const PerToken&) const { return "PerToken()"; }
  std::string operator()(const PerRow& g) const { return fmt::format("PerRow(dim={})", g.dim); }
  std::string operator()(const PerAxis& g) const { return fmt::format("PerAxis(axis={})", g.axis); }
  std::string operator()(const PerGroup& g) const {
    return fmt::format("PerGroup(group_size={})", g.group_size);
  }
  std::string operator()(const PerBlock& g) const {
    return fmt::format("PerBlock(block_size=[{}])", fmt::join(g.block_size, ", "));
  }
};

}  // namespace

std::string to_string(const Granularity& granularity) { return std::visit(Printer{}, granularity); }

}  // namespace torchao_cpp
