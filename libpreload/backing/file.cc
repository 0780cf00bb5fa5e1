#include "libpreload/backing/file.h"

#include <algorithm>
#include <cstring>

#include "base/os/fatal.h"
#include "base/os/futex.h"
#include "base/os/limits.h"
#include "base/os/memory.h"
#include "base/os/procfs.h"
#include "libpreload/backing/directory.h"
#include "libpreload/settings.h"

namespace spillway {
namespace {

PageRange after(PageRange run, PageRange whole) {
  return {run.end(), static_cast<uint64_t>(whole.end() - run.end())};
}

constexpr uint64_t kPieceBytes = 64 * kMiB;
constexpr uint64_t kMostPieces = 1024;  // of a chunk: each is a mapping, of which a process has 65,530
constexpr uint64_t kSmallReadAhead = kMiB;

}  // namespace

uint64_t FileBacking::chunk_bytes(uint64_t needed) const {
  const uint64_t bytes =
      std::min(os::chunk_of_address_space(needed), round_down(os::file_size_limit(), kExtentBytes));
  return std::max(bytes, needed);
}

bool FileBacking::owns_file(const Chunk& chunk) {
  if (chunk.fd < 0) return false;
  auto file = os::identify(chunk.fd);
  return file && *file == chunk.file;
}

Errno FileBacking::open(Chunk& chunk) {
  Result<os::Fd> fd = region_directory.open_file();
  if (!fd) return fd.error();
  if (Errno e = os::set_length(fd->get(), chunk.range.bytes); !e.ok()) return e;
  auto file = os::identify(fd->get());
  if (!file) return file.error();
  chunk.file = *file;
  chunk.has_small_read_ahead = os::read_ahead_bytes(fd->get()) < kSmallReadAhead;
  chunk.fd = fd->release();
  return {};
}

void FileBacking::close(Chunk& chunk) {
  if (owns_file(chunk)) os::Fd{chunk.fd}.reset();
  chunk.fd = -1;
}

Errno FileBacking::ensure_file(Chunk& chunk) {
  if (chunk.fd < 0) return open(chunk);
  if (owns_file(chunk)) return {};
  chunk.retired = true;
  return Errno(EBADF);
}

// Maps the file over the run.
Errno FileBacking::map(const Chunk& chunk, PageRange run) {
  const bool in_pieces = chunk.has_small_read_ahead && run.bytes >= 2 * kPieceBytes;
  if (Errno e = in_pieces ? map_in_pieces(chunk, run)
                          : os::map_file_shared(run, chunk.fd, chunk.range.offset_of(run.base));
      !e.ok())
    return e;
  // A limit cannot be held when one fault maps 2 MiB that happen to be in the page cache.
  if (settings.limit_bytes != 0) (void)os::use_small_pages(run);
  return unit_ == Unit::kPage ? os::advise(run, os::kAdviceRandom) : Errno{};
}

Errno FileBacking::map_in_pieces(const Chunk& chunk, PageRange run) {
  const uint64_t most = std::max(kPieceBytes, round_up(chunk.range.bytes / kMostPieces, kExtentBytes));
  while (!run.empty()) {
    const PageRange piece{run.base, std::min(run.bytes, most)};
    Result<os::Fd> own = os::reopen(chunk.fd);
    auto file = own ? os::identify(own->get()) : Result<os::FileIdentity>(own.error());
    const int fd = file && *file == chunk.file ? own->get() : chunk.fd;
    if (Errno e = os::map_file_shared(piece, fd, chunk.range.offset_of(piece.base)); !e.ok()) return e;
    run = after(piece, run);
  }
  return {};
}

Errno FileBacking::map_unmapped(Chunk& chunk, PageRange granules) {
  while (!granules.empty()) {
    const PageRange run = chunk.next_run(granules, /*mapped=*/false);
    if (run.empty()) break;
    if (Errno e = map(chunk, run); !e.ok()) return e;
    chunk.set_mapped(run, true);
    granules = after(run, granules);
  }
  return {};
}

Errno FileBacking::commit(Chunk& chunk, PageRange range) {
  if (Errno e = ensure_file(chunk); !e.ok()) return e;
  PageRange blocks = new_granules(range);
  // The rest of a granule that is a snapshot needs no blocks: what is written there is this process's memory.
  if (unit_ == Unit::kPage && (range.base == blocks.base || chunk.is_mapped(granule_of(range.base))))
    blocks = range;
  if (!blocks.empty())
    if (Errno e = os::preallocate(chunk.fd, chunk.range.offset_of(blocks.base), blocks.bytes,
                                  !settings.masked.fallocate);
        !e.ok())
      return e;
  return map_unmapped(chunk, new_granules(range));
}

Errno FileBacking::advise(PageRange range, int advice) {
  return unit_ == Unit::kPage ? Errno{} : os::advise(range, advice);
}

Errno FileBacking::discard(Chunk& chunk, PageRange range) {
  while (!range.empty()) {
    // Page by page runs of the same kind; granules are the unit of "mapped".
    char* granule = granule_of(range.base);
    const PageRange run = range.intersect({granule, kExtentBytes});
    if (chunk.is_mapped(granule)) {
      const bool zeroed = owns_file(chunk) && !settings.masked.punch &&
                          os::zero_range(chunk.fd, chunk.range.offset_of(run.base), run.bytes).ok();
      // Without holes in this file system the promise is kept the slow way.
      if (!zeroed) memset(run.base, 0, run.bytes);
    } else if (Errno e = os::map_anonymous(run); !e.ok()) {
      return e;
    }
    range = after(run, range);
  }
  return {};
}

bool FileBacking::decommit(Chunk& chunk, PageRange granules, bool pristine) {
  bool given_back = true;
  const bool have_file = owns_file(chunk);
  while (!granules.empty()) {
    PageRange run = chunk.next_run(granules, /*mapped=*/true);
    // What lies before the run is a snapshot or nothing: ours alone to drop.
    const PageRange snapshot{granules.base, run.empty() ? granules.bytes : granules.offset_of(run.base)};
    if (!snapshot.empty()) given_back &= os::make_inaccessible(snapshot).ok();
    if (run.empty()) break;

    if (pristine && have_file) given_back &= map(chunk, run).ok();
    if (settings.masked.punch || !os::punch_hole(run).ok()) given_back = false;
    granules = after(run, granules);
  }
  return given_back;
}

// True: `run` is a private mapping of a file that nobody writes to.
bool FileBacking::snapshot(Chunk& chunk, PageRange run) {
  const uint64_t offset = chunk.range.offset_of(run.base);
  if (owns_file(chunk)) return os::map_file_private(run, chunk.fd, offset).ok();
  // The program closed our descriptor. The bytes are still mapped: give them a new file. Exact as long as no
  // other thread writes meanwhile; programs that close all descriptors (daemons) do it before they start
  // threads.
  Result<os::Fd> copy = region_directory.open_file();
  return copy && os::set_length(copy->get(), offset + run.bytes).ok() &&
         os::write_all(copy->get(), run.base, run.bytes, offset).ok() &&
         os::map_file_private(run, copy->get(), offset).ok();
}

// Part by part, as the program's protections and what it put there of its own divide the run.
bool FileBacking::snapshot_parts(Chunk& chunk, PageRange run) {
  os::MappingList mappings;
  if (!owns_file(chunk) || !mappings.open().ok()) return snapshot(chunk, run);
  bool any = false;
  for (os::MappingList::Entry entry; mappings.next(entry) && entry.range.base < run.end();) {
    const PageRange part = run.intersect(entry.range);
    if (part.empty() || !entry.is_shared || entry.inode != chunk.file.inode) continue;
    any = true;
    if (!snapshot(chunk, part)) return false;
    if (entry.protection == os::kReadWrite) continue;
    if (os::program_mprotect(part.base, part.bytes, entry.protection) != 0) return false;
  }
  // None: a file system (overlayfs) whose numbers in /proc are not those of fstat(2). The bytes matter most.
  return any || snapshot(chunk, run);
}

void FileBacking::freeze(Chunk& chunk, PageRange live, ForkMode mode, bool is_uniform) {
  for (PageRange rest = live; !rest.empty();) {
    const PageRange run = chunk.next_run(rest, /*mapped=*/true);
    if (run.empty()) break;
    if (mode != ForkMode::kShared && !(is_uniform ? snapshot(chunk, run) : snapshot_parts(chunk, run)))
      os::die("cannot make a snapshot of %llu MiB for a fork: no room in %s",
              static_cast<unsigned long long>(run.bytes / kMiB), region_directory.path());
    chunk.set_mapped(run, false);
    rest = after(run, rest);
  }
}

void FileBacking::wake_waiters(Chunk& chunk, void* address) {
  if (!owns_file(chunk)) return;
  // Another mapping of the same page of the file, which is what the kernel knows the waiter by.
  const uint64_t offset = chunk.range.offset_of(address), page = round_down(offset, kPageBytes);
  Result<PageRange> window = os::reserve(kPageBytes, kPageBytes);
  if (!window) return;
  if (os::map_file_shared(*window, chunk.fd, page).ok()) os::wake_all_shared(window->base + (offset - page));
  os::unreserve(*window);
}

void FileBacking::finish_freeze(Chunk& chunk) {
  for (PageRange rest = chunk.range; !rest.empty();) {
    const PageRange run =
        chunk.next_run(rest, /*mapped=*/true);  // free space, still mapped onto the old file
    if (run.empty()) break;
    if (!os::make_inaccessible(run).ok()) {
      chunk.retired = true;  // out of mappings: never to be given out again
      break;
    }
    chunk.set_mapped(run, false);
    rest = after(run, rest);
  }
  close(chunk);
}

Errno FileBacking::thaw(Chunk& chunk, PageRange granules) {
  if (Errno e = ensure_file(chunk); !e.ok()) return e;
  const uint64_t offset = chunk.range.offset_of(granules.base);
  if (Errno e = os::preallocate(chunk.fd, offset, granules.bytes, !settings.masked.fallocate); !e.ok())
    return e;
  // EFAULT: the program may not read some of its pages.
  Errno error = os::write_all(chunk.fd, granules.base, granules.bytes, offset);
  if (error.ok()) error = map(chunk, granules);
  if (error.ok()) {
    chunk.set_mapped(granules, true);
  } else if (settings.masked.punch || !os::zero_range(chunk.fd, offset, granules.bytes).ok()) {
    chunk.retired = true;  // or the next block there would begin with what was written
  }
  return error;
}

}  // namespace spillway
