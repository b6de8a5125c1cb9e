// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/shared_plain.h"

#include <algorithm>
#include <mutex>
#include <vector>

namespace torchao_cpp::cuda {

/// A shared tensor. Its storage is not freed while the entry is there, so that its address says
/// which tensor it is.
struct SharedPlain::Entry {
  Tensor plain;
  std::vector<std::weak_ptr<DeviceBuffer>> copies;  ///< At most one a device.

  struct All {
    std::mutex mutex;
    std::vector<Entry*> entries;
  };
  static All& all() {
    static All entries;
    return entries;
  }
  // Null where the tensor is not shared. The mutex is held.
  static Entry* of(const Tensor& plain) {
    for (Entry* entry : all().entries) {
      if (entry->plain.bytes() == plain.bytes() && entry->plain.dtype() == plain.dtype() &&
          entry->plain.shape() == plain.shape())
        return entry;
    }
    return nullptr;
  }
};

SharedPlain::SharedPlain(const Tensor& plain) {
  if (!plain.defined()) return;
  entry_ = std::make_shared<Entry>(Entry{plain, {}});
  const std::scoped_lock lock(Entry::all().mutex);
  Entry::all().entries.push_back(entry_.get());
}

SharedPlain::~SharedPlain() {
  const std::scoped_lock lock(Entry::all().mutex);
  std::erase(Entry::all().entries, entry_.get());
}

std::shared_ptr<DeviceBuffer> SharedPlain::find(const Tensor& plain, int device) {
  const std::scoped_lock lock(Entry::all().mutex);
  const Entry* entry = Entry::of(plain);
  if (entry == nullptr) return nullptr;
  for (const std::weak_ptr<DeviceBuffer>& copy : entry->copies) {
    std::shared_ptr<DeviceBuffer> buffer = copy.lock();
    if (buffer != nullptr && buffer->device() == device) return buffer;
  }
  return nullptr;
}

void SharedPlain::offer(const Tensor& plain, const std::shared_ptr<DeviceBuffer>& buffer) {
  const std::scoped_lock lock(Entry::all().mutex);
  if (Entry* entry = Entry::of(plain)) entry->copies.push_back(buffer);
}

}  // namespace torchao_cpp::cuda
