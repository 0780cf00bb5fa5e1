// ring.h - how processes hand their writes to the one that writes: slots in a file that they share.
//
// A slot is for one write at a time, and belongs to the process that has locked its number in the file (the
// kernel unlocks it when that process dies, in whatever way). It goes round:
//
//   kFree -> (client fills it) kSubmitted -> (writer) kTaken -> [kMade ->] kDone -> (client has read it)
//   kFree
//
// A write that does not fit goes in pieces, each a round of its own; the writer begins when it has the last.
// kMade: it is in the store, and waits for the device.
//
// What a death leaves behind: a slot of a dead client is taken over by the next that locks it; what was
// submitted is made, or withdrawn. When the writer dies, kSubmitted was not begun and the client submits it
// to the next writer; kMade is in the store; kTaken may or may not be, and the client says so.
//
// Always: a ring has one writer, and is never used again by another. Threads: any.
#pragma once
#include <atomic>
#include <memory>
#include <string>

#include "libpool/segstore/control.h"
#include "libpool/segstore/locking_fd.h"

namespace spillway::segstore {

enum class SlotState : uint32_t { kFree, kSubmitted, kTaken, kMade, kDone };

struct alignas(64) RingSlot {
  std::atomic<SlotState> state;  // waited on
  uint32_t bytes;                // of this piece
  uint32_t is_first, is_last;
  // The answer.
  uint32_t code;  // StoreCode
  int32_t os_error;
  uint64_t sequence;
  uint32_t message_bytes;
  char message[476];
};
static_assert(sizeof(RingSlot) == 512);

inline constexpr uint32_t kRingSlots = 128;
inline constexpr uint64_t kPieceBytes = 64 * kKiB;

enum RingEnd : uint32_t { kServes, kEnding, kEnded };  // kEnding: takes nothing any more

struct RingHeader {
  std::atomic<uint32_t> bell;                                    // changes with each submission; waited on
  std::atomic<uint32_t> is_asleep;                               // the writer must be woken
  std::atomic<uint32_t> end;                                     // RingEnd
  alignas(64) std::atomic<uint64_t> submitted[kRingSlots / 64];  // hints: look at these slots
};

class Ring {
 public:
  Ring() = default;
  Ring(Ring&& other) noexcept { *this = std::move(other); }
  Ring& operator=(Ring&& other) noexcept;
  ~Ring();

  // A new file; `path` is where it is. Belongs to the user alone.
  static Result<Ring> create(int directory, const std::string& index_directory, const std::string& store_path,
                             std::string& path);
  static Result<Ring> attach(int directory, const std::string& path);

  bool is_open() const { return !range_.empty(); }
  RingHeader& header() const { return *reinterpret_cast<RingHeader*>(range_.base + kPageBytes); }
  RingSlot& slot(uint32_t number) const {
    return reinterpret_cast<RingSlot*>(range_.base + kSlotsOffset)[number];
  }
  char* piece(uint32_t number) const { return range_.base + kPiecesOffset + number * kPieceBytes; }

  // The client's: the slot is ours until given back or this object is gone. EAGAIN: somebody else's. ENOSPC.
  Errno take(uint32_t number);
  void give_back(uint32_t number) { os::unlock_byte(fd_.get(), number); }
  // The writer's: whether a living process has it.
  bool is_taken(uint32_t number) const { return os::is_byte_locked(fd_.get(), number); }
  // Who waits for the writer looks again.
  void end(RingEnd how);

 private:
  static constexpr uint64_t kSlotsOffset = 2 * kPageBytes;
  static constexpr uint64_t kPiecesOffset = kSlotsOffset + kRingSlots * sizeof(RingSlot);
  static constexpr uint64_t kBytes = kPiecesOffset + kRingSlots * kPieceBytes;
  static_assert(kPiecesOffset % kPageBytes == 0);

  PageRange range_;
  LockingFd fd_;
};

// By a new writer that has the lock: tells the clients of the one before that it is gone. `another_follows`:
// they wait for the new one's, and otherwise find that this writer serves nobody.
void retire_ring(int directory, Control& control, bool another_follows);

}  // namespace spillway::segstore
