// small_names.h - small objects by name, in a segment store that clients read for themselves: no message and
// no turn of the loop for the first get of a name.
//
// The store lies in a directory of the daemon's own below its first spill directory. Nobody needs it after
// the daemon's end, so nothing in it is ever flushed: what is replaced soon never reaches the disk, and its
// pages are the kernel's to write and to drop, not counted to the pool's memory. What is no longer right in
// it must not be read: when a put or a remove fails, or the disk has no room to spare, the whole store is
// given up, and clients are told so in the table they look at with each get (wire/name_marks.h).
//
// It is made with the first object. A daemon that was killed leaves one behind, and maybe a client that has
// not noticed yet and still reads there: so the next daemon makes its own in the same directory, around the
// same CONTROL, which readers look at with each get. They find what the new daemon says, or nothing.
// Threads: the loop's.
#pragma once
#include <functional>
#include <spillway/store.hpp>
#include <string>
#include <string_view>

#include "libpool/wire/name_marks.h"
#include "libpool/wire/small_names.h"

namespace spillway::pool {

class SmallNames {
 public:
  // `has_room`: whether the disk can spare so many bytes more.
  explicit SmallNames(std::function<bool(uint64_t bytes)> has_room) : has_room_(std::move(has_room)) {}
  ~SmallNames() { end(); }
  // `state`: where clients look. Without a call of this, nothing is ever kept.
  void start(std::string directory, wire::SmallNamesState& state);
  // False: it is not there; then nothing is.
  bool put(std::string_view name, const wire::SmallObject& object);
  void remove(std::string_view name);
  void end();
  // For clients; "": there will be none.
  const std::string& directory() const { return directory_; }
  uint64_t disk_bytes();

 private:
  wire::SmallNamesState state() const;
  void tell(wire::SmallNamesState state);
  bool open();
  void give_up(const std::string& why);
  void remove_files();

  std::function<bool(uint64_t)> has_room_;
  std::string directory_;
  wire::SmallNamesState* state_ = nullptr;
  spillway::Store store_;
  std::string value_;        // the last, for its memory
  uint64_t until_look_ = 0;  // bytes to be put before the disk is looked at again
  struct {
    uint64_t bytes = 0, at_ms = 0;
  } disk_bytes_;
};

}  // namespace spillway::pool
