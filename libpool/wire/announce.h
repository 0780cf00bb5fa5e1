// announce.h - how a client publishes and lets go without a message: it writes small objects into slots that
// were leased to it beforehand, under ids that came with them, and says so in a ring that it shares with the
// daemon.
//
// Why nobody can be too early: the daemon reads a session's ring before it does anything that session asks
// for, and everybody's before it says "no such object" or counts or evicts; so what was announced before a
// message was sent is there when the message is looked at. It need not be woken for it. References and
// leases that were let go of are said in the ring, too; a message without content follows soon, for others
// may wait for the room.
//
// Always: only the client moves `tail`, only the daemon moves `head`; tail - head <= kRingEntries, or the
// client is broken and what it says there is not read any more.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

#include "libpool/wire/message.h"

namespace spillway::wire {

struct Announcement {
  uint32_t lease;  // of slots; or one of those below
  uint32_t index;  // of the slot in the lease
  uint64_t value;  // bytes in it
};
inline constexpr uint32_t kLargeWritten = 0;            // value: id of the object
inline constexpr uint32_t kNoReference = ~uint32_t{0};  // value: id; the session's last reference has gone
inline constexpr uint32_t kLetGo = kNoReference - 1;    // value: slot in the table of leases
inline constexpr uint32_t kUsed = kNoReference - 2;     // value: id; it was read by its name without asking
// Uses are told only while so little waits in the ring: they are hints, and the daemon's next request pays.
inline constexpr uint64_t kMostUsesWaiting = 64;

inline constexpr uint64_t kRingEntries = 2048;
struct AnnounceRing {
  alignas(64) uint64_t tail;  // all through std::atomic_ref
  alignas(64) uint64_t head;
  alignas(64) Announcement entries[kRingEntries];
};

// What a session and its daemon map: the table of leases, then the ring.
inline constexpr uint32_t kSharedBytes = kLeaseTableBytes + sizeof(AnnounceRing);
static_assert(sizeof(Announcement) == 16 && kLeaseTableBytes % 4096 == 0);

// Larger ones cross the socket: copying is what they cost then, not the message.
inline constexpr uint64_t kMaxLeasedBytes = 32u << 10;

// The slot that an object of so many bytes lies in: whole cache lines, for objects are used in place, and
// eight sizes for each doubling.
constexpr uint32_t slot_bytes_for(uint64_t bytes) {
  constexpr uint64_t kLine = 64;
  const uint64_t step = bytes <= 512 ? kLine : std::bit_floor(bytes - 1) / 8;
  return static_cast<uint32_t>((std::max<uint64_t>(bytes, 1) + step - 1) / step * step);
}

}  // namespace spillway::wire
