// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace torchao_cpp {

/// Instruction sets that kernels are compiled for, each with all that it stands for.
enum class CpuIsa : std::uint8_t {
  kAvx2,         ///< AVX2, FMA, F16C
  kAvx512,       ///< AVX-512 F, BW, DQ, VL
  kAvx512Vnni,   ///< kAvx512 and VNNI
  kAvx512Bf16,   ///< kAvx512Vnni, BF16 and VBMI
  kAmx,          ///< kAvx512Bf16, AMX tiles of int8 and bfloat16
  kNeon,         ///< What every ARMv8-A machine has.
  kNeonDotprod,  ///< kNeon and dot products of four bytes
  kNeonI8mm,     ///< kNeonDotprod and products of 2 by 8 matrices of bytes
};

/// "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"; "neon", "neon_dotprod", "neon_i8mm": the names of
/// kernels and of TORCHAO_CPP_CPU_ISA, each where the architecture is the machine's.
std::string_view cpu_isa_name(CpuIsa isa) noexcept;

/// Why kernels for `isa` must not run: the machine or the operating system lacks it, or
/// TORCHAO_CPP_CPU_ISA names a lesser one. Empty when they may.
std::string cpu_isa_refusal(CpuIsa isa);

/// Why a library that chooses among instruction sets by itself must not run: TORCHAO_CPP_CPU_ISA is
/// set. Empty when it may.
std::string foreign_isa_refusal();

}  // namespace torchao_cpp
