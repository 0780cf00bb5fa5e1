// small_names.h - what lies in the daemon's store of small named objects (pooldaemon/store/small_names.h):
// under the name, the object's bytes, its tag, and what else a message would tell of it. The bytes come
// first, for they are used in place and keep the alignment that every object has.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace spillway::wire {

// Larger ones take longer to copy than a message takes.
inline constexpr uint64_t kMostSmallNameBytes = 4u << 10;
inline constexpr uint64_t kSmallNameAlignment = 64;

struct SmallNameEnd {
  uint64_t id, key, version;
  uint64_t tag_bytes;
};

struct SmallObject {
  SmallNameEnd end{};
  std::string_view data, tag;
};

inline void write_small_object(const SmallObject& object, std::string& to) {
  to.assign(object.data);
  to += object.tag;
  to.append(reinterpret_cast<const char*>(&object.end), sizeof object.end);
}

// False: it is none.
inline bool read_small_object(std::string_view from, SmallObject& object) {
  if (from.size() < sizeof object.end) return false;
  const size_t rest = from.size() - sizeof object.end;
  memcpy(&object.end, from.data() + rest, sizeof object.end);
  if (object.end.tag_bytes > rest) return false;
  object.data = from.substr(0, rest - object.end.tag_bytes);
  object.tag = from.substr(object.data.size(), object.end.tag_bytes);
  return true;
}

}  // namespace spillway::wire
