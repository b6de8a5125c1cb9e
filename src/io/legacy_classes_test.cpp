// SPDX-License-Identifier: Apache-2.0
#include "io/legacy_classes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "io/pickle_globals.h"
#include "torchao_cpp/checkpoint.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::IsEmpty;

const fs::path kCheckpoints = fs::path(TORCHAO_CPP_TEST_DATA) / "checkpoints";

std::string global_of(const BinClassInfo& info) {
  return std::string(info.module) + " " + std::string(info.name);
}

TEST(BinClassInfos, AreTheTensorClassesThatAPickleMayName) {
  std::set<std::string> listed;
  for (const BinClassInfo& info : bin_class_infos()) {
    const PickleGlobal* global = find_pickle_global(info.module, info.name);
    if (!info.unsupported.empty()) {
      EXPECT_EQ(global, nullptr) << info.name;
      EXPECT_EQ(unsupported_legacy_class(info.module, info.name), info.unsupported);
      continue;
    }
    ASSERT_NE(global, nullptr) << info.name;
    EXPECT_EQ(global->role, PickleRole::kTensorClass) << info.name;
    EXPECT_TRUE(listed.insert(global_of(info)).second) << info.name << " is listed twice";
  }
  for (const PickleGlobal& global : pickle_globals()) {
    if (global.role != PickleRole::kTensorClass) continue;
    EXPECT_THAT(listed, Contains(std::string(global.module) + " " + std::string(global.name)));
  }
}

TEST(BinClassInfos, BecomeAClassAddToOneOrSayWhyNot) {
  for (const BinClassInfo& info : bin_class_infos()) {
    EXPECT_EQ(!info.becomes.empty() + !info.adds.empty() + !info.unsupported.empty(), 1)
        << info.name;
    EXPECT_THAT(info.versions, Not(IsEmpty())) << info.name;
  }
}

// "PlainAQTTensorImpl" of "AffineQuantizedTensor(PlainAQTTensorImpl)"
std::string innermost(std::string path) {
  path.erase(path.find_last_not_of(')') + 1);
  return path.substr(path.rfind('(') + 1);
}

std::vector<std::string_view> outcomes_of(std::string_view name) {
  for (const BinClassInfo& info : bin_class_infos()) {
    if (info.name == name) return info.becomes;
  }
  return {};
}

TEST(BinClassInfos, SayWhatTheFilesOfEveryTorchaoBecome) {
  std::set<std::string> seen;
  for (const auto& item : fs::directory_iterator(kCheckpoints)) {
    if (!fs::is_directory(item.path() / "bin")) continue;
    const Checkpoint checkpoint(item.path() / "bin");
    for (const std::string& fqn : checkpoint.names()) {
      const CheckpointEntry entry = checkpoint.entry(fqn);
      if (entry.stored_class.empty()) {
        EXPECT_FALSE(entry.parts.has_value()) << item.path() << ' ' << fqn;
        continue;
      }
      const std::string stored = innermost(entry.stored_class);
      EXPECT_THAT(outcomes_of(stored), Contains(entry.parts ? entry.parts->class_name : "Tensor"))
          << item.path() << ' ' << fqn << ' ' << entry.stored_class;
      seen.insert(stored);
    }
  }
  for (const LegacyClass& c : legacy_classes()) {
    // torchao's CUTLASS weights are made on a GPU; legacy_weight_test has one.
    if (c.read_impl == nullptr || c.name == "Int4PackedTensorImpl") continue;
    EXPECT_THAT(seen, Contains(std::string(c.name)));
  }
}

}  // namespace
}  // namespace torchao_cpp
