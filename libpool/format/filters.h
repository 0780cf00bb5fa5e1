// filters.h - what is done to an object's bytes on their way to disk, and undone on the way back.
// A chain is applied in order when writing and undone in reverse. Each step works on the whole and is
// recorded by name in the file's header, so a file says how it is read. The checksum of a file is always
// there; the filter of that name exists so that a chain can put one in front of a compressor as well.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace spillway::format {

// "lz4", "zstd", "checksum".
bool is_builtin_filter(std::string_view name);

// False: `why` says what is wrong with the bytes (undo) or that memory is short (apply).
bool apply_filter(std::string_view name, std::string_view in, std::string& out, std::string& why);
// `plain_bytes`: how many there were before, where it is known; no filter makes more than that.
bool undo_filter(std::string_view name, std::string_view in, std::string& out, uint64_t most_bytes,
                 std::string& why);

// "lz4,checksum" -> names. Empty items are left out.
std::vector<std::string> split_filters(std::string_view text);

}  // namespace spillway::format
