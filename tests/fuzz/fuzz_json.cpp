// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "base/json.h"
#include "fuzz/fuzz_target.h"
#include "io/json_events.h"

// Any bytes as JSON, through the reader that builds a tree and the one that gives events.
// Holds: both accept the same texts and refuse the others for the same kind of reason; what is
// written from a tree reads back as the same tree.
namespace torchao_cpp::fuzz {
namespace {

class AnyValue : public JsonEvents {
 protected:
  bool on_scalar(JsonScalar /*value*/) override { return true; }
  bool on_open(bool /*is_object*/) override { return true; }
  bool on_key(std::string /*key*/) override { return true; }
  bool on_close() override { return true; }
};

void run(std::string_view text) {
  Json tree;
  const auto tree_problem = try_parse_json(text, tree);
  const auto events_problem = AnyValue().parse(text);
  hold(tree_problem.has_value() == events_problem.has_value(),
       "one JSON reader accepts what the other refuses");
  if (tree_problem) {
    hold(tree_problem->kind == events_problem->kind,
         "the two JSON readers refuse a text for different reasons");
    return;
  }
  for (const int indent : {-1, 2}) {
    const std::string written = dump_json_python(tree, indent);
    Json again;
    hold(!try_parse_json(written, again), "JSON that was written does not parse");
    hold(again == tree && dump_json_python(again, indent) == written,
         "JSON changes when it is written and read");
  }
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  torchao_cpp::fuzz::run(torchao_cpp::fuzz::as_text(data, size));
  return 0;
}
