// folder.h - names in directories: what is made, renamed, removed and found there, and the room of a disk.
#pragma once
#include <cstdint>

#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway::os {

// The directory exists, is this user's own and nobody else's (0700); it is made with those above it. EPERM:
// it belongs to somebody else or others may write to it; ENOTDIR.
Errno make_private_directory(const char* path);

enum class Open {
  kRead,
  kReadWrite,
  kCreate,   // new, read-write, 0600. EEXIST
  kReplace,  // new or emptied
  kAppend,   // read and append, created where it is missing
  kOwn,      // likewise; ELOOP: a link; EPERM: it is no regular file of this user's
};
Result<Fd> open_file(const char* path, Open how);
Errno rename_file(const char* from, const char* to);
// EEXIST: there is one, which stays.
Errno rename_new(const char* from, const char* to);
// What is missing already is no error.
Errno remove_file(const char* path);
Errno remove_directory(const char* path);  // an empty one
bool exists(const char* path);
// What the name itself means: a link is kOther, wherever it leads.
enum class Kind { kNothing, kFile, kDirectory, kSocket, kOther };
Kind kind_of(const char* path);
Result<FileIdentity> identify_name(const char* path);
Errno truncate_file(int fd, uint64_t bytes);
Errno sync_data(int fd);            // the bytes survive a power cut
Errno sync_directory(const char*);  // so do its names
// False: somebody else has it. Held as long as the descriptor is open, by whatever process.
Result<bool> try_lock_file(int fd);

// Calls back with each name but . and .. ; the order is the file system's.
Errno list_directory(const char* path, void (*name)(void* context, const char* name), void* context);

struct DiskRoom {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;  // to this user
};
Result<DiskRoom> disk_room(const char* path);

// The range, whole pages of it, takes no room any more. A hint.
void give_back(int fd, uint64_t offset, uint64_t bytes);

}  // namespace spillway::os
