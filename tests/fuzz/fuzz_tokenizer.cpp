// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "fuzz/fuzz_target.h"
#include "fuzz/memory_file.h"
#include "torchao_cpp/llm.h"

// The bytes of tokenizer.json.
// Holds: only Error; a fixed text encodes to a bounded number of ids, all of which decode; a stream
// of them gives what decoding them at once gives.
namespace torchao_cpp::fuzz {
namespace {

// Runs, letters of several scripts, marks, digits, white space, broken UTF-8, added tokens, an NFKC
// giant.
constexpr std::string_view kText =
    "abc abcabc  the The it's I'LL 1234567 \t\n\r\n   x\n\n "
    "<|im_start|>user<|im_end|>aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab "
    "\xc3\xa9t\xc3\xa9 e\xcc\x81 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80\xf0\x9f\x91\x8d "
    "\xef\xb7\xba \xff\xc3 \xe2\x80\x83 "
    "def f(x):\n    return [x ** 2, {'a': \"b\"}]  # ()!?;:.,-_/\\|~`^%$&*+=<>@";
// A byte may become a byte-level character of two bytes, and U+FDFA 18 characters; real files are
// far below.
constexpr std::size_t kMostIds = 64 * kText.size();

void run(std::string_view bytes) {
  const MemoryFile file(as_bytes(bytes));
  const Tokenizer tokenizer(file.path());
  const std::vector<std::int32_t> ids = tokenizer.encode(kText);
  hold(ids.size() <= kMostIds, "a text of a few hundred bytes became very many ids");
  const bool decodes = accepts([&] {
    const std::string decoded = tokenizer.decode(ids);
    Tokenizer::Stream stream(tokenizer);
    std::string streamed;
    for (const std::int32_t id : ids) streamed += stream.put(id);
    streamed += stream.flush();
    hold(streamed == decoded, "a stream of ids gives another text than decoding them");
    tokenizer.decode(ids, /*skip_special_tokens=*/false);
  });
  hold(decodes, "an id that encode gave does not decode");
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp::fuzz;
  accepts([&] { run(as_text(data, size)); });
  return 0;
}
