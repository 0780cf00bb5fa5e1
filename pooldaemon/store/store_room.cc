// store_room.cc - who gets memory, and who has to leave for it.
#include <algorithm>
#include <atomic>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {
namespace {

// What slabs hold beyond the objects in them that does not count: a daemon's own memory varies by as much.
constexpr uint64_t kSlabSlackBytes = 4 * kMiB;
// Of the table it shares with us what it touches, usually: the ring, and slots of a few hundred objects.
constexpr uint64_t kSessionBytes = 64 * kKiB;
// A client that does not let go of a mapping it was asked for within this time is taken for one that holds
// it.
constexpr uint64_t kPatienceMs = 2000;
constexpr uint64_t kRetryMs = 20;
// Above a limit that was lowered, when nobody waits for room.
constexpr uint64_t kMostRetryMs = 500;
// Long enough for a program that computes between two objects.
constexpr uint64_t kIdleBufferMs = 10'000;
// What takes about as long as answering a few requests: others wait meanwhile.
constexpr size_t kVictimsAtOnce = 256;

}  // namespace

uint64_t Store::used_bytes() const { return used_with(0, std::nullopt); }

// Were so many bytes more in use. A packed object takes new pages only when no slot of its size is free.
uint64_t Store::used_with(uint64_t bytes, const std::optional<AccessClass>& packed) const {
  const uint64_t growth = packed && !slabs_.has_room(bytes, *packed) ? wire::slot_bytes_for(bytes) : 0;
  const uint64_t slabs = slabs_.allocated_bytes() + growth;
  const uint64_t small = small_bytes_ + (packed ? bytes : 0);
  const uint64_t charged = charged_bytes_ + freeing_bytes_ + bytes;
  const uint64_t slack = config_.total_limit == Config::kNone ? kSlabSlackBytes : 0;
  return charged + (slabs > small + slack ? slabs - small - slack : 0);
}

// What objects may take: all that was set, or what daemon and sessions leave of the limit for everything.
uint64_t Store::room_limit() const {
  if (config_.total_limit == Config::kNone) return config_.memory_limit;
  const uint64_t own = own_.bytes(config_.io_threads) + clients_.size() * kSessionBytes;
  return std::min(config_.memory_limit, config_.total_limit - std::min(own, config_.total_limit - kMiB));
}

// Room that comes back without anybody's decision.
uint64_t Store::leaving_bytes() const {
  uint64_t sum = departing_bytes_ + freeing_bytes_;
  const uint64_t now = os::monotonic_ms();
  for (const auto& [memory, leaving] : leaving_)
    if (!leaving.pinned && now - leaving.since_ms < kPatienceMs) sum += memory->charge;
  return sum;
}

// The kernel gives the lowest number that is free. The others are for connections and for files while they
// are read and written.
bool Store::few_descriptors_are_left(int last) const {
  constexpr uint64_t kSpare = 16;
  return static_cast<uint64_t>(last) + kSpare >= descriptor_limit_;
}

bool Store::is_pinned(const Object& object) const { return pins_of(object) > 0; }

void Store::ask_room(RoomRequest request, uint64_t timeout_ms) {
  if (request.bytes > room_limit()) return request.answer(Room::kDisk, nullptr, {});
  queue_.push_back(std::move(request));
  RoomRequest& queued = queue_.back();
  if (queued.when_full == wire::WhenFull::kWait && timeout_ms != wire::kForever) {
    queued.timer = timers_.add(os::monotonic_ms() + timeout_ms, [this, &queued] {
      queued.timer.reset();
      auto answer = std::move(queued.answer);
      const Failure failure = full_failure(queued.bytes, SPILLWAY_FULL);
      queued.abandoned = true;
      answer(Room::kRefused, nullptr, failure);
      pump_later();
    });
  }
  pump();
}

void Store::pump_later() {
  // Usually nobody waits, and there is nothing to do.
  if (pump_posted_ || closing_ ||
      (queue_.empty() && config_.high_watermark >= 100 && used_bytes() <= room_limit()))
    return;
  pump_soon();
}

void Store::pump_soon() {
  if (pump_posted_ || closing_) return;
  pump_posted_ = true;
  post_([this] {
    pump_posted_ = false;
    pump();
  });
}

void Store::pump() {
  if (!gives_room_) return;
  if (pumping_) {
    pump_again_ = true;
    return;
  }
  pumping_ = true;
  do {
    pump_again_ = false;
    pump_once();
  } while (pump_again_);
  pumping_ = false;
  // Nobody tells of a last unpin as long as the object is not asked back.
  const bool over = used_bytes() > room_limit();
  if (!over) over_looks_ = 0;
  if ((!queue_.empty() || over) && !retry_) {
    const uint64_t pause_ms =
        queue_.empty() ? std::min(kRetryMs << std::min(over_looks_++, 6u), kMostRetryMs) : kRetryMs;
    retry_ = timers_.add(os::monotonic_ms() + pause_ms, [this] {
      retry_.reset();
      pump();
    });
  }
}

void Store::pump_once() {
  while (!queue_.empty()) {
    RoomRequest& first = queue_.front();
    Fit fit = Fit::kNot;
    if (!first.abandoned) {
      // Its own buffer has memory already; the others that nobody uses give way.
      if (first.buffered && !first.buffer) first.buffer = buffers_.take(first.client, first.bytes);
      fit = make_room(first.bytes, first.packed);
      // Those behind it that do not want to wait need not: they get their answer when this one has its.
      if (fit == Fit::kSoon) return;
      if (fit == Fit::kNot && first.when_full == wire::WhenFull::kWait) break;
    }
    RoomRequest request = std::move(first);
    queue_.pop_front();
    answer_room(std::move(request), fit);
  }
  // The first waits for somebody to let go. The others that would not wait are answered.
  for (auto at = queue_.begin(); at != queue_.end();) {
    if (at->abandoned || at->when_full == wire::WhenFull::kWait) {
      ++at;
      continue;
    }
    RoomRequest request = std::move(*at);
    at = queue_.erase(at);
    answer_room(std::move(request), Fit::kNot);
  }
  // The limit was lowered.
  if (queue_.empty() && used_bytes() > room_limit()) (void)make_room(0, std::nullopt);
  // Ahead of need, where that is wanted.
  const uint64_t limit = room_limit();
  const uint64_t high = limit / 100 * config_.high_watermark;
  if (config_.high_watermark < 100 && queue_.empty() &&
      used_bytes() - std::min(used_bytes(), departing_bytes_) > high)
    (void)make_room(limit - limit / 100 * config_.low_watermark, std::nullopt);
}

void Store::answer_room(RoomRequest request, Fit fit) {
  if (request.timer) timers_.cancel(*request.timer);
  if (fit == Fit::kNow && !request.abandoned) {
    Ref<Memory> memory = grant(request);
    return request.answer(Room::kMemory, std::move(memory), {});
  }
  if (request.buffer) buffers_.give_back(std::move(request.buffer), os::monotonic_ms());
  if (request.abandoned) return;
  if (request.when_full == wire::WhenFull::kSpill) return request.answer(Room::kDisk, nullptr, {});
  request.answer(Room::kRefused, nullptr, full_failure(request.bytes, SPILLWAY_FULL));
}

// There is room for it.
Ref<Memory> Store::grant(RoomRequest& request) {
  auto memory = make_ref<Memory>(*this);
  if (request.buffer) memory->take(std::move(request.buffer));
  memory->charge = request.bytes;
  charged_bytes_ += request.bytes;
  limit_idle();
  return memory;
}

// Memory that is kept for the next object is neither beyond the limit nor kept for long.
void Store::limit_idle() {
  if (buffers_.idle_bytes() == 0) return;
  const uint64_t used = used_bytes();
  const uint64_t limit = room_limit();
  const uint64_t free = limit > used ? limit - used : 0;
  buffers_.shrink_to(std::min(free, limit / 100 * config_.recycle));
  if (buffers_.idle_bytes() == 0 || idle_look_) return;
  idle_look_ = timers_.add(os::monotonic_ms() + kIdleBufferMs, [this] {
    idle_look_.reset();
    buffers_.drop_idle_since(os::monotonic_ms() - kIdleBufferMs);
    limit_idle();
  });
}

// Starts what makes room for so many bytes. kSoon: this is called again when some has come.
Store::Fit Store::make_room(uint64_t bytes, const std::optional<AccessClass>& packed) {
  const uint64_t limit = room_limit(), wanted = used_with(bytes, packed);
  buffers_.shrink_to(limit - std::min(limit, wanted));
  const auto lacking = [&] {
    const uint64_t used = used_with(bytes, packed);
    return used > limit && used > limit + leaving_bytes();
  };
  if (lacking()) {
    hear_all();
    refresh_uses();
  }
  const uint64_t now = os::monotonic_ms();
  size_t evicted = 0;
  while (lacking()) {
    if (evicted >= kVictimsAtOnce) {
      pump_soon();
      return Fit::kSoon;
    }
    // Victims are found first and evicted after: evicting changes the lists. Enough for what is lacking, no
    // more.
    std::vector<Object*> victims;
    uint64_t found = 0;
    const uint64_t want = used_with(bytes, packed) - limit - leaving_bytes();
    policy_.each_victim([&](Object& object) {
      if (is_pinned(object)) return true;
      if (!object.disk && object.hint != wire::Hint::kRecomputable)
        if (auto failed = no_spill_until_.find(object.id); failed != no_spill_until_.end()) {
          if (failed->second > now) return true;
          no_spill_until_.erase(failed);
        }
      victims.push_back(&object);
      found += object.memory->charge;
      return found < want && evicted + victims.size() < kVictimsAtOnce;
    });
    evicted += victims.size();
    if (victims.empty()) break;
    std::vector<SmallWrite> small;
    for (Object* victim : victims) (void)evict(*victim, small);
    if (!small.empty()) write_small(std::move(small), false);
  }
  if (used_with(bytes, packed) <= limit) return Fit::kNow;
  return leaving_bytes() > 0 ? Fit::kSoon : Fit::kNot;
}

// Out of memory, now or when its copy is written. False: somebody pinned it first.
bool Store::evict(Object& object, std::vector<SmallWrite>& small) {
  if (object.hint == wire::Hint::kRecomputable && !object.disk) {
    const uint64_t id = object.id;
    if (!drop_memory(object)) return false;
    ++counters_.destroyed_on_evict;
    if (Object* const o = object_by(id)) {
      o->evicted = true;
      o->state = wire::Residency::kDeleted;
    }
    return true;
  }
  if (object.disk) {
    if (!drop_memory(object)) return false;
    object.state = wire::Residency::kSpilled;
    ++counters_.free_evictions;
    return true;
  }
  object.moving = true;
  departing_bytes_ += object.memory->charge;
  policy_.remove(object);
  if (object.spilling) return true;  // a copy is being written already
  if (is_for_small_store(object)) {
    object.spilling = true;
    object.state = wire::Residency::kSpilling;
    small.push_back({object.id});
    return true;
  }
  write_own_file(object, {}, nullptr);
  return true;
}

// The object lets go of its memory; clients that only keep it cached are told to. False: it is pinned.
bool Store::drop_memory(Object& object) {
  if (!object.memory) return true;
  if (is_pinned(object)) return false;
  while (object.leases != nullptr) detach_lease(*object.leases, true);
  policy_.remove(object);
  let_leave(object);
  return true;
}

void Store::let_leave(Object& object) {
  hide(object);
  if (object.memory.shared()) leaving_[object.memory.get()].since_ms = os::monotonic_ms();
  object.memory.reset();
}

// The object does not know of this lease any more. `ask`: nor shall its client, as soon as it can; its bytes
// stay until it says so. Otherwise the client is gone, and the lease with it.
void Store::detach_lease(Lease& lease, bool ask) {
  if (lease.object != nullptr) {
    Lease** link = &lease.object->leases;
    while (*link != &lease) link = &(*link)->next;
    *link = lease.next;
    lease.object = nullptr;
  }
  if (!ask) return;
  // One of the two is so, whoever is quicker: it was not pinned and is taken back, or its last unpin tells
  // us.
  std::atomic_ref word(lease.client->slot(lease.slot)->word);
  uint32_t seen = word.load(std::memory_order_acquire);
  for (int tries = 0; tries < 1000; ++tries) {  // a client that plays with the word gets no more than that
    const uint32_t pins = seen & wire::kPinMask;
    if (word.compare_exchange_weak(seen, pins == 0 ? wire::kRevoked : seen | wire::kWanted)) {
      if (pins > 0 && lease.memory) leaving_[lease.memory.get()] = {os::monotonic_ms(), true};
      if (pins > 0) return;
      break;
    }
  }
  ++counters_.revokes;
  if (lease.memory && lease.memory->used_again()) lease.memory.reset();
  wire::Writer w;
  w.number(lease.slot);
  lease.client->tell(wire::Verb::kRevoke, w.take());
}

void Store::released(Client& client, uint32_t slot) {
  const auto found = client.leases.find(slot);
  if (found == client.leases.end()) return;
  detach_lease(*found->second, false);
  std::unique_ptr<Lease> lease = std::move(found->second);
  client.leases.erase(found);
  client.free_slots.push_back(slot);
  lease.reset();
  pump_later();
}

// Gets that cost no message are in the clients' tables.
void Store::refresh_uses() {
  std::vector<std::pair<uint64_t, Object*>> used;
  for (auto& [id, client] : clients_) {
    const uint64_t gets = std::atomic_ref(client->slot(0)->used_ns).load(std::memory_order_relaxed);
    if (gets == client->seen_gets) continue;
    client->seen_gets = gets;
    const uint64_t now = os::clock_ns();
    client->seen_uses.resize(client->next_slot);
    for (uint32_t slot = 1; slot < client->next_slot; ++slot) {  // two arrays, from one end to the other
      const uint64_t at = std::atomic_ref(client->slot(slot)->used_ns).load(std::memory_order_relaxed);
      if (at == client->seen_uses[slot] || at > now) continue;
      client->seen_uses[slot] = at;
      const auto lease = client->leases.find(slot);
      if (lease == client->leases.end() || lease->second->object == nullptr) continue;
      Object* const object = lease->second->object;
      if (at > object->used_ns) used.push_back({at, object});
    }
  }
  std::sort(used.begin(), used.end());
  for (const auto& [at, object] : used) policy_.touch(*object, at);
}

// Who is in the way, in words.
Failure Store::full_failure(uint64_t bytes, spillway_status status) {
  ++counters_.full_answers;
  const uint64_t now = os::monotonic_ms();
  std::string what = fmt::format("no room for {} in a pool of {}: {} are in use", size_text(bytes),
                                 size_text(room_limit()), size_text(used_bytes()));
  struct Share {
    uint64_t pinned = 0, creating = 0;
    unsigned objects = 0;
  };
  std::vector<std::pair<const Client*, Share>> shares;
  for (const auto& [id, client] : clients_) {
    Share share;
    for (const auto& [slot, lease] : client->leases) {
      const uint32_t word = std::atomic_ref(client->slot(slot)->word).load(std::memory_order_acquire);
      const auto leaving = leaving_.find(lease->memory.get());
      const bool stuck = (word & wire::kRevoked) && leaving != leaving_.end() &&
                         now - leaving->second.since_ms > kPatienceMs;
      if (!lease->memory || ((word & wire::kPinMask) == 0 && !stuck)) continue;
      share.pinned += lease->memory->charge;
      ++share.objects;
    }
    for (uint64_t made : client->creating)
      if (const Object* const o = object_by(made); o != nullptr && o->memory)
        share.creating += o->memory->charge;
    if (share.pinned + share.creating > 0) shares.push_back({client.get(), share});
  }
  std::sort(shares.begin(), shares.end(), [](const auto& a, const auto& b) {
    return a.second.pinned + a.second.creating > b.second.pinned + b.second.creating;
  });
  for (size_t i = 0; i < shares.size() && i < 5; ++i) {
    const auto& [client, share] = shares[i];
    what += fmt::format("; process {} ({})", client->peer.pid, client->program);
    if (share.pinned)
      what += fmt::format(" pins {} in {} object{}", size_text(share.pinned), share.objects,
                          share.objects == 1 ? "" : "s");
    if (share.creating)
      what += fmt::format("{} is creating {}", share.pinned ? " and" : "", size_text(share.creating));
  }
  uint64_t kept = 0;
  policy_.each_victim([&](Object& object) {
    if (object.kept_resident() > 0) kept += object.memory->charge;
    return true;
  });
  if (kept > 0) what += fmt::format("; {} are pinned by keep_resident", size_text(kept));
  if (!last_spill_error_.empty() && now - last_spill_error_ms_ < 2 * kSpillAgainMs) {
    what += "; spilling fails: " + last_spill_error_;
    status = last_spill_status_;
  }
  full_line_.say("reason=" + quoted(what));
  return {status, what};
}

}  // namespace spillway::pool
