// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "torchao_cpp/device.h"
#include "torchao_cpp/dtype.h"
#include "torchao_cpp/export.h"

namespace torchao_cpp {

using Shape = std::vector<std::int64_t>;

/// "[N, K]" for messages.
TORCHAO_CPP_EXPORT std::string shape_to_string(std::span<const std::int64_t> shape);

/// Product of the dimensions; throws ShapeError on a negative dimension or 64-bit overflow.
TORCHAO_CPP_EXPORT std::int64_t shape_numel(std::span<const std::int64_t> shape);

/// A contiguous row-major array of one dtype.
///
/// Copies share the storage (as torch tensors do); clone() does not. Storage may be owned memory (64-byte aligned)
/// or borrowed from an owner that is kept alive, such as a read-only mapped file. data() is aligned to the element
/// size in every case. A default-constructed Tensor is undefined and holds nothing.
class TORCHAO_CPP_EXPORT Tensor {
 public:
  Tensor() = default;

  /// New storage with indeterminate contents. Throws ShapeError on a bad shape.
  static Tensor empty(DType dtype, Shape shape);
  /// New storage filled with zero bytes.
  static Tensor zeros(DType dtype, Shape shape);
  /// Borrows `data`, kept alive by `owner`. `data` must be aligned to the element size. Read-only unless said otherwise.
  static Tensor borrow(const void* data, DType dtype, Shape shape, std::shared_ptr<const void> owner);
  /// `device`: where `data` lies. Of a tensor that is not on the CPU no function may be called that reads or writes elements.
  static Tensor borrow_mutable(void* data, DType dtype, Shape shape, std::shared_ptr<const void> owner, Device device = {});

  /// New tensor holding a copy of `values`; sizeof(T) must equal the element size.
  template <typename T>
  static Tensor from_values(DType dtype, Shape shape, std::span<const T> values) {
    Tensor t = empty(dtype, std::move(shape));
    t.check_copy(sizeof(T), values.size());
    std::copy(values.begin(), values.end(), t.template mutable_data<T>());
    return t;
  }

  bool defined() const noexcept { return data_ != nullptr; }
  DType dtype() const noexcept { return dtype_; }
  Device device() const noexcept { return device_; }
  const Shape& shape() const noexcept { return shape_; }
  std::int64_t dim() const noexcept { return static_cast<std::int64_t>(shape_.size()); }
  /// Negative dims count from the end. Throws ShapeError when out of range.
  std::int64_t size(std::int64_t d) const;
  std::int64_t numel() const noexcept { return numel_; }
  std::int64_t nbytes() const noexcept { return numel_ * dtype_size_bytes(dtype_); }
  bool is_read_only() const noexcept { return read_only_; }

  const std::byte* bytes() const noexcept { return data_; }
  /// Throws Error for a read-only tensor.
  std::byte* mutable_bytes();

  template <typename T>
  const T* data() const noexcept {
    return reinterpret_cast<const T*>(data_);
  }
  template <typename T>
  T* mutable_data() {
    return reinterpret_cast<T*>(mutable_bytes());
  }
  template <typename T>
  std::span<const T> span() const noexcept {
    return {data<T>(), static_cast<std::size_t>(numel_)};
  }
  template <typename T>
  std::span<T> mutable_span() {
    return {mutable_data<T>(), static_cast<std::size_t>(numel_)};
  }

  /// A copy with storage of its own.
  Tensor clone() const;
  /// Same storage, other shape. Throws ShapeError when the element counts differ.
  Tensor reshape(Shape shape) const;
  /// Same storage under a dtype of the same element size (e.g. uint8 as float8_e4m3fn). Throws ShapeError otherwise.
  Tensor view_as(DType dtype) const;
  /// Elements start:start+length of dimension `d`. Shares storage for d == 0, copies otherwise.
  /// Throws ShapeError when out of range.
  Tensor narrow(std::int64_t d, std::int64_t start, std::int64_t length) const;
  /// Converts between float32, float16 and bfloat16 (round to nearest even); the same tensor when nothing changes.
  /// Throws UnsupportedError for other dtypes.
  Tensor to(DType dtype) const;
  /// 2-D transpose into new storage.
  Tensor transposed() const;

 private:
  void check_copy(std::size_t element_size, std::size_t count) const;

  DType dtype_ = DType::kFloat32;
  bool read_only_ = false;
  Device device_;
  Shape shape_;
  std::int64_t numel_ = 0;
  std::byte* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

/// Joins along dimension 0; dtypes and other dimensions must agree. Throws ShapeError.
TORCHAO_CPP_EXPORT Tensor concat_rows(std::span<const Tensor> parts);

/// True when dtype, shape and every byte agree.
TORCHAO_CPP_EXPORT bool equal_bytes(const Tensor& a, const Tensor& b) noexcept;

}  // namespace torchao_cpp
