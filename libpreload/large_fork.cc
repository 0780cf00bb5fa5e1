// What a fork does to large blocks. Handlers of others run between our first and our last (lifecycle.cc).
#include <cstring>

#include "base/os/clock.h"
#include "base/os/futex.h"
#include "base/os/keep_errno.h"
#include "libpreload/large.h"
#include "libpreload/pager/pager.h"
#include "libpreload/settings.h"
#include "libpreload/small_window.h"

namespace spillway {
namespace {

// Forks that follow each other so quickly make a family whose processes work at the same time.
constexpr uint64_t kFamilyMs = 10'000;

}  // namespace

void LargeHeap::before_fork() {
  KeepErrno keep;
  lock_.lock();
  fork_mode_ = settings.fork_mode;
  while (release_oldest_recycled()) {
  }
  for (Chunk* c = space_.chunks(); c != nullptr; c = c->next) {
    for (Region* r = space_.first_of(*c); r != nullptr; r = space_.next_of(*r)) {
      if (r->state != Region::State::kLive) continue;
      const bool shared = fork_mode_ == ForkMode::kShared || r->shared_with_children;
      if (c->backing->in_files()) r->shared_with_children = shared;
      c->backing->freeze(*c, r->span, shared ? ForkMode::kShared : ForkMode::kSnapshot,
                         !r->disturbed && !r->has_foreign_pages);
    }
  }
  if (space_.chunks() == nullptr && small_blocks_ == nullptr) return;
  // How many of the children still live, nobody tells.
  const uint64_t now = os::monotonic_ms();
  if (now - last_fork_ms_ > kFamilyMs) forks_ = 0;
  last_fork_ms_ = now;
  ++forks_;
  if (managed_possible_ && !pager.engaged()) start_pager_if_time(2 * (1 + forks_));
  void* waits[64];
  const int waiting = os::shared_futex_waits(waits, 64);
  for (Chunk* c = space_.chunks(); c != nullptr; c = c->next) {
    for (int i = 0; i < waiting; ++i)
      if (c->range.contains(waits[i])) c->backing->wake_waiters(*c, waits[i]);
    c->backing->finish_freeze(*c);
  }
  // What could not be given back lies in files that are left now; here it is as good as new.
  while (Region* region = space_.oldest_recycled()) {
    space_.unlist(*region);
    space_.give_back(*region, Region::State::kFree);
  }
}

void LargeHeap::freeze_for_fork() {
  KeepErrno keep;
  pager.before_fork();
}

void LargeHeap::thaw_in_parent() {
  KeepErrno keep;
  pager.after_fork_in_parent();
}

void LargeHeap::after_fork_in_parent() { lock_.unlock(); }

void LargeHeap::begin_child() {
  KeepErrno keep;
  pager.begin_child();
}

void LargeHeap::after_fork_in_child(bool may_start_threads) {
  KeepErrno keep;
  pager.after_fork_in_child(may_start_threads);
  if (fork_mode_ == ForkMode::kDuplicate) {
    for (Chunk* c = space_.chunks(); c != nullptr; c = c->next)
      for (Region* r = space_.first_of(*c); r != nullptr; r = space_.next_of(*r))
        if (r->state == Region::State::kLive && !r->shared_with_children &&
            can_thaw(*r, r->committed_granules()))
          if (Errno e = c->backing->thaw(*c, r->committed_granules()); !e.ok())
            settings.warn("a forked child keeps a snapshot instead of a duplicate: %s", strerror(e.code()));
  }
  lock_.unlock();
}

}  // namespace spillway
