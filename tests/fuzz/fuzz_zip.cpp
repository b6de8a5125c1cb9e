// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "fuzz/fuzz_target.h"
#include "fuzz/memory_file.h"
#include "io/zip_file.h"

// The bytes of a zip archive as torch.save writes it.
// Holds: only Error; of an accepted archive every record lies inside the file, none overlaps
// another or shares its name, all stand below one root folder, and each can be found, read and
// summed.
namespace torchao_cpp::fuzz {
namespace {

void check_directory(const ZipDirectory& directory, std::uint64_t file_bytes) {
  std::vector<const ZipEntry*> sorted;
  std::set<std::string_view> names;
  for (const ZipEntry& entry : directory.entries) {
    hold(entry.begin <= file_bytes && entry.size <= file_bytes - entry.begin,
         "a record outside of its file");
    hold(names.insert(entry.name).second, "two records of one name");
    hold(entry.name.starts_with(directory.root + "/"), "a record outside of the root folder");
    if (entry.size > 0) sorted.push_back(&entry);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return a->begin < b->begin; });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    hold(sorted[i - 1]->begin + sorted[i - 1]->size <= sorted[i]->begin, "records that overlap");
  }
}

void read_records(std::string_view bytes, const ZipDirectory& directory) {
  const MemoryFile memory(as_bytes(bytes));
  const ZipFile file(std::make_shared<const MappedFile>(memory.path()), "file");
  for (const ZipEntry& entry : directory.entries) {
    const ZipEntry* found =
        file.find(std::string_view(entry.name).substr(directory.root.size() + 1));
    hold(found != nullptr && found->begin == entry.begin, "a record that its name does not find");
    hold(file.bytes(*found).size() == entry.size, "a record of another size");
    accepts([&] { file.check_crc(*found); });
  }
}

void run(std::string_view bytes) {
  // From a buffer of the exact size, where a read beyond it would be seen.
  const ZipDirectory directory = parse_zip_directory(as_bytes(bytes), "file");
  check_directory(directory, bytes.size());
  hold(accepts([&] { read_records(bytes, directory); }),
       "the file does not open though its directory parses");
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp::fuzz;
  accepts([&] { run(as_text(data, size)); });
  return 0;
}
