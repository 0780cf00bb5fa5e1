// directory.h - files by their names within an open directory: the store keeps working when its directory is
// renamed or the program changes its own. Errors are the kernel's. Any thread.
#pragma once
#include <sys/types.h>

#include <cstdint>

#include "base/core/page_range.h"
#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway::os {

// `create`: makes it (0700), and every directory above it that is missing.
Result<Fd> open_directory(const char* path, bool create);

enum class OpenFor { kReading, kWriting, kCreatingNew, kCreating };
// kWriting and both kCreating also read; kCreatingNew: EEXIST when it is there. New files are 0600 or `mode`.
Result<Fd> open_in(int directory, const char* name, OpenFor how, unsigned mode = 0600);
Errno rename_in(int directory, const char* from, const char* to);
Errno unlink_in(int directory, const char* name);
// A second name for the file, in another directory of the same file system (EXDEV otherwise).
Errno link_in(int directory, const char* name, int other_directory, const char* other_name);
// Calls for each name but . and .. in no order.
Errno list_names(int directory, void (*each)(void* context, const char* name), void* context);

// The file's bytes, and what is needed to read them, are on the device; flush_all: all that is known of it.
Errno flush_data(int fd);
Errno flush_all(int fd);

struct FileFacts {
  uint64_t bytes = 0;
  uint64_t disk_bytes = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
  bool is_regular = false;
  uint32_t owner = 0;
};
Result<FileFacts> facts_of(int fd);
// A network file system: what one machine maps, another may change unseen.
bool is_on_network(int fd);
uint64_t free_disk_bytes(int fd);
// Grows the file with disk blocks behind it, without writing them; bytes that are there stay. ENOSPC, EFBIG.
Errno allocate_file(int fd, uint64_t offset, uint64_t bytes);

struct Piece {
  const void* data;
  uint64_t bytes;
};
// The pieces one after the other at `offset`; at most 8. Short writes are carried on.
Errno write_pieces(int fd, const Piece* pieces, int count, uint64_t offset);
// Bytes read, fewer at the end of the file.
Result<uint64_t> read_some(int fd, void* to, uint64_t bytes, uint64_t offset);
// The next offset from `from` with data behind it; `end` when the rest is a hole.
uint64_t next_data(int fd, uint64_t from, uint64_t end);

// A lock that belongs to the open file, not to the process id: it goes with its last descriptor, whatever
// kills the holder, and holds across users and pid namespaces. EAGAIN: somebody else has it.
Errno lock_whole_file(int fd);
bool is_file_locked(int fd);  // by another open file
// The same for one byte of the file, which need not be there.
Errno lock_byte(int fd, uint64_t at);
void unlock_byte(int fd, uint64_t at);
bool is_byte_locked(int fd, uint64_t at);

// 16 bytes of the kernel's; and the id of this boot (36 characters, "" when the kernel does not tell).
Errno random_bytes(void* to, uint64_t bytes);
void read_boot_id(char (&text)[40]);
uint64_t wall_clock_ms();  // since 1970; to a few milliseconds

// Whole files in memory. The range ends with the page that has the file's last byte.
Result<PageRange> map_shared_readable(int fd, uint64_t bytes);
Result<PageRange> map_shared_writable(int fd, uint64_t bytes);
// In place of what was there, atomically.
Errno map_shared_readable_at(PageRange range, int fd);
Result<PageRange> map_private_memory(uint64_t bytes);  // zeroes; takes memory only where it is written
Errno map_private_memory_at(PageRange range);          // in place of what was there, atomically
// In place of what was there, atomically: reads zeroes from now on and takes no memory.
Errno replace_by_zeroes(PageRange range);

// A number that tells this process from its forked children, which get others. `process_token` gives the
// process one (0: the kernel has no such memory); `is_token_of_this_process` costs a load.
uint32_t process_token();
bool is_token_of_this_process(uint32_t token);

// Until *word is no longer `value`, or about so many milliseconds, or for no reason. Shared mappings, also
// read-only.
void wait_shared(const void* word, uint32_t value, int milliseconds);

}  // namespace spillway::os
