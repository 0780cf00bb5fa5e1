// message.h - what client and daemon say to each other: the fixed header, the verbs, the limits.
// docs/wire_protocol.md has the grammar of every message and the reasons.
//
// Always: numbers are little-endian; a frame is a header and `payload_bytes` after it; a reply carries the
// request id of its request; descriptors travel with the first byte of the frame they belong to.
#pragma once
#include <cstdint>

namespace spillway::wire {

inline constexpr uint32_t kMagic = 0x314c5053;  // "SPL1": the last byte is the protocol's version
inline constexpr uint32_t kHeaderBytes = 24;
// A whole small object and what is said about it.
inline constexpr uint32_t kMaxPayloadBytes = (1u << 20) + (64u << 10);
inline constexpr uint32_t kMaxNameBytes = 1024;
inline constexpr uint32_t kMaxTagBytes = 4096;
inline constexpr uint32_t kMaxPathBytes = 4095;
inline constexpr uint64_t kMaxObjectBytes = uint64_t{1} << 46;

// Slabs and buffers are numbered apart.
inline constexpr uint32_t kBufferBit = 1u << 31;

// Objects below this size are packed with others and cross the socket whole; from it on each has a memfd.
inline constexpr uint64_t kLargeBytes = uint64_t{1} << 20;

enum class Verb : uint16_t {
  kHello = 1,
  kAttach,
  kPut,
  kCreate,
  kSeal,
  kAbort,
  kGet,
  kReleased,  // no reply
  kUnref,     // no reply
  kRef,
  kErase,
  kStat,
  kList,
  kWatch,
  kUnwatch,
  kToDisk,
  kLoad,
  kPin,
  kRetain,
  kRestore,
  kHint,
  kCleanup,
  kIssue,
  kClaim,
  kCellNew,
  kCellPut,
  kCellGet,
  kDevices,
  kStats,
  kClients,
  kConfig,
  kDrain,
  kStop,
  kOnDestroy,
  kTag,
  kLeaseSlots,
  // The daemon speaks first, on the session's second connection.
  kRevoke = 0x8001,
  kSlabGone,
  kChanged,
  kDestroyed,
};

struct Header {
  uint32_t magic = kMagic;
  uint32_t payload_bytes = 0;
  uint64_t request = 0;
  uint16_t verb = 0;
  uint16_t status = 0;  // replies: spillway_status
  uint32_t fds = 0;     // descriptors that came with this frame
};
static_assert(sizeof(Header) == kHeaderBytes);

// What a full pool does with a request.
enum class WhenFull : uint8_t { kSpill = 0, kWait = 1, kFail = 2 };
enum class Hint : uint8_t { kNormal = 0, kKeep = 1, kFirstToGo = 2, kRecomputable = 3 };
enum class Residency : uint8_t {
  kCreating = 0,
  kResident,
  kSpilling,
  kBoth,
  kSpilled,
  kLoading,
  kFailed,
  kDeleted
};
enum class Place : uint8_t { kMemory = 0, kSlab = 1, kFile = 2, kEmpty = 3 };
inline constexpr uint64_t kForever = ~uint64_t{0};

// One held object in the table that a session and the daemon share. The client counts its pins in `word`; the
// daemon takes a lease back by setting kRevoked where there is none, and from then on the client may not look
// at the object through it. kWanted: tell us when the last pin goes.
inline constexpr uint32_t kRevoked = 1u << 31;
inline constexpr uint32_t kWanted = 1u << 30;
inline constexpr uint32_t kPinMask = kWanted - 1;
struct LeaseSlot {
  uint32_t word;  // through std::atomic_ref
  uint32_t unused;
  uint64_t used_ns;  // os::clock_ns() of the last get; what the policy goes by
};
inline constexpr uint32_t kLeaseSlots = 65536;
// Slot 0 is no lease: its used_ns counts gets, so that the daemon need not look at a table where nothing
// moved.
inline constexpr uint32_t kLeaseTableBytes = kLeaseSlots * sizeof(LeaseSlot);

}  // namespace spillway::wire
