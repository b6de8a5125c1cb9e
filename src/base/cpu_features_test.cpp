// SPDX-License-Identifier: Apache-2.0
#include "base/cpu_features.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using testing::HasSubstr;

// In the order of the enumeration; on one architecture each has all of those before it.
std::vector<CpuIsa> own_isas() {
#if defined(__x86_64__)
  return {CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kAvx512Vnni, CpuIsa::kAvx512Bf16, CpuIsa::kAmx};
#elif defined(__aarch64__)
  return {CpuIsa::kNeon, CpuIsa::kNeonDotprod, CpuIsa::kNeonI8mm};
#else
  return {};
#endif
}

/// TORCHAO_CPP_CPU_ISA, as it was again afterwards.
class CpuFeatures : public testing::Test {
 protected:
  CpuFeatures() {
    if (const char* value = std::getenv(kVariable)) before_ = value;
    unsetenv(kVariable);
  }
  ~CpuFeatures() override {
    before_ ? setenv(kVariable, before_->c_str(), 1) : unsetenv(kVariable);
  }
  static void force(std::string_view name) { setenv(kVariable, std::string(name).c_str(), 1); }

  static constexpr const char* kVariable = "TORCHAO_CPP_CPU_ISA";

 private:
  std::optional<std::string> before_;
};

TEST_F(CpuFeatures, AMachineThatHasASetHasThoseBefore) {
  bool has_all = true;
  for (const CpuIsa isa : own_isas()) {
    const bool has = cpu_isa_refusal(isa).empty();
    EXPECT_TRUE(has_all || !has) << cpu_isa_name(isa);
    has_all = has;
  }
}

TEST_F(CpuFeatures, TheVariableNamesTheGreatestSet) {
  for (const CpuIsa limit : own_isas()) {
    unsetenv(kVariable);
    const std::string without = cpu_isa_refusal(limit);
    force(cpu_isa_name(limit));
    EXPECT_EQ(cpu_isa_refusal(limit), without);
    EXPECT_FALSE(foreign_isa_refusal().empty());
    for (const CpuIsa isa : own_isas()) {
      if (isa <= limit) continue;
      EXPECT_EQ(cpu_isa_refusal(isa),
                std::string(kVariable) + " is " + std::string(cpu_isa_name(limit)));
    }
  }
}

TEST_F(CpuFeatures, RefAllowsNone) {
  force("ref");
  for (const CpuIsa isa : own_isas())
    EXPECT_EQ(cpu_isa_refusal(isa), "TORCHAO_CPP_CPU_ISA is ref") << cpu_isa_name(isa);
}

TEST_F(CpuFeatures, NamesOfNoSetAndOfOtherArchitecturesAreErrors) {
  std::string expected = "expected ref or one of ";
  for (const CpuIsa isa : own_isas())
    expected += (expected.ends_with(' ') ? "" : ", ") + std::string(cpu_isa_name(isa));
#if defined(__aarch64__)
  const std::string foreign = "avx2";
#else
  const std::string foreign = "neon";
#endif
  for (const std::string& name : {std::string("avx3"), foreign}) {
    force(name);
    for (const CpuIsa isa : own_isas()) {
      try {
        cpu_isa_refusal(isa);
        ADD_FAILURE() << name << " is allowed";
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("TORCHAO_CPP_CPU_ISA is '" + name + "'; " + expected));
      }
    }
  }
}

TEST_F(CpuFeatures, SetsOfOtherArchitecturesAreRefused) {
#if defined(__aarch64__)
  EXPECT_EQ(cpu_isa_refusal(CpuIsa::kAvx2), "this machine has no avx2");
#else
  EXPECT_EQ(cpu_isa_refusal(CpuIsa::kNeon), "this machine has no neon");
#endif
}

// For runs that are about one machine: the greatest set that it must have, and no more.
TEST_F(CpuFeatures, TheMachineIsTheExpectedOne) {
  const char* expected = std::getenv("TORCHAO_CPP_TEST_EXPECTED_ISA");
  if (expected == nullptr) GTEST_SKIP() << "TORCHAO_CPP_TEST_EXPECTED_ISA is not set";
  std::string greatest = "ref";
  for (const CpuIsa isa : own_isas()) {
    if (cpu_isa_refusal(isa).empty()) greatest = cpu_isa_name(isa);
  }
  EXPECT_EQ(greatest, expected);
}

}  // namespace
}  // namespace torchao_cpp
