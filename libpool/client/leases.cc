// leases.cc - what the program holds: objects it looks at, and references it counts.
#include <cstring>

#include "base/core/units.h"
#include "base/os/process.h"
#include "libpool/client/client.h"

namespace spillway::client {
namespace {

constexpr size_t kPendingBytes = 4 << 10;

void append_message(std::string& to, wire::Verb verb, uint64_t number, bool wide) {
  wire::Writer w(wire::kHeaderBytes);
  if (wide)
    w.number(number);
  else
    w.number(static_cast<uint32_t>(number));
  wire::finish_frame(w.data(), 0, static_cast<uint16_t>(verb), 0, 0);
  to += w.data();
}

}  // namespace

Failure State::get(spillway_ref ref, const std::string& name, uint64_t timeout_ms, wire::WhenFull when_full,
                   Lease*& lease) {
  SeenMark seen;
  if (name.empty()) {
    std::lock_guard lock(leases_mutex_);
    lease = pin_held(ref);
  } else if (const std::shared_ptr<Session> session = living_session()) {
    lease = held_by_name(*session, name, seen);
    if (lease == nullptr) lease = stored_by_name(*session, name);
  }
  if (lease != nullptr) return {};
  wire::Writer w(wire::kHeaderBytes);
  w.number(ref.id).number(ref.key).bytes(name);
  CallOptions options{.timeout_at = w.data().size()};
  w.number(timeout_ms).number(static_cast<uint8_t>(when_full));
  if (timeout_ms > 0) options.timeout_ms = timeout_ms;
  // A lease that nobody asks for any more is one that is held for the next time.
  options.late = [this](Session& session, wire::Channel&, Answer& late) {
    Lease* nobodys = nullptr;
    if (!lease_of(session, late, nobodys).bad()) unpin(nobodys);
  };
  Answer answer;
  Failure failure = call(wire::Verb::kGet, w, answer, options);
  if (failure.status == SPILLWAY_NOT_FOUND && name.empty()) {
    std::lock_guard lock(refs_mutex_);
    if (lost_.contains(ref.id)) return {SPILLWAY_LOST, "it was only in the memory of a daemon that ended"};
  }
  if (failure.bad()) return failure;
  // Should the daemon have ended meanwhile, its memory is ours as long as we map it.
  const auto session = std::static_pointer_cast<Session>(answer.session);
  failure = lease_of(*session, answer, lease);
  if (!failure.bad() && !name.empty() && lease->table) note_name(name, seen, *session, lease->ref);
  return failure;
}

// Neither taken back nor wanted back: what was erased must not be found here either.
Lease* State::pin_held(spillway_ref ref) {
  const auto found = by_id_.find(ref.id);
  if (found == by_id_.end() || found->second->ref.key != ref.key) return nullptr;
  Lease* const held = found->second;
  auto word = held->word();
  uint32_t seen = word.load(std::memory_order_relaxed);
  while (!(seen & (wire::kRevoked | wire::kWanted)))
    if (word.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire)) {
      std::atomic_ref(held->table->slot(held->slot)->used_ns)
          .store(os::clock_ns(), std::memory_order_relaxed);
      std::atomic_ref(held->table->slot(0)->used_ns).fetch_add(1, std::memory_order_relaxed);
      return held;
    }
  return nullptr;
}

Failure State::lease_of(Session& session, Answer& answer, Lease*& result) {
  wire::Reader r(answer.payload);
  auto lease = std::make_unique<Lease>();
  lease->ref.id = r.number<uint64_t>();
  lease->ref.key = r.number<uint64_t>();
  lease->version = r.number<uint64_t>();
  lease->bytes = r.number<uint64_t>();
  lease->tag = r.bytes(wire::kMaxTagBytes);
  const auto place = static_cast<wire::Place>(r.number<uint8_t>());
  lease->slot = r.number<uint32_t>();
  const uint32_t slab = r.number<uint32_t>();
  const uint64_t slab_bytes = r.number<uint64_t>();
  const uint64_t offset = r.number<uint64_t>();
  if (!r.ok()) return {SPILLWAY_UNAVAILABLE, "the daemon's answer cannot be decoded"};
  if (place == wire::Place::kEmpty) {
    result = lease.release();
    return {};
  }
  lease->table = session.table;
  lease->session = session.id;
  const auto give_up = [&](Errno e) {
    tell_released(session.id, lease->slot);
    return Failure{SPILLWAY_NO_MEMORY, std::string("mapping an object: ") + strerror(e.code())};
  };
  if (place == wire::Place::kSlab) {
    std::unique_lock lock(leases_mutex_);
    if (!answer.fds.empty()) {
      Result<os::Mapping> mapping = os::Mapping::read_only(answer.fds[0].get(), 0, slab_bytes);
      if (!mapping) return give_up(mapping.error());
      slabs_[slab] = std::make_shared<os::Mapping>(std::move(*mapping));
      slab_came_.notify_all();
    }
    // Another thread was given the descriptor, a moment ago.
    slab_came_.wait_for(lock, std::chrono::seconds(10), [&] { return slabs_.contains(slab); });
    const auto found = slabs_.find(slab);
    if (found == slabs_.end() || offset + lease->bytes > found->second->bytes()) return give_up(Errno(EBADF));
    lease->slab = found->second;
    lease->data = lease->slab->data() + offset;
  } else {
    if (answer.fds.empty()) return give_up(Errno(EMFILE));
    const uint64_t base = round_down(offset, kPageBytes);
    // A file that shrank would be a SIGBUS.
    if (const uint64_t there = os::length_of(answer.fds[0].get()); there < offset + lease->bytes) {
      tell_released(session.id, lease->slot);
      return {SPILLWAY_CORRUPT, "its file was truncated: of " + std::to_string(offset + lease->bytes) +
                                    " bytes, " + std::to_string(there) + " are there"};
    }
    Result<os::Mapping> mapping =
        os::Mapping::read_only(answer.fds[0].get(), base, offset - base + lease->bytes);
    if (!mapping) return give_up(mapping.error());
    lease->own = std::move(*mapping);
    lease->data = lease->own.data() + (offset - base);
  }
  std::vector<uint32_t> too_many;
  {
    std::lock_guard lock(leases_mutex_);
    if (session.dead) {  // its leases may have been forgotten already
      old_.insert(lease.get());
      result = lease.release();
      return {};
    }
    // Held already, by name or by another thread: one mapping is enough.
    if (Lease* const held = pin_held(lease->ref)) {
      result = held;
      too_many.push_back(lease->slot);
      lease.reset();
    }
    if (lease) {
      by_slot_[lease->slot] = lease.get();
      by_id_[lease->ref.id] = lease.get();
      if (by_slot_.size() > options_.cached_objects) trim_cache(too_many);
      result = lease.release();
    }
  }
  for (uint32_t slot : too_many)
    if (!let_go(session.id, slot)) tell_released(session.id, slot);
  return {};
}

// The least recently used of those that nobody pins, an eighth at a time.
void State::trim_cache(std::vector<uint32_t>& slots) {
  std::vector<std::pair<uint64_t, Lease*>> unpinned;
  for (auto& [slot, lease] : by_slot_)
    if (lease->word().load() == 0)
      unpinned.push_back({std::atomic_ref(lease->table->slot(slot)->used_ns).load(), lease});
  const size_t wanted = std::min(unpinned.size(), std::max<size_t>(1, options_.cached_objects / 8));
  std::partial_sort(unpinned.begin(), unpinned.begin() + static_cast<ptrdiff_t>(wanted), unpinned.end());
  for (size_t i = 0; i < wanted; ++i) {
    Lease* const lease = unpinned[i].second;
    uint32_t none = 0;
    if (!lease->word().compare_exchange_strong(none, wire::kRevoked)) continue;
    slots.push_back(lease->slot);
    by_slot_.erase(lease->slot);
    if (auto id = by_id_.find(lease->ref.id); id != by_id_.end() && id->second == lease) by_id_.erase(id);
    delete lease;
  }
}

void State::unpin(Lease* lease) {
  if (!lease->table) {
    delete lease;
    return;
  }
  // Not to be looked at after the last unpin: another thread may take it out.
  const uint32_t slot = lease->slot;
  const uint64_t session = lease->session;
  const std::shared_ptr<LeaseTable> table = lease->table;
  std::atomic_ref word(table->slot(slot)->word);
  const uint32_t before = word.fetch_sub(1, std::memory_order_acq_rel);
  if ((before & wire::kPinMask) != 1) return;
  const bool cached = options_.cached_objects > 1;
  if (cached && !(before & (wire::kWanted | wire::kRevoked))) {
    std::lock_guard lock(leases_mutex_);
    if (old_.empty() || !old_.contains(lease)) {
      // A second lease of the same object, of a thread that got it at the same time, is not kept.
      const auto mine = by_slot_.find(slot);
      if (mine == by_slot_.end() || mine->second != lease) return;
      const auto id = by_id_.find(lease->ref.id);
      if (id != by_id_.end() && id->second == lease) return;
    }
  }
  bool is_wanted = false;
  {
    std::lock_guard lock(leases_mutex_);
    if (old_.erase(lease)) {
      delete lease;
      return;
    }
    const auto found = by_slot_.find(slot);
    if (found == by_slot_.end() || found->second != lease) return;
    uint32_t seen = word.load();
    do
      if ((seen & wire::kPinMask) != 0 || (seen & wire::kRevoked))
        return;  // pinned again, or listen() does it
    while (!word.compare_exchange_weak(seen, wire::kRevoked));
    is_wanted = seen & wire::kWanted;
    by_slot_.erase(found);
    if (auto id = by_id_.find(lease->ref.id); id != by_id_.end() && id->second == lease) by_id_.erase(id);
    delete lease;
  }
  if (is_wanted || !let_go(session, slot)) tell_released(session, slot);
}

// Of the session that ended: what is pinned stays readable until it is unpinned.
void State::forget_leases() {
  forget_buffers();
  std::lock_guard lock(leases_mutex_);
  for (auto& [slot, lease] : by_slot_) {
    if ((lease->word().load() & wire::kPinMask) != 0)
      old_.insert(lease);
    else
      delete lease;
  }
  by_slot_.clear();
  by_id_.clear();
  slabs_.clear();
  names_session_ = 0;
  known_names_.clear();
}

// --- messages that need no answer
// -----------------------------------------------------------------------------------

void State::tell_released(uint64_t session_id, uint32_t slot) {
  // At once: somebody may be waiting for the room.
  std::shared_ptr<Session> session;
  {
    std::lock_guard lock(session_mutex_);
    if (!session_ || session_->id != session_id || session_->dead) return;
    session = session_;
  }
  std::string message;
  append_message(message, wire::Verb::kReleased, slot, false);
  std::lock_guard lock(refs_mutex_);
  pending_ += message;
  has_pending_ = urgent_ = true;
  os::wake(session->wakeup.get());
}

// Without a message: the daemon finds it in the ring when it wants the room. Waking a thread for it would
// take the processor from the program, and where all are busy that is for a time slice.
bool State::let_go(uint64_t session_id, uint32_t slot) {
  const std::shared_ptr<Session> session = living_session();
  if (!session || session->id != session_id || !announce(*session, {wire::kLetGo, 0, slot})) return false;
  std::lock_guard lock(refs_mutex_);
  if (!has_pending_.exchange(true) && !ticking_) os::wake(session->wakeup.get());
  return true;
}

void State::retain(spillway_ref ref) {
  std::lock_guard lock(refs_mutex_);
  Counted& counted = refs_[ref.id];
  counted.key = ref.key;
  ++counted.count;
}

void State::claimed(spillway_ref ref) {
  std::lock_guard lock(refs_mutex_);
  Counted& counted = refs_[ref.id];
  counted.key = ref.key;
  if (counted.count++ > 0) append_message(pending_, wire::Verb::kUnref, ref.id, true), has_pending_ = true;
}

Failure State::adopt(spillway_ref ref) {
  {
    std::lock_guard lock(refs_mutex_);
    const auto found = refs_.find(ref.id);
    if (found != refs_.end() && found->second.key == ref.key) {
      ++found->second.count;
      return {};
    }
  }
  wire::Writer w(wire::kHeaderBytes);
  w.number(ref.id).number(ref.key).bytes("");
  Answer answer;
  if (Failure f = call(wire::Verb::kRef, w, answer); f.bad()) {
    std::lock_guard lock(refs_mutex_);
    if (f.status == SPILLWAY_NOT_FOUND && lost_.contains(ref.id))
      return {SPILLWAY_LOST, "it was only in the memory of a daemon that ended"};
    return f;
  }
  std::lock_guard lock(refs_mutex_);
  Counted& counted = refs_[ref.id];
  counted.key = ref.key;
  // Two threads may have asked at once: the daemon counts both, and is told of one release.
  if (counted.count++ > 0) append_message(pending_, wire::Verb::kUnref, ref.id, true), has_pending_ = true;
  return {};
}

void State::release(spillway_ref ref) {
  std::shared_ptr<Session> session;
  {
    std::lock_guard lock(session_mutex_);
    session = session_;
  }
  {
    std::lock_guard lock(refs_mutex_);
    const auto found = refs_.find(ref.id);
    if (found == refs_.end() || found->second.key != ref.key) return;
    if (--found->second.count > 0) return;
    refs_.erase(found);
  }
  if (session && !session->dead) let_go_of_cached(*session, ref);
  const bool said = session && announce(*session, {wire::kNoReference, 0, ref.id});
  std::lock_guard lock(refs_mutex_);
  if (!said) append_message(pending_, wire::Verb::kUnref, ref.id, true);
  const bool first = !has_pending_.exchange(true);
  if (session && ((first && !ticking_) || pending_.size() > kPendingBytes)) os::wake(session->wakeup.get());
}

// What nobody looks at nor refers to is hardly got again; the daemon need not ask for it.
void State::let_go_of_cached(Session& session, spillway_ref ref) {
  std::unique_ptr<Lease> lease;  // declared first: it is unmapped after the lock
  std::lock_guard lock(leases_mutex_);
  const auto found = by_id_.find(ref.id);
  if (found == by_id_.end() || found->second->session != session.id) return;
  Lease* const cached = found->second;
  uint32_t none = 0;
  if (!cached->word().compare_exchange_strong(none, wire::kRevoked)) return;
  by_slot_.erase(cached->slot);
  by_id_.erase(found);
  lease.reset(cached);
  if (announce(session, {wire::kLetGo, 0, lease->slot})) return;
  std::lock_guard inner(refs_mutex_);
  append_message(pending_, wire::Verb::kReleased, lease->slot, false);
  has_pending_ = true;
}

}  // namespace spillway::client
