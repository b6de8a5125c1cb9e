// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/memory_pages.h"
#include "base/parallel.h"
#include "core/float_runs.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::size_t kAlignment = 64;  // one cache line
// From here on memory comes from the system and goes back to it at once. The heap would keep what
// is freed below something that lives, and a model would hold its weights of before packing.
constexpr std::int64_t kMappedBytes = std::int64_t{1} << 20;

std::shared_ptr<std::byte> allocate(std::int64_t bytes, bool is_sparse) {
  if (bytes >= kMappedBytes) {
    const auto size = static_cast<std::size_t>(bytes);
    std::byte* const pages = map_zeroed(size, !is_sparse);
    if (pages == nullptr) throw std::bad_alloc();
    return {pages, [size](std::byte* p) { unmap(p, size); }};
  }
  // At least one byte, so that a defined tensor always has an address.
  auto* memory = static_cast<std::byte*>(
      ::operator new(static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1)), std::align_val_t{kAlignment}));
  return {memory, [](std::byte* p) { ::operator delete(p, std::align_val_t{kAlignment}); }};
}

// In tiles, so that the lines of both sides are used up while they are in the cache.
template <typename T>
void transpose(const T* from, std::int64_t rows, std::int64_t columns, T* to) noexcept {
  constexpr std::int64_t kTile = 32;
  for (std::int64_t r = 0; r < rows; r += kTile) {
    const std::int64_t row_end = std::min(r + kTile, rows);
    for (std::int64_t c = 0; c < columns; c += kTile) {
      const std::int64_t column_end = std::min(c + kTile, columns);
      for (std::int64_t j = c; j < column_end; ++j) {
        for (std::int64_t i = r; i < row_end; ++i) to[j * rows + i] = from[i * columns + j];
      }
    }
  }
}

// Whether read-only parts follow each other in memory without a gap, as in a mapped file.
bool lie_in_a_row(std::span<const Tensor> parts) noexcept {
  const std::byte* at = parts[0].bytes();
  for (const Tensor& part : parts) {
    if (!part.is_read_only() || part.bytes() != at) return false;
    at += part.nbytes();
  }
  return true;
}

}  // namespace

std::string shape_to_string(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::int64_t shape_numel(std::span<const std::int64_t> shape) {
  std::int64_t numel = 1;
  for (const std::int64_t d : shape) {
    if (d < 0) throw ShapeError(fmt::format("shape {}: dimension {} is negative", shape_to_string(shape), d));
    if (__builtin_mul_overflow(numel, d, &numel)) {
      throw ShapeError(fmt::format("shape {}: the element count overflows 64 bits", shape_to_string(shape)));
    }
  }
  return numel;
}

namespace {

// `is_sparse`: much of it may never be written, as of a KV cache.
Tensor new_tensor(DType dtype, Shape shape, bool is_sparse) {
  const std::int64_t numel = shape_numel(shape);
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(numel, dtype_size_bytes(dtype), &bytes)) {
    throw ShapeError(fmt::format("shape {}: the byte count overflows 64 bits", shape_to_string(shape)));
  }
  auto memory = allocate(bytes, is_sparse);
  std::byte* const data = memory.get();
  return Tensor::borrow_mutable(data, dtype, std::move(shape), std::move(memory));
}

}  // namespace

Tensor Tensor::empty(DType dtype, Shape shape) {
  return new_tensor(dtype, std::move(shape), false);
}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  Tensor t = new_tensor(dtype, std::move(shape), true);
  if (t.nbytes() < kMappedBytes) std::memset(t.data_, 0, static_cast<std::size_t>(t.nbytes()));
  return t;
}

Tensor Tensor::borrow_mutable(void* data, DType dtype, Shape shape, std::shared_ptr<const void> owner, Device device) {
  Tensor t;
  t.device_ = device;
  t.dtype_ = dtype;
  t.numel_ = shape_numel(shape);
  t.shape_ = std::move(shape);
  t.data_ = static_cast<std::byte*>(data);
  t.owner_ = std::move(owner);
  return t;
}

Tensor Tensor::borrow(const void* data, DType dtype, Shape shape, std::shared_ptr<const void> owner) {
  Tensor t = borrow_mutable(const_cast<void*>(data), dtype, std::move(shape), std::move(owner));
  t.read_only_ = true;
  return t;
}

std::int64_t Tensor::size(std::int64_t d) const {
  const std::int64_t index = d < 0 ? d + dim() : d;
  if (index < 0 || index >= dim()) {
    throw ShapeError(fmt::format("dimension {} of a tensor of shape {}", d, shape_to_string(shape_)));
  }
  return shape_[static_cast<std::size_t>(index)];
}

std::byte* Tensor::mutable_bytes() {
  if (read_only_) throw Error("this tensor borrows a read-only file; clone() it to change it");
  return data_;
}

void Tensor::check_copy(std::size_t element_size, std::size_t count) const {
  if (static_cast<std::int64_t>(element_size) != dtype_size_bytes(dtype_) ||
      static_cast<std::int64_t>(count) != numel_) {
    throw ShapeError(fmt::format("{} values of {} bytes for a {} tensor of shape {}", count, element_size,
                                 dtype_name(dtype_), shape_to_string(shape_)));
  }
}

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor t = empty(dtype_, shape_);
  std::memcpy(t.data_, data_, static_cast<std::size_t>(nbytes()));
  return t;
}

Tensor Tensor::reshape(Shape shape) const {
  if (shape_numel(shape) != numel_) {
    throw ShapeError(fmt::format("cannot view shape {} as {}", shape_to_string(shape_), shape_to_string(shape)));
  }
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

Tensor Tensor::view_as(DType dtype) const {
  if (dtype_size_bytes(dtype) != dtype_size_bytes(dtype_)) {
    throw ShapeError(fmt::format("cannot view {} as {}: element sizes differ", dtype_name(dtype_), dtype_name(dtype)));
  }
  Tensor t = *this;
  t.dtype_ = dtype;
  return t;
}

Tensor Tensor::narrow(std::int64_t d, std::int64_t start, std::int64_t length) const {
  const std::int64_t extent = size(d);
  if (d < 0) d += dim();
  if (start < 0 || length < 0 || start > extent - length) {
    throw ShapeError(fmt::format("narrow(dim {}, start {}, length {}) of shape {}", d, start, length,
                                 shape_to_string(shape_)));
  }
  Shape shape = shape_;
  shape[static_cast<std::size_t>(d)] = length;
  std::int64_t inner = dtype_size_bytes(dtype_);
  for (std::int64_t i = d + 1; i < dim(); ++i) inner *= shape_[static_cast<std::size_t>(i)];
  if (d == 0) {
    Tensor t = *this;
    t.shape_ = std::move(shape);
    t.numel_ = shape_numel(t.shape_);
    t.data_ += start * inner;
    return t;
  }
  Tensor t = empty(dtype_, shape);
  std::int64_t outer = 1;
  for (std::int64_t i = 0; i < d; ++i) outer *= shape_[static_cast<std::size_t>(i)];
  for (std::int64_t o = 0; o < outer; ++o) {
    std::memcpy(t.data_ + o * length * inner, data_ + (o * extent + start) * inner,
                static_cast<std::size_t>(length * inner));
  }
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  if (!is_high_precision(dtype_) || !is_high_precision(dtype)) {
    throw UnsupportedError(fmt::format("conversion of a {} tensor to {}", dtype_name(dtype_), dtype_name(dtype)));
  }
  Tensor t = empty(dtype, shape_);
  parallel_for((numel_ + kFloatRun - 1) / kFloatRun, 64, [&](std::int64_t first, std::int64_t last) {
    float values[kFloatRun];
    for (std::int64_t begin = first * kFloatRun; begin < std::min(last * kFloatRun, numel_); begin += kFloatRun) {
      const std::int64_t count = std::min(kFloatRun, numel_ - begin);
      load_floats(dtype_, data_, begin, count, values);
      store_floats(dtype, t.data_, begin, count, values);
    }
  });
  return t;
}

Tensor Tensor::transposed() const {
  if (dim() != 2) throw ShapeError(fmt::format("transpose of shape {}; expected 2 dimensions", shape_to_string(shape_)));
  const std::int64_t rows = shape_[0];
  const std::int64_t columns = shape_[1];
  Tensor t = empty(dtype_, {columns, rows});
  switch (dtype_size_bytes(dtype_)) {
    case 1:
      transpose(reinterpret_cast<const std::uint8_t*>(data_), rows, columns,
                reinterpret_cast<std::uint8_t*>(t.data_));
      break;
    case 2:
      transpose(reinterpret_cast<const std::uint16_t*>(data_), rows, columns,
                reinterpret_cast<std::uint16_t*>(t.data_));
      break;
    case 4:
      transpose(reinterpret_cast<const std::uint32_t*>(data_), rows, columns,
                reinterpret_cast<std::uint32_t*>(t.data_));
      break;
    default:
      transpose(reinterpret_cast<const std::uint64_t*>(data_), rows, columns,
                reinterpret_cast<std::uint64_t*>(t.data_));
  }
  return t;
}

Tensor concat_rows(std::span<const Tensor> parts) {
  if (parts.empty()) throw ShapeError("concatenation of no tensors");
  Shape shape = parts[0].shape();
  if (shape.empty()) throw ShapeError("concatenation of scalars");
  shape[0] = 0;
  for (const Tensor& part : parts) {
    if (part.dtype() != parts[0].dtype() || part.dim() != parts[0].dim() ||
        !std::equal(part.shape().begin() + 1, part.shape().end(), parts[0].shape().begin() + 1)) {
      throw ShapeError(fmt::format("concatenation of {} {} and {} {}", dtype_name(parts[0].dtype()),
                                   shape_to_string(parts[0].shape()), dtype_name(part.dtype()),
                                   shape_to_string(part.shape())));
    }
    shape[0] += part.shape()[0];
  }
  if (lie_in_a_row(parts)) {
    auto owner = std::make_shared<const std::vector<Tensor>>(parts.begin(), parts.end());
    return Tensor::borrow(parts[0].bytes(), parts[0].dtype(), std::move(shape), std::move(owner));
  }
  Tensor result = Tensor::empty(parts[0].dtype(), std::move(shape));
  std::byte* out = result.mutable_bytes();
  for (const Tensor& part : parts) {
    parallel_for(part.nbytes(), std::int64_t{1} << 20, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(out + begin, part.bytes() + begin, static_cast<std::size_t>(end - begin));
    });
    out += part.nbytes();
  }
  return result;
}

bool equal_bytes(const Tensor& a, const Tensor& b) noexcept {
  if (a.defined() != b.defined()) return false;
  if (!a.defined()) return true;
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.bytes(), b.bytes(), static_cast<std::size_t>(a.nbytes())) == 0;
}

}  // namespace torchao_cpp
