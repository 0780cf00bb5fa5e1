// small_puts.cc - put of a small object without a message: a copy into a leased slot and an entry in the ring
// (wire/announce.h). The first few of a size go the usual way; then slots are leased, some hundred at a time.
#include <cstring>

#include "libpool/client/client.h"
#include "libpool/wire/announce.h"

namespace spillway::client {
namespace {

constexpr unsigned kPutsAfterRefusal = 256;  // the pool is full, or does not lease

}  // namespace

wire::AnnounceRing* State::ring_of(const Session& session) {
  return reinterpret_cast<wire::AnnounceRing*>(session.table->mapping.data() + wire::kLeaseTableBytes);
}

// False: the ring is full; a message makes the daemon read it.
bool State::announce(const Session& session, const wire::Announcement& entry) {
  std::lock_guard lock(ring_mutex_);
  wire::AnnounceRing& ring = *ring_of(session);
  const uint64_t tail = std::atomic_ref(ring.tail).load(std::memory_order_relaxed);
  if (tail - std::atomic_ref(ring.head).load(std::memory_order_acquire) >= wire::kRingEntries) return false;
  ring.entries[tail % wire::kRingEntries] = entry;
  std::atomic_ref(ring.tail).store(tail + 1, std::memory_order_release);
  return true;
}

std::shared_ptr<State::Session> State::living_session() {
  std::lock_guard lock(session_mutex_);
  return session_ && !session_->dead.load(std::memory_order_acquire) ? session_ : nullptr;
}

bool State::put_small(const void* data, uint64_t bytes, spillway_ref& ref) {
  if (bytes == 0 || bytes > wire::kMaxLeasedBytes) return false;
  const std::shared_ptr<Session> session = living_session();
  if (!session) return false;
  std::lock_guard lock(small_mutex_);
  SmallLease& lease = small_leases_[wire::slot_bytes_for(bytes)];
  if (lease.session != session->id) lease = {.session = session->id};
  if (lease.next == lease.slots.size()) {
    if (lease.puts_to_come > 0) return --lease.puts_to_come, false;
    if (!lease_slots(*session, bytes, lease)) {
      lease.puts_to_come = kPutsAfterRefusal;
      return false;
    }
  }
  const SmallSlot& slot = lease.slots[lease.next];
  memcpy(lease.slab->mapping.data() + slot.offset, data, bytes);
  if (!announce(*session, {lease.number, static_cast<uint32_t>(lease.next), bytes})) return false;
  ++lease.next;
  ref = slot.ref;
  retain(ref);
  return true;
}

bool State::lease_slots(Session& session, uint64_t bytes, SmallLease& lease) {
  wire::Writer w(wire::kHeaderBytes);
  w.number(static_cast<uint32_t>(bytes));
  Answer answer;
  if (call(wire::Verb::kLeaseSlots, w, answer, false).bad()) return false;
  if (const auto now = living_session(); !now || now->id != session.id) return false;  // another answered
  wire::Reader r(answer.payload);
  SmallLease fresh{.session = session.id};
  fresh.number = r.number<uint32_t>();
  const uint32_t slab = r.number<uint32_t>();
  const uint64_t slab_bytes = r.number<uint64_t>();
  const uint32_t slot_bytes = r.number<uint32_t>(), count = r.number<uint32_t>();
  for (uint32_t i = 0; i < count && r.ok(); ++i) {
    SmallSlot slot;
    slot.ref.id = r.number<uint64_t>();
    slot.ref.key = r.number<uint64_t>();
    slot.offset = r.number<uint32_t>();
    if (uint64_t{slot.offset} + slot_bytes > slab_bytes) return false;
    fresh.slots.push_back(slot);
  }
  if (!r.complete() || slot_bytes < bytes || answer.fds.empty()) return false;
  Result<std::shared_ptr<WriteBuffer>> mapping =
      open_buffer(slab, answer.fds[0], slab_bytes, slab_bytes, slab_bytes);
  if (!mapping) return false;
  fresh.slab = std::move(*mapping);
  lease = std::move(fresh);
  return lease.next < lease.slots.size();
}

// A large object in a buffer is written, and nobody needs to know its version. False: say it in a message.
bool State::publish_large(uint64_t session_id, uint64_t id) {
  const std::shared_ptr<Session> session = living_session();
  return session && session->id == session_id && announce(*session, {wire::kLargeWritten, 0, id});
}

uint64_t State::session_id() {
  const std::shared_ptr<Session> session = living_session();
  return session ? session->id : 0;
}

}  // namespace spillway::client
