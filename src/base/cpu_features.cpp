// SPDX-License-Identifier: Apache-2.0
#include "base/cpu_features.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cstdlib>
#include <optional>
#include <span>

#include "torchao_cpp/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace torchao_cpp {
namespace {

constexpr auto kNames = std::to_array<std::string_view>(
    {"avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx", "neon", "neon_dotprod", "neon_i8mm"});
constexpr const char* kVariable = "TORCHAO_CPP_CPU_ISA";

#if defined(__x86_64__)

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf = 0) noexcept {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

bool has_bits(std::uint64_t value, std::uint64_t bits) noexcept { return (value & bits) == bits; }

// Register state that the operating system saves.
std::uint64_t enabled_state() noexcept {
  constexpr unsigned kOsxsave = 1u << 27;
  if (!has_bits(cpuid(1).c, kOsxsave)) return 0;
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

// Linux saves tiles only for processes that asked. For all threads, those to come included.
bool asks_for_tiles() noexcept {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  static const bool is_granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return is_granted;
}

bool machine_has(CpuIsa isa) noexcept {
  constexpr std::uint64_t kYmm = 0x6, kZmm = 0xE6, kTiles = 0x60000;
  const Registers first = cpuid(1);
  const Registers seventh = cpuid(7);
  const std::uint64_t state = enabled_state();
  constexpr unsigned kFma = 1u << 12, kF16c = 1u << 29;
  constexpr unsigned kAvx2 = 1u << 5;
  if (!has_bits(first.c, kFma | kF16c) || !has_bits(seventh.b, kAvx2) || !has_bits(state, kYmm))
    return false;
  if (isa == CpuIsa::kAvx2) return true;
  constexpr unsigned kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  if (!has_bits(seventh.b, kF | kDq | kBw | kVl) || !has_bits(state, kZmm)) return false;
  if (isa == CpuIsa::kAvx512) return true;
  constexpr unsigned kVnni = 1u << 11;
  if (!has_bits(seventh.c, kVnni)) return false;
  if (isa == CpuIsa::kAvx512Vnni) return true;
  constexpr unsigned kVbmi = 1u << 1, kAvx512Bf16 = 1u << 5;
  if (!has_bits(seventh.c, kVbmi) || !has_bits(cpuid(7, 1).a, kAvx512Bf16)) return false;
  if (isa == CpuIsa::kAvx512Bf16) return true;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;
  return has_bits(seventh.d, kAmxBf16 | kAmxTile | kAmxInt8) && has_bits(state, kTiles) &&
         asks_for_tiles();
}

constexpr int kFirstIsa = static_cast<int>(CpuIsa::kAvx2);
constexpr int kIsas = 5;

#elif defined(__aarch64__)

bool machine_has(CpuIsa isa) noexcept {
  // Bits of Linux's <asm/hwcap.h>; older ones lack the names.
  constexpr unsigned long kAsimd = 1ul << 1, kAsimdDp = 1ul << 20, kI8mm = 1ul << 13;
  const unsigned long first = getauxval(AT_HWCAP);
  if ((first & kAsimd) == 0) return false;
  if (isa == CpuIsa::kNeon) return true;
  if ((first & kAsimdDp) == 0) return false;
  if (isa == CpuIsa::kNeonDotprod) return true;
  return (getauxval(AT_HWCAP2) & kI8mm) != 0;
}

constexpr int kFirstIsa = static_cast<int>(CpuIsa::kNeon);
constexpr int kIsas = 3;

#else

bool machine_has(CpuIsa) noexcept { return false; }

constexpr int kFirstIsa = 0;
constexpr int kIsas = 0;

#endif

// The sets of this architecture, each with all of those before it.
constexpr std::span<const std::string_view> kOwnNames(kNames.data() + kFirstIsa, kIsas);

bool is_own(CpuIsa isa) noexcept {
  const int i = static_cast<int>(isa) - kFirstIsa;
  return i >= 0 && i < kIsas;
}

// The greatest set that TORCHAO_CPP_CPU_ISA allows: -1 for "ref"; nullopt when it is not set.
std::optional<int> allowed() {
  const char* text = std::getenv(kVariable);
  if (text == nullptr || *text == '\0') return std::nullopt;
  const std::string_view name = text;
  if (name == "ref") return -1;
  for (std::size_t i = 0; i < kOwnNames.size(); ++i) {
    if (kOwnNames[i] == name) return kFirstIsa + static_cast<int>(i);
  }
  throw Error(fmt::format("{} is '{}'; expected ref or one of {}", kVariable, name,
                          fmt::join(kOwnNames, ", ")),
              "environment");
}

}  // namespace

std::string_view cpu_isa_name(CpuIsa isa) noexcept { return kNames[static_cast<std::size_t>(isa)]; }

std::string cpu_isa_refusal(CpuIsa isa) {
  const std::optional<int> limit = allowed();
  if (limit && static_cast<int>(isa) > *limit)
    return fmt::format("{} is {}", kVariable, std::getenv(kVariable));
  if (!is_own(isa) || !machine_has(isa))
    return fmt::format("this machine has no {}", cpu_isa_name(isa));
  return {};
}

std::string foreign_isa_refusal() {
  if (!allowed()) return {};
  return fmt::format("{} is {}", kVariable, std::getenv(kVariable));
}

}  // namespace torchao_cpp
