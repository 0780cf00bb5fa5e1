// small_record.h - an object as it lies in a store of small objects: its bytes, then what is said of it. The
// bytes come first, for they are used in place and keep the alignment that every object has.
//
//   bytes of the object | version u8 = 1, facts, what few have | length of that u32
#pragma once
#include <string>
#include <string_view>

#include "pooldaemon/store/manifest.h"

namespace spillway::pool {

inline constexpr uint64_t kSmallRecordAlignment = 64;

void write_small_record(const ManifestEntry& entry, std::string_view data, std::string& to);
// False: it is none.
bool read_small_record(std::string_view from, ManifestEntry& entry, std::string_view& data);

}  // namespace spillway::pool
