// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "torchao_cpp/error.h"

/// The op torchao_cpp::linear on the CPU without Python: a call from torch's dispatcher costs 1 us
/// instead of 4. It speaks torch's stable C interface, whose entries are looked up in the libtorch
/// of the process, so that this module needs no torch to be built or loaded.
namespace torchao_cpp::python {
namespace {

// Names and types of torch/csrc/inductor/aoti_torch/c/shim.h; a call returns 0 unless it went
// wrong.
using TensorHandle = struct OpaqueTensor*;
using LibraryHandle = struct OpaqueLibrary*;
using StackValue = std::uint64_t;  ///< A TensorHandle, an int64, or where an optional's value is.
using BoxedKernel = void (*)(StackValue* stack, std::uint64_t arguments, std::uint64_t results);

struct TorchEntries {
  int (*library_init_impl)(const char* name, const char* key, const char* file, std::uint32_t line,
                           LibraryHandle* out);
  int (*library_impl)(LibraryHandle library, const char* name, BoxedKernel kernel);
  int (*delete_tensor)(TensorHandle tensor);
  int (*get_data_ptr)(TensorHandle tensor, void** out);
  int (*get_dim)(TensorHandle tensor, std::int64_t* out);
  int (*get_sizes)(TensorHandle tensor, std::int64_t** out);
  int (*get_dtype)(TensorHandle tensor, std::int32_t* out);
  int (*is_contiguous)(TensorHandle tensor, bool* out);
  int (*empty_strided)(std::int64_t ndim, const std::int64_t* sizes, const std::int64_t* strides,
                       std::int32_t dtype, std::int32_t device_type, std::int32_t device_index,
                       TensorHandle* out);
  int (*copy)(TensorHandle self, TensorHandle src, std::int32_t non_blocking);
  void (*delete_value)(StackValue* value);  ///< Null where torch has no such entry.
};
TorchEntries g_torch;

template <typename Function>
bool find(void* library, const char* name, Function& out) {
  out = reinterpret_cast<Function>(dlsym(library, name));
  return out != nullptr;
}

// False: no torch in this process, or one without these entries.
bool find_torch() {
  void* const library = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return false;
  TorchEntries& t = g_torch;
  find(library, "torch_delete_stable_ivalue", t.delete_value);
  return find(library, "aoti_torch_library_init_impl", t.library_init_impl) &&
         find(library, "aoti_torch_library_impl", t.library_impl) &&
         find(library, "aoti_torch_delete_tensor_object", t.delete_tensor) &&
         find(library, "aoti_torch_get_data_ptr", t.get_data_ptr) &&
         find(library, "aoti_torch_get_dim", t.get_dim) &&
         find(library, "aoti_torch_get_sizes", t.get_sizes) &&
         find(library, "aoti_torch_get_dtype", t.get_dtype) &&
         find(library, "aoti_torch_is_contiguous", t.is_contiguous) &&
         find(library, "aoti_torch_empty_strided", t.empty_strided) &&
         find(library, "aoti_torch_copy_", t.copy);
}

void check(int problem, const char* what) {
  if (problem != 0) throw Error(std::string("torchao_cpp::linear: torch refuses ") + what);
}

/// A reference to a torch tensor.
class TorchTensor {
 public:
  explicit TorchTensor(TensorHandle handle) : handle_(handle) {}
  explicit TorchTensor(StackValue value) : handle_(reinterpret_cast<TensorHandle>(value)) {}
  /// The value of an optional, or none.
  static TorchTensor from_optional(StackValue value) {
    auto* const place = reinterpret_cast<StackValue*>(value);
    if (place == nullptr) return TorchTensor(TensorHandle{nullptr});
    TorchTensor out(*place);
    g_torch.delete_value != nullptr ? g_torch.delete_value(place) : delete place;
    return out;
  }
  TorchTensor(TorchTensor&& other) noexcept : handle_(other.release()) {}
  TorchTensor& operator=(TorchTensor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~TorchTensor() {
    if (handle_ != nullptr) g_torch.delete_tensor(handle_);
  }

  /// Null for none.
  void* data() const {
    void* out = nullptr;
    if (handle_ != nullptr) check(g_torch.get_data_ptr(handle_, &out), "an address");
    return out;
  }
  std::span<const std::int64_t> sizes() const {
    std::int64_t dim = 0;
    std::int64_t* sizes = nullptr;
    check(g_torch.get_dim(handle_, &dim), "the number of dimensions");
    check(g_torch.get_sizes(handle_, &sizes), "the sizes");
    return {sizes, static_cast<std::size_t>(dim)};
  }
  /// A new tensor on the CPU, of this one's dtype and of these sizes.
  TorchTensor new_empty(std::span<const std::int64_t> sizes) const {
    constexpr std::int32_t kCpu = 0, kNoIndex = -1;
    std::vector<std::int64_t> strides(sizes.size(), 1);
    for (std::size_t i = sizes.size(); i-- > 1;)
      strides[i - 1] = strides[i] * std::max<std::int64_t>(sizes[i], 1);
    std::int32_t dtype = 0;
    check(g_torch.get_dtype(handle_, &dtype), "the dtype");
    TensorHandle out = nullptr;
    check(g_torch.empty_strided(static_cast<std::int64_t>(sizes.size()), sizes.data(),
                                strides.data(), dtype, kCpu, kNoIndex, &out),
          "a new tensor");
    return TorchTensor(out);
  }
  void make_contiguous() {
    bool is_contiguous = true;
    if (handle_ != nullptr)
      check(g_torch.is_contiguous(handle_, &is_contiguous), "the order of the strides");
    if (is_contiguous) return;
    TorchTensor copy = new_empty(sizes());
    check(g_torch.copy(copy.handle_, handle_, 0), "a copy");
    *this = std::move(copy);
  }
  TensorHandle release() noexcept { return std::exchange(handle_, nullptr); }

 private:
  TensorHandle handle_;
};

// linear(Tensor x, Tensor handle, Tensor? bias, int output_size) -> Tensor. What lies on the stack
// is ours to release.
void linear_kernel(StackValue* stack, std::uint64_t, std::uint64_t) {
  TorchTensor x(stack[0]);
  const TorchTensor handle(stack[1]);
  TorchTensor bias = TorchTensor::from_optional(stack[2]);
  x.make_contiguous();
  bias.make_contiguous();
  const auto x_sizes = x.sizes();
  std::vector<std::int64_t> sizes(x_sizes.begin(), x_sizes.end());
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < sizes.size(); ++i) rows *= sizes[i];
  sizes.back() = static_cast<std::int64_t>(stack[3]);
  TorchTensor y = x.new_empty(sizes);
  run_fused_layer(*static_cast<const std::int64_t*>(handle.data()), x.data(), rows, bias.data(),
                  y.data());
  stack[0] = reinterpret_cast<StackValue>(y.release());
}

bool register_torch_linear() {
  if (!find_torch()) return false;
  // Lives as long as the process: torch calls into it until then.
  LibraryHandle library = nullptr;
  check(g_torch.library_init_impl("torchao_cpp", "CPU", __FILE__, __LINE__, &library), "a library");
  check(g_torch.library_impl(library, "linear", linear_kernel), "the op");
  return true;
}

}  // namespace

void bind_torch_op(nb::module_& m) {
  m.def(
      "register_torch_linear", &register_torch_linear,
      "Gives torch.ops.torchao_cpp.linear, which must be defined, its kernel for the CPU. Returns\n"
      "False where torch is not loaded or lacks what that takes.");
}

}  // namespace torchao_cpp::python
