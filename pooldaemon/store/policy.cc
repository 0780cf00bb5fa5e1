#include "pooldaemon/store/policy.h"

namespace spillway::pool {

std::optional<PolicyKind> parse_policy(std::string_view text) {
  for (PolicyKind kind : {PolicyKind::kLru, PolicyKind::kMru, PolicyKind::kScanResistant})
    if (text == policy_name(kind)) return kind;
  return std::nullopt;
}

const char* policy_name(PolicyKind kind) {
  switch (kind) {
    case PolicyKind::kLru:
      return "lru";
    case PolicyKind::kMru:
      return "mru";
    case PolicyKind::kScanResistant:
      return "scan-resistant";
  }
  return "?";
}

unsigned Policy::segment_of(const Object& object) const {
  if (object.hint == wire::Hint::kFirstToGo) return kFirst;
  if (object.hint == wire::Hint::kKeep) return kKeep;
  return object.protected_ ? kProtected : kProbation;
}

// Where its time belongs. Uses are told in order but for a few, so the walk from the back is short.
void Policy::place(Object& object) {
  IntrusiveList<Object>& list = lists_[segment_of(object)];
  Object* after = list.back();
  while (after != nullptr && after->used_ns > object.used_ns) after = list.before(after);
  if (after == nullptr)
    list.push_front(object);
  else
    list.insert_after(object, *after);
}

void Policy::insert(Object& object) {
  CHECK(!object.listed, "an object that is listed already");
  object.listed = true;
  object.protected_ = false;
  bytes_ += object.bytes;
  place(object);
}

void Policy::remove(Object& object) {
  if (!object.listed) return;
  lists_[segment_of(object)].remove(object);
  bytes_ -= object.bytes;
  if (object.protected_) protected_bytes_ -= object.bytes;
  object.protected_ = false;
  object.listed = false;
}

void Policy::touch(Object& object, uint64_t now_ns) {
  if (!object.listed) {
    object.used_ns = std::max(object.used_ns, now_ns);
    return;
  }
  if (now_ns <= object.used_ns) return;
  lists_[segment_of(object)].remove(object);
  object.used_ns = now_ns;
  if (kind_ == PolicyKind::kScanResistant && !object.protected_) {
    object.protected_ = true;
    protected_bytes_ += object.bytes;
  }
  place(object);
  limit_protected();
}

// What was protected longest ago goes back to probation, as if it had been used once, just now.
void Policy::limit_protected() {
  while (protected_bytes_ > bytes_ / 5 * 4) {
    Object* const oldest = lists_[kProtected].front();
    if (oldest == nullptr || lists_[kProtected].after(oldest) == nullptr) return;
    lists_[kProtected].remove(*oldest);
    oldest->protected_ = false;
    protected_bytes_ -= oldest->bytes;
    lists_[kProbation].push_back(*oldest);
    if (Object* const before = lists_[kProbation].before(oldest))
      oldest->used_ns = std::max(oldest->used_ns, before->used_ns);
  }
}

void Policy::set_hint(Object& object, wire::Hint hint) {
  if (!object.listed) {
    object.hint = hint;
    return;
  }
  lists_[segment_of(object)].remove(object);
  object.hint = hint;
  place(object);
}

}  // namespace spillway::pool
