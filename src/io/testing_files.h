// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

#include "torchao_cpp/error.h"
#include "torchao_cpp/tensor.h"

/// What the tests of this folder share: scratch folders, raw safetensors files, the kind of an error.
namespace torchao_cpp::testing_files {

/// A folder of its own for one test; removed with everything in it.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "torchao_cpp_io_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline void write_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Length, header and data of a safetensors file, as given.
inline std::string raw_safetensors(std::string_view header, std::string_view data = {}) {
  const std::uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file.append(header).append(data);
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// kind() of the Error that `body` throws; "ok" when it throws none.
template <typename Body>
std::string kind_of(const Body& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.kind();
  }
  return "ok";
}

/// what() of the Error that `body` throws; "ok" when it throws none.
template <typename Body>
std::string message_of(const Body& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "ok";
}

inline Tensor int8_tensor(Shape shape, std::int8_t first = 0) {
  Tensor t = Tensor::empty(DType::kInt8, std::move(shape));
  for (auto& v : t.mutable_span<std::int8_t>()) v = first++;
  return t;
}

inline Tensor float_tensor(Shape shape, float first = 0.5f) {
  Tensor t = Tensor::empty(DType::kFloat32, std::move(shape));
  for (auto& v : t.mutable_span<float>()) v = (first += 1.0f);
  return t;
}

}  // namespace torchao_cpp::testing_files
