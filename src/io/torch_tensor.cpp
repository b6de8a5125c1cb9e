// SPDX-License-Identifier: Apache-2.0
#include "io/torch_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::size_t kMaxRank = 64;           // torch's own limit
constexpr std::size_t kMaxStorageDigits = 20;  // more than any count of storages

[[noreturn]] void fail(std::string_view what, std::string_view kind, std::string_view message) {
  throw CheckpointError(fmt::format("{}: {}", what, message), std::string(kind));
}

bool is_storage_key(std::string_view key) noexcept {
  return !key.empty() && key.size() <= kMaxStorageDigits &&
         std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Codes below a byte have no storage of their own in torch.
bool has_storage_form(DType dtype) noexcept {
  const std::string_view name = dtype_name(dtype);
  return dtype == DType::kInt8 || dtype == DType::kUInt8 || dtype_size_bytes(dtype) > 1 ||
         name.starts_with("float");
}

struct Storage {
  std::span<const std::byte> bytes;
  const PickleGlobal* type;
};

Storage find_storage(const PickleValue& value, const ZipFile& zip, std::string_view what) {
  const PickleGlobal* type = value.items[1]->global;
  const std::string_view key = value.items[2]->text();
  const std::int64_t numel = value.items[4]->integer();
  const ZipEntry* entry = is_storage_key(key) ? zip.find(fmt::format("data/{}", key)) : nullptr;
  if (entry == nullptr)
    fail(what, "bin.missing_storage",
         fmt::format("its storage {} is not in the file", quoted_name(key)));
  const std::uint64_t item = type->role == PickleRole::kStorage
                                 ? static_cast<std::uint64_t>(dtype_size_bytes(type->dtype))
                                 : 1;
  if (numel < 0 || entry->size % item != 0 ||
      static_cast<std::uint64_t>(numel) != entry->size / item) {
    fail(what, "bin.storage_size",
         fmt::format("its storage {} is to have {} elements of {} bytes, but has {} bytes",
                     quoted_name(key), numel, item, entry->size));
  }
  return {zip.bytes(*entry), type};
}

// The highest element index that the view reaches, or -1 for an empty view; nullopt where that
// exceeds 64 bits.
std::optional<std::int64_t> last_element(std::int64_t offset, const Shape& shape,
                                         const std::vector<std::int64_t>& stride) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return offset - 1;
  std::int64_t last = offset;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(shape[d] - 1, stride[d], &reach) ||
        __builtin_add_overflow(last, reach, &last))
      return std::nullopt;
  }
  return last;
}

std::optional<std::int64_t> count_elements(const Shape& shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(count, size, &count)) return std::nullopt;
  }
  return count;
}

bool has_negative(const std::vector<std::int64_t>& values) {
  return std::any_of(values.begin(), values.end(), [](std::int64_t v) { return v < 0; });
}

// storage, offset, size, stride, requires_grad, hooks, dtype in v3 alone, and metadata that must
// say nothing.
void check_call(const PickleValue& call, std::string_view what) {
  const auto& a = call.items[0]->items;
  const bool is_v3 = call.is_object(PickleRole::kRebuildTensorV3);
  const std::size_t count = is_v3 ? 7 : 6;
  bool is_good =
      (a.size() == count || a.size() == count + 1) && a[0]->is(PickleKind::kStorage) &&
      a[1]->is(PickleKind::kInt) && a[4]->is(PickleKind::kBool) &&
      (a[5]->is(PickleKind::kNone) || (a[5]->is(PickleKind::kDict) && a[5]->items.empty()));
  if (is_good && is_v3)
    is_good = a[6]->is_global(PickleRole::kDType) && has_storage_form(a[6]->global->dtype);
  // Conjugate and negative bits would change the values.
  if (is_good && a.size() > count)
    is_good = a.back()->is(PickleKind::kNone) ||
              (a.back()->is(PickleKind::kDict) && a.back()->items.empty());
  if (is_good)
    is_good = a[0]->items[1]->is_global(is_v3 ? PickleRole::kUntypedStorage : PickleRole::kStorage);
  if (!is_good)
    fail(what, "pickle.type_error",
         fmt::format("the arguments of '{}' are not those of a tensor", call.global->name));
}

}  // namespace

std::vector<std::int64_t> pickled_integers(const PickleValue& value, std::string_view what) {
  const bool is_sequence = value.is(PickleKind::kTuple) || value.is(PickleKind::kList);
  if (!is_sequence || value.items.size() > kMaxRank ||
      !std::all_of(value.items.begin(), value.items.end(),
                   [](const PickleValue* v) { return v->is(PickleKind::kInt); })) {
    fail(what, "pickle.type_error", "a shape, stride or block size is no sequence of integers");
  }
  std::vector<std::int64_t> out;
  for (const PickleValue* item : value.items) out.push_back(item->integer());
  return out;
}

TorchTensor::TorchTensor(const PickleValue& call, const ZipFile& zip, std::string_view what)
    : mapping_(zip.mapping()) {
  check_call(call, what);
  const auto& arguments = call.items[0]->items;
  const Storage storage = find_storage(*arguments[0], zip, what);
  const std::int64_t offset = arguments[1]->integer();
  shape_ = pickled_integers(*arguments[2], what);
  stride_ = pickled_integers(*arguments[3], what);
  dtype_ = call.is_object(PickleRole::kRebuildTensorV3) ? arguments[6]->global->dtype
                                                        : storage.type->dtype;
  const std::int64_t item = dtype_size_bytes(dtype_);
  const std::int64_t elements = static_cast<std::int64_t>(storage.bytes.size()) / item;
  const std::string view = fmt::format("a view of offset {}, size {} and stride {}", offset,
                                       shape_to_string(shape_), shape_to_string(stride_));
  if (offset < 0 || has_negative(shape_) || has_negative(stride_) ||
      shape_.size() != stride_.size()) {
    fail(what, "bin.view_out_of_range", fmt::format("{} is no view", view));
  }
  const auto last = last_element(offset, shape_, stride_);
  if (!last || *last >= elements)
    fail(what, "bin.view_out_of_range",
         fmt::format("{} leaves its storage of {} elements", view, elements));
  const auto count = count_elements(shape_);
  if (!count || *count > elements) {
    fail(what, "bin.limit_exceeded",
         fmt::format("{} has more elements than its storage of {}", view, elements));
  }
  numel_ = *count;
  data_ = storage.bytes.data() + offset * item;
  // Never taken, and of any size.
  for (std::size_t d = 0; d < shape_.size(); ++d) stride_[d] = shape_[d] == 1 ? 0 : stride_[d];
}

bool TorchTensor::is_contiguous() const noexcept {
  std::int64_t expected = 1;
  for (std::size_t d = shape_.size(); d-- > 0;) {
    if (shape_[d] != 1 && stride_[d] != expected) return false;
    expected *= shape_[d];
  }
  return true;
}

Tensor TorchTensor::read() const {
  const auto item = static_cast<std::uint64_t>(dtype_size_bytes(dtype_));
  const bool is_packed = numel_ == 0 || is_contiguous();
  // The mapping starts at a page boundary.
  const auto offset = static_cast<std::uint64_t>(data_ - mapping_->bytes().data());
  if (is_packed && offset % item == 0) {
    const std::span<const std::byte> stretch(data_, static_cast<std::size_t>(nbytes()));
    return Tensor::borrow(data_, dtype_, shape_, borrow_pages(mapping_, stretch));
  }
  Tensor copy = Tensor::empty(dtype_, shape_);
  if (is_packed) {
    if (numel_ > 0) std::memcpy(copy.mutable_bytes(), data_, static_cast<std::size_t>(nbytes()));
  } else {
    copy_strided(copy.mutable_bytes());
  }
  return copy;
}

// An odometer over all dimensions but the last; numel_ > 0.
void TorchTensor::copy_strided(std::byte* out) const {
  const std::int64_t item = dtype_size_bytes(dtype_);
  const std::int64_t columns = shape_.empty() ? 1 : shape_.back();
  const std::int64_t step = shape_.empty() ? 0 : stride_.back() * item;
  std::vector<std::int64_t> index(shape_.size(), 0);
  std::int64_t row = 0;  // a number, for it may leave the storage between two rows
  for (std::int64_t left = numel_; left > 0; left -= columns) {
    for (std::int64_t c = 0; c < columns; ++c, out += item)
      std::memcpy(out, data_ + row + c * step, static_cast<std::size_t>(item));
    for (std::size_t d = shape_.size() - 1; d-- > 0;) {
      row += stride_[d] * item;
      if (++index[d] < shape_[d]) break;
      row -= shape_[d] * stride_[d] * item;
      index[d] = 0;
    }
  }
}

}  // namespace torchao_cpp
