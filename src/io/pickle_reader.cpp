// SPDX-License-Identifier: Apache-2.0
#include "io/pickle_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "io/legacy_classes.h"
#include "io/pickle_bytes.h"
#include "io/quoted_name.h"
#include "io/utf8.h"

namespace torchao_cpp {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{256} << 20;
constexpr std::size_t kMaxValues = std::size_t{16} << 20;
constexpr std::uint32_t kMaxMemoIndex = 16u << 20;
constexpr std::size_t kMaxStack = std::size_t{1} << 20;
constexpr std::size_t kMaxMarks = 256;
constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxRank = 64;  // torch's own limit

class Unpickler {
 public:
  Unpickler(std::span<const std::byte> bytes, std::string_view where) : bytes_(bytes, where) {}

  PickleDocument run() {
    if (bytes_.size() > kMaxBytes)
      fail("pickle.limit_exceeded",
           fmt::format("has {} bytes; at most {} are read", bytes_.size(), kMaxBytes));
    const auto proto = bytes_.number<std::uint8_t>();
    if (proto != kOpProto)
      fail("pickle.unsupported_protocol", "does not begin with a protocol; expected protocol 2");
    const auto protocol = bytes_.number<std::uint8_t>();
    if (protocol != 2)
      fail("pickle.unsupported_protocol",
           fmt::format("has protocol {}; torch.save writes 2", protocol));
    none_ = &make(PickleKind::kNone);
    true_ = &make(PickleKind::kBool);
    true_->bits = 1;
    false_ = &make(PickleKind::kBool);
    for (;;) {
      const auto op = bytes_.number<std::uint8_t>();
      if (op == kOpStop) return finish();
      if (!run_constant(op) && !run_memo(op) && !run_container(op) && !run_object(op)) {
        fail("pickle.forbidden_opcode",
             fmt::format("has the opcode 0x{:02x}, which no torch.save file has", op));
      }
    }
  }

 private:
  bool run_constant(std::uint8_t op) {
    switch (op) {
      case kOpNone:
        push(*none_);
        return true;
      case kOpNewTrue:
        push(*true_);
        return true;
      case kOpNewFalse:
        push(*false_);
        return true;
      case kOpBinInt:
        push_integer(bytes_.number<std::int32_t>());
        return true;
      case kOpBinInt1:
        push_integer(bytes_.number<std::uint8_t>());
        return true;
      case kOpBinInt2:
        push_integer(bytes_.number<std::uint16_t>());
        return true;
      case kOpLong1:
        push_long();
        return true;
      case kOpBinFloat:
        push_float();
        return true;
      case kOpBinUnicode:
        push_string(bytes_.number<std::uint32_t>());
        return true;
      case kOpShortBinString:
        push_string(bytes_.number<std::uint8_t>());
        return true;
      case kOpGlobal:
        push_global();
        return true;
      default:
        return false;
    }
  }

  bool run_memo(std::uint8_t op) {
    switch (op) {
      case kOpBinPut:
        put(bytes_.number<std::uint8_t>());
        return true;
      case kOpLongBinPut:
        put(bytes_.number<std::uint32_t>());
        return true;
      case kOpBinGet:
        get(bytes_.number<std::uint8_t>());
        return true;
      case kOpLongBinGet:
        get(bytes_.number<std::uint32_t>());
        return true;
      default:
        return false;
    }
  }

  bool run_container(std::uint8_t op) {
    switch (op) {
      case kOpMark:
        if (marks_.size() >= kMaxMarks)
          fail("pickle.limit_exceeded", fmt::format("has more than {} open marks", kMaxMarks));
        marks_.push_back(stack_.size());
        return true;
      case kOpEmptyTuple:
        push_tuple(0);
        return true;
      case kOpTuple1:
        push_tuple(1);
        return true;
      case kOpTuple2:
        push_tuple(2);
        return true;
      case kOpTuple3:
        push_tuple(3);
        return true;
      case kOpTuple:
        push_tuple(close_mark());
        return true;
      case kOpEmptyList:
        push(make_container(PickleKind::kList));
        return true;
      case kOpEmptyDict:
        push(make_container(PickleKind::kDict));
        return true;
      case kOpAppend:
        append(1);
        return true;
      case kOpAppends:
        append(close_mark());
        return true;
      case kOpSetItem:
        set_items(2);
        return true;
      case kOpSetItems:
        set_items(close_mark());
        return true;
      default:
        return false;
    }
  }

  bool run_object(std::uint8_t op) {
    switch (op) {
      case kOpReduce:
        reduce();
        return true;
      case kOpNewObj:
        new_object();
        return true;
      case kOpBuild:
        build();
        return true;
      case kOpBinPersId:
        persistent_id();
        return true;
      default:
        return false;
    }
  }

  PickleDocument finish() {
    if (stack_.empty()) fail("pickle.malformed", "ends without a value");
    document_.root = stack_.back();
    if (!document_.root->is(PickleKind::kDict))
      fail("pickle.type_error", "does not hold a dict of tensors");
    if (stack_.size() != 1 || !marks_.empty() || !bytes_.at_end())
      fail("pickle.malformed", "holds more than one value");
    return std::move(document_);
  }

  // Values.

  PickleValue& make(PickleKind kind) {
    if (document_.values.size() >= kMaxValues)
      fail("pickle.limit_exceeded", fmt::format("has more than {} values", kMaxValues));
    PickleValue& value = document_.values.emplace_back();
    value.kind = kind;
    return value;
  }

  PickleValue& make_container(PickleKind kind) {
    PickleValue& value = make(kind);
    value.depth = 1;
    return value;
  }

  void push(PickleValue& value) {
    if (stack_.size() >= kMaxStack)
      fail("pickle.limit_exceeded", fmt::format("has more than {} values on its stack", kMaxStack));
    stack_.push_back(&value);
  }

  PickleValue& pop() {
    need(1);
    PickleValue& value = *stack_.back();
    stack_.pop_back();
    return value;
  }

  // Values below the last open mark are out of reach.
  void need(std::size_t count) const {
    const std::size_t floor = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() - floor < count) fail("pickle.malformed", "takes values from an empty stack");
  }

  std::size_t close_mark() {
    if (marks_.empty()) fail("pickle.malformed", "closes a mark that is not open");
    const std::size_t count = stack_.size() - marks_.back();
    marks_.pop_back();
    return count;
  }

  void hold(PickleValue& container, const PickleValue& item) {
    if (&container == &item) fail("pickle.type_error", "has a container that contains itself");
    const int depth = std::max<int>(container.depth, item.depth + 1);
    if (depth > kMaxDepth)
      fail("pickle.limit_exceeded", fmt::format("is nested deeper than {} levels", kMaxDepth));
    container.depth = static_cast<std::uint8_t>(depth);
    container.items.push_back(&item);
  }

  void push_integer(std::int64_t number) {
    PickleValue& value = make(PickleKind::kInt);
    value.bits = number;
    push(value);
  }

  void push_long() {
    const auto size = bytes_.number<std::uint8_t>();
    const std::span<const std::byte> bytes = bytes_.take(size);
    if (size > sizeof(std::int64_t))
      fail("pickle.type_error",
           fmt::format("has an integer of {} bytes; at most 8 are read", size));
    std::uint64_t number =
        size > 0 && (bytes.back() & std::byte{0x80}) != std::byte{0} ? ~std::uint64_t{0} : 0;
    for (std::size_t i = size; i-- > 0;)
      number = number << 8 | static_cast<std::uint64_t>(bytes[i]);
    push_integer(static_cast<std::int64_t>(number));
  }

  void push_float() {
    std::uint64_t bits = 0;  // big endian, the only such number in a pickle
    for (const std::byte b : bytes_.take(sizeof bits))
      bits = bits << 8 | static_cast<std::uint64_t>(b);
    PickleValue& value = make(PickleKind::kFloat);
    value.bits = static_cast<std::int64_t>(bits);
    push(value);
  }

  void push_string(std::size_t size) {
    const std::span<const std::byte> bytes = bytes_.take(size);
    PickleValue& value = make(PickleKind::kString);
    value.characters = reinterpret_cast<const char*>(bytes.data());
    value.bits = static_cast<std::int64_t>(bytes.size());
    if (!is_utf8(value.text())) fail("pickle.malformed", "has a string that is no UTF-8");
    push(value);
  }

  void push_global() {
    const std::string_view module = bytes_.line();
    const std::string_view name = bytes_.line();
    const PickleGlobal* global = find_pickle_global(module, name);
    if (global == nullptr) {
      const std::string full_name = quoted_name(fmt::format("{}.{}", module, name));
      if (const RefusedClass* refused = find_refused_class(module, name)) {
        fail(refused->error_kind,
             fmt::format("holds weights of {}, whose packing belongs to {} and is not read; "
                         "quantize the unquantized model again with {}",
                         full_name, refused->owner, refused->config));
      }
      if (const std::string_view reason = unsupported_legacy_class(module, name); !reason.empty()) {
        fail("bin.unsupported_legacy_layout",
             fmt::format("holds weights of {}, which are not read: {}", full_name, reason));
      }
      fail("pickle.forbidden_global",
           fmt::format(
               "names {}, which is not among the classes and functions that a checkpoint may name",
               full_name));
    }
    PickleValue& value = make(PickleKind::kGlobal);
    value.global = global;
    push(value);
  }

  void push_tuple(std::size_t count) {
    need(count);
    PickleValue& tuple = make_container(PickleKind::kTuple);
    for (std::size_t i = stack_.size() - count; i < stack_.size(); ++i) hold(tuple, *stack_[i]);
    stack_.resize(stack_.size() - count);
    push(tuple);
  }

  void append(std::size_t count) {
    need(count + 1);
    PickleValue& list = *stack_[stack_.size() - count - 1];
    if (!list.is(PickleKind::kList)) fail("pickle.type_error", "appends to what is no list");
    for (std::size_t i = stack_.size() - count; i < stack_.size(); ++i) hold(list, *stack_[i]);
    stack_.resize(stack_.size() - count);
  }

  void set_items(std::size_t count) {
    need(count + 1);
    PickleValue& dict = *stack_[stack_.size() - count - 1];
    if (!dict.is(PickleKind::kDict)) fail("pickle.type_error", "sets an item of what is no dict");
    if (count % 2 != 0) fail("pickle.malformed", "has a dict with a key without a value");
    for (std::size_t i = stack_.size() - count; i < stack_.size(); ++i) {
      const bool is_key = (stack_.size() - i) % 2 == 0;
      if (is_key && !stack_[i]->is(PickleKind::kString))
        fail("pickle.type_error", "has a dict with a key that is no string");
      hold(dict, *stack_[i]);
    }
    stack_.resize(stack_.size() - count);
  }

  // The memo.

  void put(std::uint32_t index) {
    if (index > kMaxMemoIndex)
      fail("pickle.limit_exceeded",
           fmt::format("has the memo index {}; at most {} is read", index, kMaxMemoIndex));
    need(1);
    memo_[index] = stack_.back();
  }

  void get(std::uint32_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end())
      fail("pickle.malformed",
           fmt::format("refers to the memo entry {}, which does not exist", index));
    push(*found->second);
  }

  // Objects: data about what Python would do.

  void reduce() {
    const PickleValue& arguments = pop();
    const PickleValue& callable = pop();
    if (!arguments.is(PickleKind::kTuple) || !callable.is(PickleKind::kGlobal))
      fail("pickle.type_error", "calls what is no function");
    push(reduced(*callable.global, arguments));
  }

  PickleValue& reduced(const PickleGlobal& global, const PickleValue& arguments) {
    const auto& items = arguments.items;
    switch (global.role) {
      case PickleRole::kOrderedDict: {
        if (!items.empty()) break;
        PickleValue& dict = make_container(PickleKind::kDict);
        dict.global = &global;
        return dict;
      }
      case PickleRole::kSize: {
        if (items.size() != 1 ||
            !(items[0]->is(PickleKind::kTuple) || items[0]->is(PickleKind::kList)) ||
            items[0]->items.size() > kMaxRank) {
          break;
        }
        PickleValue& tuple = make_container(PickleKind::kTuple);
        for (const PickleValue* item : items[0]->items) hold(tuple, *item);
        return tuple;
      }
      case PickleRole::kEnum:
        if (items.size() != 1 ||
            !(items[0]->is(PickleKind::kInt) || items[0]->is(PickleKind::kString)))
          break;
        return make_object(global, arguments);
      case PickleRole::kDevice:
      case PickleRole::kGetLayout:
        if (items.empty() || items.size() > 2 || !items[0]->is(PickleKind::kString)) break;
        return make_object(global, arguments);
      case PickleRole::kRebuildTensorV2:
      case PickleRole::kRebuildTensorV3:
      case PickleRole::kRebuildParameter:
      case PickleRole::kRebuildFromType:
        return make_object(global, arguments);
      default:
        break;
    }
    fail("pickle.type_error", fmt::format("calls '{}.{}' in a way that no torch.save file does",
                                          global.module, global.name));
  }

  PickleValue& make_object(const PickleGlobal& global, const PickleValue& arguments) {
    PickleValue& object = make_container(PickleKind::kObject);
    object.global = &global;
    hold(object, arguments);
    return object;
  }

  void new_object() {
    const PickleValue& arguments = pop();
    const PickleValue& type = pop();
    const auto is_bool = [](const PickleValue* v) { return v->is(PickleKind::kBool); };
    const auto& items = arguments.items;
    const bool is_good = arguments.is(PickleKind::kTuple) &&
                         ((type.is_global(PickleRole::kDataclass) && items.empty()) ||
                          (type.is_global(PickleRole::kNamedTuple) && items.size() == 3 &&
                           std::all_of(items.begin(), items.end(), is_bool)));
    if (!is_good) fail("pickle.type_error", "makes an object of what is no attribute class");
    push(make_object(*type.global, arguments));
  }

  void build() {
    const PickleValue& state = pop();
    need(1);
    PickleValue& object = *stack_.back();
    if (!state.is(PickleKind::kDict))
      fail("pickle.type_error", "builds an object from what is no dict");
    if (object.is_object(PickleRole::kDataclass) && !object.is_built) {
      hold(object, state);
      object.is_built = true;
      return;
    }
    // state_dict() hangs the versions of its modules on the root.
    const bool is_root = stack_.size() == 1 && marks_.empty() && object.is(PickleKind::kDict) &&
                         object.has_role(PickleRole::kOrderedDict);
    if (is_root && state.items.size() == 2 && state.items[0]->text() == "_metadata") return;
    fail("pickle.type_error", "builds what is no attribute object");
  }

  void persistent_id() {
    const PickleValue& id = pop();
    const auto& i = id.items;
    const bool is_good =
        id.is(PickleKind::kTuple) && i.size() == 5 && i[0]->is(PickleKind::kString) &&
        i[0]->text() == "storage" &&
        (i[1]->is_global(PickleRole::kStorage) || i[1]->is_global(PickleRole::kUntypedStorage)) &&
        i[2]->is(PickleKind::kString) && i[3]->is(PickleKind::kString) &&
        i[4]->is(PickleKind::kInt);
    if (!is_good) fail("pickle.type_error", "has a persistent id that is no storage");
    PickleValue& storage = make_container(PickleKind::kStorage);
    for (const PickleValue* item : i) hold(storage, *item);
    push(storage);
  }

  [[noreturn]] void fail(std::string_view kind, std::string_view message) const {
    bytes_.fail(kind, message);
  }

  PickleBytes bytes_;
  PickleDocument document_;
  std::vector<PickleValue*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, PickleValue*> memo_;
  PickleValue* none_ = nullptr;
  PickleValue* true_ = nullptr;
  PickleValue* false_ = nullptr;
};

}  // namespace

PickleDocument read_pickle(std::span<const std::byte> bytes, std::string_view where) {
  return Unpickler(bytes, where).run();
}

}  // namespace torchao_cpp
