// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_file.h"

#include <cstring>

#include "base/memory_pages.h"

namespace torchao_cpp {

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path, std::string where)
    : where_(std::move(where)),
      mapping_(std::make_shared<const MappedFile>(path)),
      header_(parse_safetensors_header(mapping_->bytes(), where_)) {
  by_name_.reserve(header_.entries.size());
  for (const SafetensorsEntry& e : header_.entries) by_name_.emplace(e.name, &e);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

Tensor SafetensorsFile::tensor(const SafetensorsEntry& entry) const {
  const std::byte* const data = mapping_->bytes().data() + entry.begin;
  const auto bytes = static_cast<std::int64_t>(entry.end - entry.begin);
  const std::span<const std::byte> stretch(data, static_cast<std::size_t>(bytes));
  if (!entry.dtype->dtype) return Tensor::borrow(data, DType::kUInt8, {bytes}, borrow_pages(mapping_, stretch));
  const DType dtype = *entry.dtype->dtype;
  // The mapping starts at a page boundary, so the offset alone decides.
  if (entry.begin % static_cast<std::uint64_t>(dtype_size_bytes(dtype)) == 0) {
    return Tensor::borrow(data, dtype, entry.shape, borrow_pages(mapping_, stretch));
  }
  Tensor copy = Tensor::empty(dtype, entry.shape);
  std::memcpy(copy.mutable_bytes(), data, static_cast<std::size_t>(bytes));
  release_file_pages(stretch);
  return copy;
}

}  // namespace torchao_cpp
