// policy.h - in which order objects leave memory.
//
//   lru             least recently used first
//   mru             most recently used first: for loops over more than memory
//   scan-resistant  segmented LRU: what was used once leaves before what was used twice, so that one pass
//   over
//                   everything does not push out what is used all the time; the second segment is at most 80
//                   % of the bytes listed
// Hints come before the policy: first-to-go, then the others, then keep.
//
// Always: each list is in the order of used_ns, oldest in front. Uses are told late (clients do not send a
// message for a get of what they hold), but with their time, so that the order is exact whenever it is asked
// for. Threads: one.
#pragma once
#include <array>
#include <optional>
#include <string_view>

#include "pooldaemon/store/object.h"

namespace spillway::pool {

enum class PolicyKind : uint8_t { kLru, kMru, kScanResistant };
std::optional<PolicyKind> parse_policy(std::string_view text);
const char* policy_name(PolicyKind kind);

class Policy {
 public:
  explicit Policy(PolicyKind kind) : kind_(kind) {}
  PolicyKind kind() const { return kind_; }
  void set_kind(PolicyKind kind) { kind_ = kind; }

  void insert(Object& object);  // it is in memory now, used at object.used_ns
  void remove(Object& object);  // no longer; fine when it is not listed
  void touch(Object& object, uint64_t now_ns);
  void set_hint(Object& object, wire::Hint hint);

  // Visits in the order in which objects should leave; `visit` returns false to stop and may not change the
  // lists.
  template <typename Visit>
  void each_victim(Visit&& visit);

 private:
  enum Segment : unsigned { kFirst, kProbation, kProtected, kKeep, kSegments };
  unsigned segment_of(const Object& object) const;
  void place(Object& object);
  void limit_protected();

  PolicyKind kind_;
  std::array<IntrusiveList<Object>, kSegments> lists_;
  uint64_t bytes_ = 0, protected_bytes_ = 0;
};

template <typename Visit>
void Policy::each_victim(Visit&& visit) {
  for (IntrusiveList<Object>& list : lists_) {
    if (kind_ == PolicyKind::kMru) {
      for (Object* o = list.back(); o != nullptr; o = list.before(o))
        if (!visit(*o)) return;
    } else {
      for (Object* o = list.front(); o != nullptr; o = list.after(o))
        if (!visit(*o)) return;
    }
  }
}

}  // namespace spillway::pool
