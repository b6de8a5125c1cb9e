// SPDX-License-Identifier: Apache-2.0
#include "io/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <unordered_set>

#include "io/intx_opaque.h"
#include "io/legacy_weight.h"
#include "io/pickle_reader.h"
#include "io/quoted_name.h"
#include "io/torch_classes.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// The pickled magic number that began every file of torch < 1.6.
constexpr std::array<unsigned char, 14> kOldMagic{0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                                  0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

[[noreturn]] void fail(std::string_view where, std::string_view kind, std::string_view message) {
  throw CheckpointError(fmt::format("{}: {}", where, message), std::string(kind));
}

void check_container(std::span<const std::byte> file, std::string_view where) {
  if (file.size() >= kOldMagic.size() &&
      std::memcmp(file.data(), kOldMagic.data(), kOldMagic.size()) == 0) {
    fail(where, "bin.unsupported_container",
         "is in the form of torch < 1.6; load and save it with a newer torch, or convert the model "
         "to safetensors");
  }
}

// data.pkl, after the records about the archive.
std::span<const std::byte> find_pickle(const ZipFile& zip) {
  if (const ZipEntry* order = zip.find("byteorder")) {
    const std::span<const std::byte> bytes = zip.bytes(*order);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text != "little")
      fail(zip.where(), "bin.unsupported_byteorder",
           fmt::format("has the byte order {}; expected 'little'", quoted_name(text)));
  }
  const ZipEntry* pickle = zip.find("data.pkl");
  if (pickle == nullptr || zip.find("version") == nullptr) {
    fail(zip.where(), "bin.unsupported_container",
         "is a zip archive, but has no data.pkl and version as torch.save writes them");
  }
  zip.check_crc(*pickle);
  return zip.bytes(*pickle);
}

/// From the pickle's root to entries; one object for one file.
class EntryReader {
 public:
  EntryReader(const ZipFile& zip, const PickleDocument& document, TorchNotes& notes)
      : zip_(zip), items_(document.root->items), context_{Int4CpuOrder::kAvx512, notes} {}

  std::vector<TorchEntry> run() {
    check_names();
    Int4CpuOrderVote vote;
    for_each([&](std::string_view fqn, const PickleValue& value) {
      if (is_subclass(value)) vote.add(TorchObject(value, zip_, fqn));
    });
    context_.int4_cpu_order = vote.decide(context_.notes);
    std::vector<TorchEntry> out;
    for_each([&](std::string_view fqn, const PickleValue& value) {
      out.push_back(read(fqn, value));
      if (!is_subclass(value)) return;
      if (auto bias = read_intx_opaque_bias(TorchObject(value, zip_, fqn)))
        out.push_back(*std::move(bias));
    });
    return out;
  }

 private:
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (std::size_t i = 0; i + 1 < items_.size(); i += 2)
      visit(items_[i]->text(), unwrapped(*items_[i + 1]));
  }

  void check_names() const {
    std::unordered_set<std::string_view> names;
    for (std::size_t i = 0; i + 1 < items_.size(); i += 2) {
      if (!names.insert(items_[i]->text()).second) {
        fail(zip_.where(), "pickle.type_error",
             fmt::format("holds {} twice", quoted_name(items_[i]->text())));
      }
    }
  }

  // The data of a Parameter: data, requires_grad, hooks.
  static const PickleValue& unwrapped(const PickleValue& value) {
    const bool is_parameter =
        value.is_object(PickleRole::kRebuildParameter) && value.items[0]->items.size() == 3;
    return is_parameter ? *value.items[0]->items[0] : value;
  }

  static bool is_subclass(const PickleValue& value) {
    if (!value.is_object(PickleRole::kRebuildFromType)) return false;
    const auto& arguments = value.items[0]->items;
    return arguments.size() != 4 || !arguments[1]->is_global(PickleRole::kParameter);
  }

  TorchEntry read(std::string_view fqn, const PickleValue& value) {
    if (is_subclass(value)) return read_subclass(TorchObject(value, zip_, fqn));
    if (value.is_object(PickleRole::kRebuildFromType))
      return read_plain(fqn, parameter_call(value));
    return read_plain(fqn, value);
  }

  TorchEntry read_subclass(const TorchObject& object) {
    if (auto entry = read_current_class(object)) return *std::move(entry);
    if (auto entry = read_intx_opaque(object, context_.notes)) {
      entry->stored_class = object.class_name();
      return *std::move(entry);
    }
    if (auto entry = read_legacy_class(object, context_)) {
      entry->stored_class = legacy_class_path(object);
      return *std::move(entry);
    }
    object.fail("pickle.type_error", "is the inside of a weight, not a weight");
  }

  // A Parameter with attributes of its own: the function that makes its data, the class, the
  // function's arguments.
  static PickleValue parameter_call(const PickleValue& value) {
    const auto& arguments = value.items[0]->items;
    PickleValue call;
    if (arguments[0]->is(PickleKind::kGlobal) && arguments[2]->is(PickleKind::kTuple)) {
      call.kind = PickleKind::kObject;
      call.global = arguments[0]->global;
      call.items = {arguments[2]};
    }
    return call;
  }

  TorchEntry read_plain(std::string_view fqn, const PickleValue& value) const {
    const std::string what = fmt::format("{}: tensor {}", zip_.where(), quoted_name(fqn));
    if (!is_torch_tensor(value))
      fail(what, "pickle.type_error",
           "is no tensor; expected a dict of tensors, as state_dict() gives it");
    TorchEntry out;
    out.fqn = fqn;
    const TorchTensor tensor(value, zip_, what);
    out.nbytes = tensor.nbytes();
    out.read = [tensor, fqn = out.fqn] {
      CheckpointEntry entry;
      entry.fqn = fqn;
      entry.plain = tensor.read();
      return entry;
    };
    return out;
  }

  const ZipFile& zip_;
  const std::vector<const PickleValue*>& items_;
  LegacyContext context_;
};

}  // namespace

TorchFile::TorchFile(const std::filesystem::path& path, std::string where)
    : where_(std::move(where)) {
  auto mapping = std::make_shared<const MappedFile>(path);
  check_container(mapping->bytes(), where_);
  const ZipFile zip(std::move(mapping), where_);
  const PickleDocument document = read_pickle(find_pickle(zip), where_);
  TorchNotes notes;
  entries_ = EntryReader(zip, document, notes).run();
  notes_ = notes.lines(where_);
}

}  // namespace torchao_cpp
