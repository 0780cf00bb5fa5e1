// When large and small blocks come to be the pager's: whether this host permits that, and whether it is time.
#include <algorithm>
#include <cstring>
#include <new>

#include "base/os/keep_errno.h"
#include "base/os/limits.h"
#include "base/os/memory.h"
#include "libpreload/backing/directory.h"
#include "libpreload/backing/pacer.h"
#include "libpreload/large.h"
#include "libpreload/pager/pager.h"
#include "libpreload/settings.h"
#include "libpreload/small_window.h"
#include "libpreload/stats.h"

namespace spillway {

bool LargeHeap::can_manage() {
  if (!probed_) {
    probed_ = true;
    const Errno e = settings.masked.uffd ? Errno(ENOSYS) : Pager::probe();
    managed_possible_ = e.ok();
    probe_error_ = e;
    if (!e.ok() && settings.backing == Settings::BackingChoice::kManaged)
      settings.warn("the managed backing cannot be had here (userfaultfd or pidfd_getfd: %s); using files",
                    strerror(e.code()));
    // A directory that will not do is better known now than when memory is short.
    if (e.ok() && settings.directory != nullptr) (void)region_directory.open_file();
  }
  // Memory that parent and child share after a fork is a file's.
  return managed_possible_ && settings.fork_mode != ForkMode::kShared;
}

// Large blocks have grown: whoever keeps them within the memory there is may have to start.
void LargeHeap::start_pacing() {
  pacer.on_managed_bytes(stats.managed_bytes());
  if (!managed_possible_ || pager.engaged()) return;
  os::Locked locked(lock_);
  start_pager_if_time();
}

bool LargeHeap::start_spilling_small() {
  os::Locked locked(lock_);
  if (settings.backing == Settings::BackingChoice::kFile ||
      settings.backing == Settings::BackingChoice::kPlain || settings.fork_mode == ForkMode::kShared) {
    settings.warn("small blocks stay in memory: only the managed backing can spill them (SPILLWAY_BACKING)%s",
                  settings.fork_mode == ForkMode::kShared ? ", and not where children share blocks" : "");
    return false;
  }
  const uint64_t most =
      std::min(small_window.spillable_half().bytes, round_down(os::file_size_limit(), kExtentBytes));
  // Where address space is limited, nothing is set aside for them.
  const bool has_place = !small_window.spillable_half().empty();
  const Errno error = !can_manage() ? probe_error_
                      : !has_place  ? Errno(ENOMEM)
                      : most == 0   ? Errno(EFBIG)
                                    : open_small_blocks(most);
  if (!error.ok()) {
    settings.warn("small blocks stay in memory: %s%s%s",
                  managed_possible_ ? "" : "userfaultfd: ", strerror(error.code()),
                  !managed_possible_ ? ""
                  : !has_place       ? " (see ulimit -v)"
                  : most == 0        ? " (see ulimit -f)"
                                     : "");
    return false;
  }
  small_window.start_spilling(most);
  return true;
}

Errno LargeHeap::open_small_blocks(uint64_t bytes) {
  Result<PageRange> memory = os::reserve(round_up(Chunk::footprint(bytes), kPageBytes), kPageBytes);
  if (!memory) return memory.error();
  if (Errno e = os::map_anonymous(*memory); !e.ok()) return e;
  small_blocks_ = new (memory->base) Chunk;
  small_blocks_->range = small_window.spillable_half().sub(0, bytes);
  small_blocks_->backing = &managed_;
  small_blocks_->of_small_blocks = true;
  small_blocks_->set_mapped(small_blocks_->range, true);
  return managed_.open(*small_blocks_);
}

Errno LargeHeap::discard_small(PageRange pages) {
  os::Locked locked(lock_);
  return managed_.discard(*small_blocks_, pages);
}

void LargeHeap::on_small_growth() {
  // Within this heap, or in a fork: the next growth is soon enough.
  if (!managed_possible_ || pager.engaged() || !lock_.try_lock()) return;
  KeepErrno keep;
  os::NoCancellation no_cancellation;
  start_pager_if_time();
  lock_.unlock();
}

void LargeHeap::on_program_mapping(PageRange range) {
  if (!pager.engaged() || !lock_.try_lock()) return;
  KeepErrno keep;
  os::NoCancellation no_cancellation;
  pager.watch_others(range);
  lock_.unlock();
}

// Each of so many processes of a family may come to hold as much.
void LargeHeap::start_pager_if_time(unsigned processes) {
  const uint64_t bytes = (stats.managed_bytes() + small_window.spillable().bytes) * processes;
  if (bytes == 0 || !pager.is_time(bytes, small_window.memory().bytes * processes)) return;
  while (release_oldest_recycled()) {
  }
  // In a directory that takes files.
  Result<os::Fd> file = region_directory.open_file();
  const Errno e = file ? pager.engage(region_directory.path()) : file.error();
  if (e.ok()) return;
  managed_possible_ = false;  // each attempt costs threads
  settings.warn("large blocks so far cannot spill: %s; later ones are in files", strerror(e.code()));
}

}  // namespace spillway
