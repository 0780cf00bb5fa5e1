#include "libpreload/pager/family.h"

#include <algorithm>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "base/os/memory.h"

namespace spillway {

void Family::found() {
  if (members_ != nullptr) return;
  Result<PageRange> page = os::map_for_family(round_up(kMostMembers * sizeof(Member), kPageBytes));
  if (!page) return;
  members_ = reinterpret_cast<Member*>(page->base);
  me_ = join(0);
}

// A place that nobody has, or whose owner is gone.
Family::Member* Family::join(uint64_t claim_bytes) {
  const uint64_t now = os::monotonic_ms();
  for (Member* m = members_; m != members_ + kMostMembers; ++m) {
    if (m == me_) continue;
    uint64_t told = m->told_ms;
    if ((told == 0 || now - std::min(now, told) > kSilenceMs) &&
        m->told_ms.compare_exchange_strong(told, now)) {
      m->claim_bytes = claim_bytes;
      return m;
    }
  }
  return nullptr;
}

void Family::expect_child(uint64_t claim_bytes) {
  if (members_ != nullptr) child_ = join(claim_bytes);
}

void Family::be_child() {
  me_ = child_;
  child_ = nullptr;
}

void Family::tell(uint64_t claim_bytes) {
  if (me_ == nullptr) return;
  me_->claim_bytes = claim_bytes;
  me_->told_ms = os::monotonic_ms();
}

Family::Others Family::others() const {
  Others others;
  if (members_ == nullptr) return others;
  const uint64_t now = os::monotonic_ms();
  for (const Member* m = members_; m != members_ + kMostMembers; ++m) {
    const uint64_t told = m->told_ms;
    if (m == me_ || told == 0 || now - std::min(now, told) > kSilenceMs) continue;
    others.claimed_bytes += m->claim_bytes;
    ++others.count;
  }
  return others;
}

}  // namespace spillway
