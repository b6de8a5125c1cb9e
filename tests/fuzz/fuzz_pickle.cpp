// SPDX-License-Identifier: Apache-2.0
#include <unordered_set>
#include <vector>

#include "fuzz/fuzz_target.h"
#include "io/pickle_reader.h"

// The bytes of a torch.save file's data.pkl.
// Holds: only Error; the document's root is a dict; every value that can be reached is one of the
// document's, and every string lies inside the pickle.
namespace torchao_cpp::fuzz {
namespace {

void check_value(const PickleValue& value, std::string_view pickle) {
  if (!value.is(PickleKind::kString)) return;
  const std::string_view text = value.text();
  if (text.empty()) return;
  hold(text.data() >= pickle.data() && text.data() + text.size() <= pickle.data() + pickle.size(),
       "a string outside of the pickle");
}

void run(std::string_view pickle) {
  const PickleDocument document = read_pickle(as_bytes(pickle), "file");
  hold(document.root != nullptr && document.root->is(PickleKind::kDict), "a root that is no dict");
  std::unordered_set<const PickleValue*> owned;
  for (const PickleValue& value : document.values) {
    check_value(value, pickle);
    owned.insert(&value);
  }
  hold(owned.contains(document.root), "a root that the document does not own");
  for (const PickleValue& value : document.values) {
    for (const PickleValue* item : value.items)
      hold(owned.contains(item), "a value that the document does not own");
  }
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp::fuzz;
  accepts([&] { run(as_text(data, size)); });
  return 0;
}
