// trace.h - what the pager does, event by event, in the file that SPILLWAY_TRACE names
// (include/spillway/trace_format.h). Off, it costs a load and a branch an event.
//
// Events go to a ring in memory, which a thread of the trace's own writes to the file: the pager never waits
// for the disk that the file is on. Are there more than that writes, events are left out, and counted.
//
// Threads: note() with the pager's lock, or before its threads have started; configure(), start(), stop() and
// forget() when nobody else is in the pager. The file's descriptor is in the pager's table.
#pragma once
#include <atomic>

#include "base/core/eternal.h"
#include "libpreload/pager/extent.h"
#include "spillway/trace_format.h"

namespace spillway {

class Trace {
 public:
  static constexpr uint64_t kMostBytes = kGiB;
  static constexpr uint64_t kRingEvents = 32'768;

  constexpr Trace() = default;

  // Where to; null: nowhere. A name without a root is from the directory the program is in now.
  void configure(const char* path, uint64_t most_bytes = kMostBytes);
  bool is_wanted() const { return path_[0] != '\0'; }
  bool is_on() const { return on_.load(std::memory_order_relaxed); }

  // A large block is none of the pager's: says so, once.
  void say_only_managed();

  // The pager has started, in the thread that answers faults. When that cannot be: one line, and no trace. A
  // file that another process writes a trace to, or this one's parent, is left alone: ours has the process id
  // after its name.
  void start(uint64_t limit_bytes, uint64_t budget_bytes);
  // It could not start after all.
  void stop() { on_ = false; }
  // In a forked child.
  void forget();

  void note(TraceKind kind, const char* address, uint64_t pages) {
    if (is_on()) [[unlikely]]
      record(kind, reinterpret_cast<uint64_t>(address), pages);
  }
  void note(TraceKind kind, const Extent& extent, uint64_t pages = kExtentPages) {
    if (is_on()) [[unlikely]]
      record(kind, reinterpret_cast<uint64_t>(address_of(extent)), pages);
  }
  void note_page(TraceKind kind, const Extent& extent, unsigned page, uint64_t pages = 1) {
    if (is_on()) [[unlikely]]
      record(kind, reinterpret_cast<uint64_t>(address_of(extent)) + page * kPageBytes, pages);
  }
  void note_memory(uint64_t resident_bytes, uint64_t budget_bytes) {
    if (is_on()) [[unlikely]]
      record(TraceKind::kMemory, budget_bytes, resident_bytes >> kPageShift);
  }

  // What was noted so far is in the file, or cannot be, or the disk takes seconds. A thread of the program.
  void flush();

 private:
  static void* run_writer(void* self);
  void record(TraceKind kind, uint64_t address, uint64_t pages);
  bool push(TraceKind kind, uint64_t address, uint64_t pages);
  Errno open();
  Errno make_ring();
  Errno write_header(uint64_t limit_bytes, uint64_t budget_bytes);
  void write_events();
  bool write(const TraceEvent* events, uint64_t count);
  void end_with(TraceEvent last);
  void fail(Errno error);

  std::atomic<bool> on_ = false;
  char path_[4096] = {};
  uint64_t most_bytes_ = 0;
  bool is_child_ = false;
  bool has_said_ = false;
  int pid_ = 0;
  uint64_t start_us_ = 0;
  uint64_t lost_ = 0;

  // head_: the writer's; tail_: of who holds the pager's lock.
  TraceEvent* ring_ = nullptr;
  std::atomic<uint64_t> head_ = 0, tail_ = 0;

  // The writer's.
  char file_path_[4096 + 16] = {};
  os::Fd file_;
  uint64_t written_bytes_ = 0;
  bool own_descriptors_ = false;
};

// The one of the process.
extern constinit Eternal<Trace> the_trace;
inline constexpr Trace& trace = the_trace.object;

}  // namespace spillway
