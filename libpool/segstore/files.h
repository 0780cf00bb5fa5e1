// files.h - what the writer does to files, behind an interface: tests put one in its place that fails, stops
// the process at a labelled step, or forgets what was not flushed.
//
// Readers do not come through here: they map files, and need nothing that could fail half way.
#pragma once
#include <string>

#include "base/core/result.h"
#include "base/os/directory.h"

namespace spillway::segstore {

class Files {
 public:
  virtual ~Files() = default;
  // A new file with disk blocks for so many bytes. ENOSPC leaves nothing behind.
  virtual Result<os::Fd> create(int directory, const char* name, uint64_t bytes);
  virtual Errno write(int fd, const os::Piece* pieces, int count, uint64_t offset);
  virtual Errno flush(int fd);
  virtual Errno flush_directory(int directory);
  virtual Errno rename(int directory, const char* from, const char* to);
  virtual Errno unlink(int directory, const char* name);
  virtual Errno link(int directory, const char* name, int other, const char* other_name);
  // Blocks of the range are given back; it was never published. A hint.
  virtual void release(int fd, uint64_t offset, uint64_t bytes);
  // The named step of a longer job begins.
  virtual void step(const char*) {}
  // False: nobody opens the store after its writer has ended, so nothing of it need get to the device.
  virtual bool lasts() const { return true; }
  // Which boot of the machine this is: what was not flushed before the last one may be gone.
  virtual std::string boot_id();

  static Files& real();
};

// Writes the file under a temporary name, flushes it, gives it its name, and flushes the directory.
Errno replace_file(Files& files, int directory, const char* name, const std::string& bytes);

}  // namespace spillway::segstore
