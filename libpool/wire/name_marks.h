// name_marks.h - how a client knows without a message that a name still means what it meant: a table of
// counters that the daemon alone writes and every client maps. Whenever a name is given, given anew or taken
// away, the counter of its place moves before the one who asked for that is answered. So who read a counter
// before asking what a name means, and finds it unmoved, would be told the same again. Names that share a
// counter cost a message now and then, never a wrong answer.
//
// Behind the counters is whether the store of small named objects says what names mean (small_names.h). It is
// set to kOff before anybody is answered whose change is not in the store; so who reads the store and then
// finds kOn has read nothing older than what was answered before.
#pragma once
#include <cstdint>
#include <string_view>

namespace spillway::wire {

inline constexpr uint32_t kNameMarks = 16384;
enum class SmallNamesState : uint32_t {
  kNone,  // there was no such object yet
  kOn,
  kOff,  // and it stays so
};
struct NameMarks {
  uint32_t marks[kNameMarks];   // through std::atomic_ref, like
  SmallNamesState small_names;  // this one
};

constexpr uint32_t mark_index(std::string_view name) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return static_cast<uint32_t>((hash ^ hash >> 32) % kNameMarks);
}

}  // namespace spillway::wire
