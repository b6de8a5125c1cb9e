// SPDX-License-Identifier: Apache-2.0
// Times loading a model, beside reading its files, and says what memory it took.
//
//   bench_load DIR [CONFIG [THREADS]]
//
// CONFIG: a quantization to do on the fly (int8wo, int4wo-128, ...; "" = none). The files are read
// first, by all threads into buffers: that is the speed of what the page cache holds, or of the
// disk after `echo 3 > /proc/sys/vm/drop_caches` with TORCHAO_BENCH_SKIP_READ=1 for the load alone.
// Memory is resident memory of the process, pages of the heap (anonymous) and of mapped files
// together; the peak is that of the load (VmHWM, reset before it).
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/testing_memory.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Bytes read: every weight file once, in pieces that threads take in turn.
std::int64_t read_files(const fs::path& directory) {
  constexpr std::int64_t kPiece = std::int64_t{4} << 20;
  std::int64_t total = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string extension = entry.path().extension();
    if (extension != ".safetensors" && extension != ".bin") continue;
    const auto size = static_cast<std::int64_t>(entry.file_size());
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw IoError(entry.path().string() + ": cannot be opened");
    std::atomic<std::int64_t> next{0};
    std::atomic<std::int64_t> done{0};
    std::vector<std::thread> readers;
    for (int t = 0; t < threads(); ++t) {
      readers.emplace_back([&] {
        std::vector<char> buffer(kPiece);
        for (std::int64_t at; (at = next.fetch_add(kPiece)) < size;) {
          for (std::int64_t end = std::min(at + kPiece, size); at < end;) {
            const ssize_t got = ::pread(fd, buffer.data(), static_cast<std::size_t>(end - at), at);
            if (got <= 0) return;
            at += got;
            done += got;
          }
        }
      });
    }
    for (std::thread& reader : readers) reader.join();
    ::close(fd);
    if (done != size) throw IoError(entry.path().string() + ": cannot be read");
    total += size;
  }
  return total;
}

void report(const char* what, double seconds, std::int64_t bytes) {
  const double gb = static_cast<double>(bytes) * 1e-9;
  fmt::print("{:<22} {:8.3f} s  {:7.2f} GB/s\n", what, seconds, gb / seconds);
}

int run(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    fmt::print(stderr, "usage: bench_load DIR [CONFIG [THREADS]]\n");
    return 2;
  }
  ModelOptions options;
  if (argc > 2 && *argv[2] != '\0') options.quantization = TorchAOConfig::from_user(argv[2]);
  if (argc > 3) set_threads(std::atoi(argv[3]));
  std::int64_t file_bytes = 0;
  if (std::getenv("TORCHAO_BENCH_SKIP_READ") == nullptr) {
    Clock::time_point start = Clock::now();
    file_bytes = read_files(argv[1]);
    report("read (first)", seconds_since(start), file_bytes);
    start = Clock::now();
    read_files(argv[1]);
    report("read (page cache)", seconds_since(start), file_bytes);
  } else {
    for (const auto& entry : fs::directory_iterator(argv[1]))
      if (entry.path().extension() == ".safetensors")
        file_bytes += static_cast<std::int64_t>(entry.file_size());
  }

  const bool is_reset = reset_peak();
  const MemoryUse before = memory_use();
  const Clock::time_point start = Clock::now();
  LLM model(argv[1], options);
  report("load", seconds_since(start), file_bytes);
  const MemoryUse after = memory_use();
  const std::vector<std::int32_t> ids{1};
  const Clock::time_point first = Clock::now();
  model.logits(ids);
  const double first_seconds = seconds_since(first);
  const Clock::time_point second = Clock::now();
  model.logits(ids);
  fmt::print("{:<22} {:8.3f} s, then {:.3f} s\n", "first token", first_seconds,
             seconds_since(second));
  const auto mb = [](std::int64_t bytes) { return static_cast<double>(bytes) * 1e-6; };
  fmt::print("{:<22} {:8.1f} MB\n", "weights", mb(model.weight_bytes()));
  fmt::print("{:<22} {:8.1f} MB (heap {:.1f}, mapped files {:.1f}; before the load {:.1f})\n",
             "resident after load", mb(after.resident), mb(after.anonymous), mb(after.file),
             mb(before.resident));
  fmt::print("{:<22} {:8.1f} MB{}, {:.1f} above resident after load\n", "peak of the load",
             mb(after.peak), is_reset ? "" : " (of the whole process)",
             mb(after.peak - after.resident));
  return 0;
}

}  // namespace
}  // namespace torchao_cpp::bench

int main(int argc, char** argv) {
  try {
    return torchao_cpp::bench::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_load: {}\n", error.what());
    return 1;
  }
}
