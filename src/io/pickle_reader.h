// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "io/pickle_value.h"

namespace torchao_cpp {

/// Reads the pickle of a torch.save file into plain values, without calling anything.
///
/// Goals: files of strangers. Protocol 2, the opcodes that torch.save writes, the globals of
/// pickle_globals.h and nothing else. Bounded: 256 MiB, 16 M values, 1 M stack entries, 256 open
/// marks, nesting of 64, and no allocation by a number read. Non-goals: any other pickle.
///
/// Strings refer to `bytes`, which must outlive the document. Throws CheckpointError:
/// pickle.malformed, pickle.unsupported_protocol, pickle.forbidden_opcode, pickle.forbidden_global,
/// pickle.type_error, pickle.limit_exceeded, or for the classes that find_refused_class and
/// unsupported_legacy_class name bin.unsupported_legacy_layout or ao.unsupported_type.
PickleDocument read_pickle(std::span<const std::byte> bytes, std::string_view where);

}  // namespace torchao_cpp
