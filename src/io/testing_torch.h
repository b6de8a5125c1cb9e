// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/testing_files.h"
#include "io/zip_file.h"

/// What the tests of torch files share: zip archives and pickles, written byte by byte.
namespace torchao_cpp::testing_torch {

template <typename T>
std::string number(T value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}

/// All of them in a row. (Adding strings to literals makes gcc 12 warn of overlapping copies that
/// never happen.)
template <typename... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  (out.append(parts), ...);
  return out;
}

/// One record, and what its directory entry says where that is not the truth.
struct ZipRecord {
  std::string name;
  std::string data;
  std::uint16_t flags = 0x0808;
  std::uint16_t method = 0;
  std::string local_name = {};  ///< Empty: as `name`.
  std::string local_extra = {};
  std::string central_extra = {};
  std::uint32_t size = 0xFFFFFFFE;  ///< 0xFFFFFFFE: the true one; so below.
  std::uint32_t offset = 0xFFFFFFFE;
};

struct ZipParts {
  std::string records;
  std::string directory;
  std::uint16_t count = 0;
};

inline ZipParts zip_parts(const std::vector<ZipRecord>& records) {
  ZipParts out;
  for (const ZipRecord& r : records) {
    const std::string& local = r.local_name.empty() ? r.name : r.local_name;
    const auto at = static_cast<std::uint32_t>(out.records.size());
    const auto size = static_cast<std::uint32_t>(r.data.size());
    const std::uint32_t stated = r.size == 0xFFFFFFFE ? size : r.size;
    out.records +=
        cat("PK\3\4", number<std::uint16_t>(20), number(r.flags), number(r.method),
            std::string(16, '\0'), number(static_cast<std::uint16_t>(local.size())),
            number(static_cast<std::uint16_t>(r.local_extra.size())), local, r.local_extra, r.data);
    out.directory += cat(
        "PK\1\2", number<std::uint16_t>(0), number<std::uint16_t>(20), number(r.flags),
        number(r.method), number<std::uint32_t>(0), number(crc32(testing_files::as_bytes(r.data))),
        number(stated), number(stated), number(static_cast<std::uint16_t>(r.name.size())),
        number(static_cast<std::uint16_t>(r.central_extra.size())), std::string(10, '\0'),
        number(r.offset == 0xFFFFFFFE ? at : r.offset), r.name, r.central_extra);
    ++out.count;
  }
  return out;
}

inline std::string zip_end(std::uint16_t count, std::uint32_t size, std::uint32_t begin) {
  return cat("PK\5\6", std::string(4, '\0'), number(count), number(count), number(size),
             number(begin), std::string(2, '\0'));
}

inline std::string zip_archive(const std::vector<ZipRecord>& records) {
  const ZipParts p = zip_parts(records);
  return cat(p.records, p.directory,
             zip_end(p.count, static_cast<std::uint32_t>(p.directory.size()),
                     static_cast<std::uint32_t>(p.records.size())));
}

// Pickles: each gives the opcodes of one value.

inline std::string text(std::string_view value) {
  return cat("X", number(static_cast<std::uint32_t>(value.size())), std::string(value));
}
inline std::string integer(std::int32_t value) { return cat("J", number(value)); }
inline std::string global(std::string_view module, std::string_view name) {
  return cat("c", std::string(module), "\n", std::string(name), "\n");
}
inline std::string joined(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += item;
  return out;
}
inline std::string tuple(const std::vector<std::string>& items) {
  return cat("(", joined(items), "t");
}
inline std::string list(const std::vector<std::string>& items) {
  return cat("](", joined(items), "e");
}
inline std::string call(const std::string& function, const std::vector<std::string>& arguments) {
  return cat(function, tuple(arguments), "R");
}
inline std::string ints(const std::vector<std::int64_t>& values) {
  std::vector<std::string> items;
  for (const std::int64_t v : values) items.push_back(integer(static_cast<std::int32_t>(v)));
  return tuple(items);
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "}(";
  for (const auto& [key, value] : items) out += cat(text(key), value);
  return cat(out, "u");
}
inline std::string ordered_dict() { return cat(global("collections", "OrderedDict"), ")R"); }
inline const std::string kNone = "N";
inline const std::string kFalse = "\x89";
inline const std::string kTrue = "\x88";

/// Data of a torch file under construction: storages get the keys 0, 1, ...
class TorchFileBuilder {
 public:
  std::string storage(std::string_view type, std::string data, std::int64_t numel) {
    storages_.push_back(std::move(data));
    const std::string full =
        type == "UntypedStorage" ? global("torch.storage", type) : global("torch", type);
    return cat(tuple({text("storage"), full, text(std::to_string(storages_.size() - 1)),
                      text("cpu"), integer(static_cast<std::int32_t>(numel))}),
               "Q");
  }
  static std::string view(const std::string& storage, std::int64_t offset,
                          const std::vector<std::int64_t>& size,
                          const std::vector<std::int64_t>& stride) {
    return call(global("torch._utils", "_rebuild_tensor_v2"),
                {storage, integer(static_cast<std::int32_t>(offset)), ints(size), ints(stride),
                 kFalse, ordered_dict()});
  }
  /// A contiguous tensor of values of the storage class's type.
  template <typename T>
  std::string tensor(std::string_view type, const std::vector<std::int64_t>& size,
                     const std::vector<T>& values) {
    std::string data(values.size() * sizeof(T), '\0');
    if (!values.empty()) std::memcpy(data.data(), values.data(), data.size());
    return view(storage(type, data, static_cast<std::int64_t>(values.size())), 0, size,
                contiguous(size));
  }
  /// As torch saves tensors without a storage class of their own; values are bytes.
  std::string float8_tensor(const std::vector<std::int64_t>& size, const std::string& data) {
    return call(global("torch._utils", "_rebuild_tensor_v3"),
                {storage("UntypedStorage", data, static_cast<std::int64_t>(data.size())),
                 integer(0), ints(size), ints(contiguous(size)), kFalse, ordered_dict(),
                 global("torch", "float8_e4m3fn")});
  }
  static std::string object(std::string_view module, std::string_view name, std::string_view dtype,
                            const std::vector<std::int64_t>& size,
                            const std::vector<std::pair<std::string, std::string>>& state) {
    const std::string type = global(module, name);
    return call(
        global("torch._tensor", "_rebuild_from_type_v2"),
        {global("torch._utils", "_rebuild_wrapper_subclass"), type,
         tuple({type, global("torch", dtype), ints(size), ints(contiguous(size)), integer(0),
                call(global("torch.serialization", "_get_layout"), {text("torch.strided")}),
                call(global("torch", "device"), {text("cpu")}), kFalse}),
         dict(state)});
  }
  /// The file, whose root is a dict of these.
  std::string file(const std::vector<std::pair<std::string, std::string>>& items) const {
    return file_of_pickle(cat("\x80\x02", dict(items), "."));
  }
  std::string file_of_pickle(const std::string& pickle) const {
    std::vector<ZipRecord> records{{"archive/data.pkl", pickle}, {"archive/byteorder", "little"}};
    for (std::size_t i = 0; i < storages_.size(); ++i)
      records.push_back({cat("archive/data/", std::to_string(i)), storages_[i]});
    records.push_back({"archive/version", "3\n"});
    return zip_archive(records);
  }

 private:
  static std::vector<std::int64_t> contiguous(const std::vector<std::int64_t>& size) {
    std::vector<std::int64_t> stride(size.size(), 1);
    for (std::size_t d = size.size(); d-- > 1;) stride[d - 1] = stride[d] * size[d];
    return stride;
  }
  std::vector<std::string> storages_;
};

}  // namespace torchao_cpp::testing_torch
