// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "fuzz/fuzz_target.h"
#include "fuzz/memory_file.h"
#include "io/safetensors_file.h"

// The bytes of a safetensors file: as they are, and with a length in front that takes the text up
// to the first 0xff as the header and the rest as data. Holds: only Error; of an accepted file
// every tensor lies inside the file, has the size that dtype and shape say, and together they tile
// the data; names differ; every tensor can be read.
namespace torchao_cpp::fuzz {
namespace {

std::uint64_t bits_of(const SafetensorsEntry& entry) {
  std::uint64_t bits = entry.dtype->bits;
  for (const std::int64_t d : entry.shape) bits *= static_cast<std::uint64_t>(d);
  return bits;
}

void check_entries(const SafetensorsHeader& header, std::uint64_t file_bytes) {
  std::vector<const SafetensorsEntry*> sorted;
  std::set<std::string_view> names;
  for (const SafetensorsEntry& entry : header.entries) {
    hold(entry.begin <= entry.end && entry.end <= file_bytes, "a tensor outside of its file");
    hold(bits_of(entry) == 8 * (entry.end - entry.begin), "a tensor whose range is not its size");
    hold(names.insert(entry.name).second, "two tensors of one name");
    if (entry.begin != entry.end) sorted.push_back(&entry);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return a->begin < b->begin; });
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const std::uint64_t next = i + 1 < sorted.size() ? sorted[i + 1]->begin : file_bytes;
    hold(sorted[i]->end == next, "tensors that do not tile the data");
  }
}

void read_tensors(std::string_view bytes) {
  const MemoryFile memory(as_bytes(bytes));
  const SafetensorsFile file(memory.path(), "file");
  for (const SafetensorsEntry& entry : file.header().entries) {
    hold(file.find(entry.name) == &entry, "a tensor that its name does not find");
    if (entry.begin == entry.end) continue;
    const Tensor tensor = file.tensor(entry);
    hold(static_cast<std::uint64_t>(tensor.nbytes()) == entry.end - entry.begin,
         "a tensor of another size than its range");
    hold(std::memcmp(tensor.bytes(), bytes.data() + entry.begin, entry.end - entry.begin) == 0,
         "a tensor of other bytes");
  }
}

void run(std::string_view bytes) {
  // The header alone from a buffer of the exact size, where a read beyond it would be seen.
  const bool parsed = accepts(
      [&] { check_entries(parse_safetensors_header(as_bytes(bytes), "file"), bytes.size()); });
  const bool opened = accepts([&] { read_tensors(bytes); });
  hold(parsed == opened, "the file opens though its header does not parse, or the other way round");
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp::fuzz;
  const std::string_view input = as_text(data, size);
  run(input);
  const auto [header, contents] = split(input);
  const std::uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  run(file.append(header).append(contents));
  return 0;
}
