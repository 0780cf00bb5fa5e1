// store_announced.cc - objects that clients published without a message (wire/announce.h): slots leased, and
// what the rings say.
// Always: slots that are leased and not announced yet are charged as if they were full, so that an
// announcement never needs room. Nothing a client writes into its ring is believed: a slot is taken once, by
// whom it was leased to, for no more bytes than it has.
#include <atomic>
#include <cstring>

#include "base/os/clock.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {
namespace {

constexpr size_t kMostSlotLeases = 64;  // of one session; each is of another size

}  // namespace

Answer<const SlotLease*> Store::lease_slots(Client& client, uint64_t bytes) {
  if (bytes == 0 || bytes > wire::kMaxLeasedBytes || bytes > config_.max_object)
    return {{SPILLWAY_INVALID, "no slots of that size are leased"}};
  // Quotas and sealing want to see each object first; a full pool wants to choose whom to evict for it.
  if (config_.recycle == 0 || config_.client_limit != ~uint64_t{0})
    return {{SPILLWAY_UNSUPPORTED, "this pool leases no slots"}};
  if (client.slot_leases.size() >= kMostSlotLeases)
    return {{SPILLWAY_FULL, "this session has leased as many slots as it may"}};
  const uint64_t wanted = used_bytes() + Slabs::kLeaseBytes;
  const uint64_t limit = room_limit();
  buffers_.shrink_to(limit - std::min(limit, wanted));
  if (!queue_.empty() || used_bytes() + Slabs::kLeaseBytes > limit)
    return {{SPILLWAY_FULL, "there is no room to lease"}};
  Result<LeasedSlots> leased = slabs_.lease(client.id, bytes, {client.peer.uid, client.peer.gid, 0400});
  if (!leased)
    return {{SPILLWAY_NO_MEMORY, fmt::format("no memory for a slab: {}", strerror(leased.error().code()))}};
  const uint32_t number = ++client.last_slot_lease;
  SlotLease& lease = client.slot_leases[number];
  lease.number = number;
  lease.slab = leased->slab;
  lease.left = leased->offsets.size();
  for (const uint32_t offset : leased->offsets) lease.slots.push_back({reserve_id(), fresh_key(), offset});
  const uint64_t charge = lease.left * lease.slab->slot_bytes;
  charged_bytes_ += charge;
  small_bytes_ += charge;
  leased_bytes_ += charge;
  limit_idle();
  return {{}, &lease};
}

void Store::uncharge_leased(uint64_t bytes) {
  charged_bytes_ -= bytes;
  small_bytes_ -= bytes;
  leased_bytes_ -= bytes;
}

void Store::end_slot_leases(Client& client) {
  for (auto& [number, lease] : client.slot_leases) {
    for (const SlotLease::Slot& slot : lease.slots) {
      if (slot.id == 0) continue;
      free_indices_.push_back(static_cast<uint32_t>(slot.id));
      uncharge_leased(lease.slab->slot_bytes);
      slabs_.release({lease.slab, slot.offset});
    }
    slabs_.end_lease(*lease.slab);
  }
  client.slot_leases.clear();
  slabs_.close(client.id);
}

void Store::hear_all() {
  for (auto& [id, client] : clients_) hear(*client);
}

void Store::hear(Client& client) {
  if (!client.lease_mapping.valid() || client.hearing) return;
  auto& ring = *reinterpret_cast<wire::AnnounceRing*>(client.lease_mapping.data() + wire::kLeaseTableBytes);
  const uint64_t tail = std::atomic_ref(ring.tail).load(std::memory_order_acquire);
  if (tail == client.heard) return;
  if (tail - client.heard > wire::kRingEntries) return;  // nonsense
  client.hearing = true;  // publishing may evict, and that wants to hear everybody
  while (client.heard != tail) {
    const wire::Announcement entry = ring.entries[client.heard++ % wire::kRingEntries];
    switch (entry.lease) {
      case wire::kLargeWritten:
        seal(client, entry.value, [](Answer<Published>) {});
        break;
      case wire::kNoReference:
        unref(client, entry.value);
        break;
      case wire::kLetGo:
        released(client, static_cast<uint32_t>(entry.value));
        break;
      case wire::kUsed:
        if (Object* const used = object_by(entry.value); used != nullptr && may(client, *used, 04))
          policy_.touch(*used, os::clock_ns());
        break;
      default:
        take_announced(client, entry);
    }
  }
  client.hearing = false;
  std::atomic_ref(ring.head).store(client.heard, std::memory_order_release);
  pump_later();
}

void Store::take_announced(Client& client, const wire::Announcement& entry) {
  const auto found = client.slot_leases.find(entry.lease);
  if (found == client.slot_leases.end()) return;
  SlotLease& lease = found->second;
  Slab* const slab = lease.slab;
  if (entry.index >= lease.slots.size() || lease.slots[entry.index].id == 0 || entry.value == 0 ||
      entry.value > slab->slot_bytes)
    return;
  SlotLease::Slot& slot = lease.slots[entry.index];
  uncharge_leased(slab->slot_bytes);
  auto memory = make_ref<Memory>(*this);
  memory->set_place({slab, slot.offset});
  memory->charge = entry.value;
  charged_bytes_ += memory->charge;
  small_bytes_ += memory->charge;
  Object& object = make_object(client, {}, entry.value, slot.id, slot.key);
  object.memory = std::move(memory);
  object.state = wire::Residency::kResident;
  object.version = ++last_version_;
  policy_.insert(object);
  add_reference(client, object);
  ++client.puts;
  ++counters_.puts;
  slot.id = 0;
  if (--lease.left > 0) return;
  client.slot_leases.erase(found);
  slabs_.end_lease(*slab);
}

}  // namespace spillway::pool
