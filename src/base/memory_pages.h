// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

/// Pages of memory: when they come and when they go.
namespace torchao_cpp {

/// Zeroed memory straight from the system; its pages come when they are first touched. Null when
/// there is none. bytes > 0. `prefers_huge_pages`: for what is soon written from end to end; one
/// byte then brings in up to 2 MiB where the system grants it.
std::byte* map_zeroed(std::size_t bytes, bool prefers_huge_pages) noexcept;
/// Gives it back to the system at once. `bytes` as it was asked for.
void unmap(std::byte* memory, std::size_t bytes) noexcept;

/// Starts to read a stretch of a mapped file ahead of its use; returns without waiting for it. Any
/// other memory stays as it is.
void read_ahead(std::span<const std::byte> bytes) noexcept;

/// Brings every page of a stretch of mapped memory in, on all threads, so that its first use does
/// not wait. A failure to read shows at the first use, as it would without this.
void populate_pages(std::span<const std::byte> bytes) noexcept;

/// Gives back the pages that lie wholly in a stretch of a read-only mapped file. They come again,
/// unchanged, when they are touched.
void release_file_pages(std::span<const std::byte> bytes) noexcept;

}  // namespace torchao_cpp
