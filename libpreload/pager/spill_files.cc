#include "libpreload/pager/spill_files.h"

#include <cstring>
#include <utility>

#include "base/os/clock.h"
#include "base/os/fatal.h"
#include "libpreload/settings.h"

namespace spillway {

uint8_t SpillFiles::current(const char* directory, uint64_t bytes, Errno& error) {
  if (current_ != 0) return current_;
  error = Errno(EMFILE);
  for (int i = 1; i < kMost; ++i) {
    if (fd_[i] != 0) continue;
    Result<os::Fd> fd = os::open_unlinked(directory, !settings.masked.tmpfile);
    if (!fd) return error = fd.error(), 0;
    error = os::set_length(fd->get(), bytes);
    if (!error.ok()) return 0;
    os::use_direct_io(fd->get());
    fd_[i] = fd->release() + 1;
    extents_[i] = 0;
    return current_ = static_cast<uint8_t>(i);
  }
  return 0;
}

Errno SpillFiles::read(uint8_t file, char* to, uint64_t bytes, uint64_t offset) const {
  return os::read_all(fd_[file] - 1, to, bytes, offset);
}

Errno SpillFiles::write(uint8_t file, const char* from, uint64_t bytes, uint64_t offset) const {
  return os::write_all(fd_[file] - 1, from, bytes, offset);
}

Errno SpillFiles::preallocate(uint8_t file, uint64_t offset, uint64_t bytes) const {
  return os::preallocate(fd_[file] - 1, offset, bytes, !settings.masked.fallocate);
}

void SpillFiles::forget(uint8_t file) {
  if (file == 0) return;
  --on_disk;
  if (--extents_[file] != 0) return;
  --count_;
  if (file == current_) return;
  os::Fd{fd_[file] - 1}.reset();
  fd_[file] = 0;
}

void SpillFiles::punch(uint64_t offset, uint64_t bytes) const {
  // Where that cannot be done the space stays taken until the file goes.
  if (current_ != 0 && !settings.masked.punch) (void)os::punch_file(fd_[current_] - 1, offset, bytes);
}

bool SpillFiles::any() const {
  for (uint32_t extents : extents_)
    if (extents != 0) return true;
  return false;
}

uint8_t SpillFiles::smallest() const {
  int smallest = 0;
  for (int i = 1; i < kMost; ++i)
    if (i != current_ && extents_[i] != 0 && (smallest == 0 || extents_[i] < extents_[smallest]))
      smallest = i;
  return static_cast<uint8_t>(smallest);
}

void SpillFiles::close_all() {
  for (int& fd : fd_) {
    if (fd != 0) os::Fd{fd - 1}.reset();
    fd = 0;
  }
  current_ = 0;
}

void SpillFiles::forget_all() {
  for (int i = 0; i < kMost; ++i) on_disk -= extents_[i], fd_[i] = 0, extents_[i] = 0;
  count_ = 0;
  current_ = 0;
}

Errno SpillFiles::send_for_child(int socket) const {
  for (int i = 1; i < kMost; ++i)
    if (extents_[i] != 0)
      if (Errno e = os::send_descriptor(socket, fd_[i] - 1); !e.ok()) return e;
  return {};
}

Errno SpillFiles::receive_for_child(int socket) {
  for (int i = 1; i < kMost; ++i) {
    if (extents_[i] == 0) continue;
    Result<os::Fd> fd = os::receive_descriptor(socket);
    if (!fd) return fd.error();
    for_child_[i] = fd->release() + 1;
  }
  return {};
}

void SpillFiles::close_for_child() {
  for (int& fd : for_child_) {
    if (fd != 0) os::Fd{fd - 1}.reset();
    fd = 0;
  }
}

Errno SpillFiles::adopt() {
  for (int i = 1; i < kMost; ++i) {
    fd_[i] = 0;
    if (for_child_[i] == 0) continue;
    Result<os::Fd> fd = os::fetch_descriptor(for_child_[i] - 1);
    if (!fd) return fd.error();
    os::use_direct_io(fd->get());
    fd_[i] = fd->release() + 1;
  }
  current_ = 0;
  return {};
}

bool WriteErrors::may_write() const { return again_ms_ == 0 || os::monotonic_ms() >= again_ms_; }

void WriteErrors::failed(const char* directory, Errno error) {
  again_ms_ = os::monotonic_ms() + 1000;
  if (!std::exchange(said_, true))
    os::say("cannot write to the spill file in %s: %s; memory stays above the limit", directory,
            strerror(error.code()));
}

}  // namespace spillway
