// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "fuzz/fuzz_target.h"
#include "fuzz/memory_file.h"
#include "fuzz/torch_image.h"
#include "io/torch_file.h"
#include "torchao_cpp/quantize.h"

// A torch.save file, given by the sizes of its storages and its data.pkl (see torch_image.h).
// Holds: only Error; every tensor lies inside its storage; an accepted weight can be built,
// dequantized and run, or says why not.
namespace torchao_cpp::fuzz {
namespace {

void read_bytes(const Tensor& tensor) {
  volatile unsigned sum = 0;
  for (std::int64_t i = 0; i < tensor.nbytes(); ++i)
    sum = sum + static_cast<unsigned>(tensor.bytes()[i]);
}

void read_entry(const TorchEntry& torch_entry) {
  const CheckpointEntry entry = torch_entry.read();
  hold(entry.fqn == torch_entry.fqn, "an entry of another name");
  if (!entry.parts) return read_bytes(entry.plain);
  for (const auto& [name, part] : entry.parts->parts) read_bytes(part);
  const WeightTensorPtr weight = weight_from_parts(*entry.parts, entry.fqn);
  accepts([&] { weight->to_quantized_weight(); });
  weight->dequantize();
}

void run(std::string_view input) {
  const MemoryFile memory(as_bytes(torch_image(input)));
  const TorchFile file(memory.path(), "file");
  for (const TorchEntry& entry : file.entries()) accepts([&] { read_entry(entry); });
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp::fuzz;
  accepts([&] { run(as_text(data, size)); });
  return 0;
}
