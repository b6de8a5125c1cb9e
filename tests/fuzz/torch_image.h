// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace torchao_cpp::fuzz {

/// A file as torch.save writes it, so that mutations keep the archive valid. `input`: the number of
/// storages in one byte, the size of each in two (little-endian), then the bytes of data.pkl. The
/// storages are named "0", "1", ...
std::string torch_image(std::string_view input);

}  // namespace torchao_cpp::fuzz
