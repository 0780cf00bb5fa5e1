// trace_format.h - the file that SPILLWAY_TRACE names: what the pager did, event by event. docs/trace.md has
// a worked example.
//
//   file   = header, event, event, ...     little-endian; events in the order they happened
//   header = TraceHeader, padded to header_bytes
//   event  = TraceEvent, padded to event_bytes
//
// A file may end anywhere: its program may have been killed. A reader goes by header_bytes and event_bytes,
// and leaves out kinds it does not know: a later version adds kinds, and fields at the end of both.
#pragma once
#include <cstdint>

namespace spillway {

inline constexpr char kTraceMagic[8] = {'S', 'P', 'I', 'L', 'T', 'R', 'A', 'C'};
inline constexpr uint32_t kTraceVersion = 1;

struct TraceHeader {
  char magic[8] = {};
  uint32_t version = 0;
  uint32_t header_bytes = 0;  // from the start of the file to the first event
  uint32_t event_bytes = 0;   // from one event to the next
  uint32_t page_bytes = 0;    // what TraceEvent::pages counts
  uint32_t extent_bytes = 0;  // what is evicted and read as a whole
  uint32_t pid = 0;
  uint64_t limit_bytes = 0;   // of large blocks; 0: none was set
  uint64_t budget_bytes = 0;  // what they had when the pager started
  uint64_t start_us = 0;      // when that was, since 1970
  char program[64] = {};      // its name without directories, cut to 63 bytes
  uint64_t reserved = 0;
};
static_assert(sizeof(TraceHeader) == 128);

// What `address` and `pages` say, where not the pages that the event is about. `whole`: an extent.
enum class TraceKind : uint8_t {
  kChunk = 1,      // address space that large blocks come from, now or when the trace began
  kChunkGone,      // and no more
  kPresent,        // was in memory when the pager started; pages: how many of the extent
  kFirstTouch,     // a fault where nothing was yet: a whole extent, or pages that it lacked
  kFault,          // a fault on a page that is on disk, or has pages around it that are
  kFaultUnderWay,  // a fault on an extent that is being read or written
  kStagedHit,      // a fault that one move answered: whole, or a page of a line
  kReadAhead,      // a whole extent is asked for before it is touched
  kExtentRead,     // whole, from disk
  kExtentZeroed,   // whole, filled with zeroes: nothing was there yet
  kLineRead,       // pages, 4 to 64 KiB, from disk
  kEvict,          // moved to the staging area: whole (pages: those that were there), or a page of a line
  kWrite,          // written to disk, likewise
  kUnchanged,      // not written: the disk has the same
  kZero,           // not written: nothing but zeroes
  kDrop,           // left the staging area: memory is free, the disk has it
  kDiscard,        // the program gave it back
  kWait,           // something that is not a large block waits until there is room
  kFork,           // large blocks stand still for a fork; nothing is staged
  kMemory,         // pages: what large blocks have of memory; address: their budget, in bytes
  kLost,           // pages: so many events before this one are missing, the disk being too slow
  kCut,            // the file was full: nothing that happened later is in it
  kCompress,       // not written, but kept in memory compressed: whole, or a page of a line
  kExtentExpand,   // whole, from compressed memory
  kLineExpand,     // pages, 4 to 64 KiB, likewise
};
inline constexpr auto kLastTraceKind = TraceKind::kLineExpand;

struct TraceEvent {
  uint64_t time_us = 0;  // since the start, never less than before
  uint64_t address = 0;
  uint32_t pages = 0;
  TraceKind kind{};  // 0 is no kind
  uint8_t reserved[3] = {};
};
static_assert(sizeof(TraceEvent) == 24);

}  // namespace spillway
