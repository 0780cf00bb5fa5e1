#include "libpreload/pager/trace.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/os/clock.h"
#include "base/os/fatal.h"
#include "base/os/memory.h"
#include "base/os/procfs.h"
#include "base/os/stop_threads.h"
#include "base/os/thread.h"
#include "libpreload/settings.h"

namespace spillway {

constinit Eternal<Trace> the_trace;

namespace {

// The ring holds what 1.6 million faults a second would put there meanwhile.
constexpr int kWriteEveryUs = 20'000;
// A program's end waits so long at most for its last events to be written.
constexpr int kPatienceMs = 5000;

}  // namespace

void Trace::configure(const char* path, uint64_t most_bytes) {
  path_[0] = '\0';
  most_bytes_ = most_bytes;
  if (path == nullptr) return;
  if (const Errno e = os::absolute_path(path, path_, sizeof path_); !e.ok()) {
    settings.warn("SPILLWAY_TRACE=%s cannot be written: %s; nothing is traced", path, strerror(e.code()));
    path_[0] = '\0';
  }
}

void Trace::say_only_managed() {
  if (!is_wanted() || std::exchange(has_said_, true)) return;
  settings.warn("SPILLWAY_TRACE: only the managed backing is traced, and large blocks are not in it here");
}

// --- start

void Trace::start(uint64_t limit_bytes, uint64_t budget_bytes) {
  if (!is_wanted() || is_on()) return;
  pid_ = os::process_id();
  start_us_ = os::monotonic_us();
  own_descriptors_ = os::has_own_descriptors();
  head_ = tail_ = lost_ = 0;
  Errno e = open();
  if (e.ok()) e = make_ring();
  if (e.ok()) e = write_header(limit_bytes, budget_bytes);
  if (!e.ok()) return fail(e);
  on_ = true;
  if (!os::start_thread(run_writer, this)) fail(Errno(EAGAIN));
}

Errno Trace::make_ring() {
  if (ring_ != nullptr) return {};
  Result<PageRange> memory = os::reserve(round_up(kRingEvents * sizeof(TraceEvent), kPageBytes), kPageBytes);
  if (!memory) return memory.error();
  if (Errno e = os::map_anonymous(*memory); !e.ok()) return e;
  ring_ = reinterpret_cast<TraceEvent*>(memory->base);
  return {};
}

Errno Trace::open() {
  snprintf(file_path_, sizeof file_path_, is_child_ ? "%s.%d" : "%s", path_, pid_);
  Result<os::Fd> file = os::open_as_only_writer(file_path_);
  if (!file && file.error() == EBUSY && !is_child_) {
    snprintf(file_path_, sizeof file_path_, "%s.%d", path_, pid_);
    file = os::open_as_only_writer(file_path_);
  }
  if (!file) return file.error();
  // Nobody's text is lost because of a mistyped name.
  char magic[sizeof kTraceMagic] = {};
  const bool is_empty = !os::read_all(file->get(), magic, 1, 0).ok();
  const bool is_trace =
      os::read_all(file->get(), magic, sizeof magic, 0).ok() && memcmp(magic, kTraceMagic, sizeof magic) == 0;
  if (!is_empty && !is_trace) return Errno(EEXIST);
  file_ = std::move(*file);
  return os::set_length(file_.get(), 0);
}

Errno Trace::write_header(uint64_t limit_bytes, uint64_t budget_bytes) {
  TraceHeader header;
  memcpy(header.magic, kTraceMagic, sizeof kTraceMagic);
  header.version = kTraceVersion;
  header.header_bytes = sizeof header;
  header.event_bytes = sizeof(TraceEvent);
  header.page_bytes = kPageBytes;
  header.extent_bytes = kExtentBytes;
  header.pid = static_cast<uint32_t>(pid_);
  header.limit_bytes = limit_bytes;
  header.budget_bytes = budget_bytes;
  header.start_us = os::wall_clock_us();
  strncpy(header.program, os::program_name(), sizeof header.program - 1);
  written_bytes_ = sizeof header;
  return os::write_all(file_.get(), &header, sizeof header, 0);
}

// Off when all is said: whoever flushes before the process ends waits for it.
void Trace::fail(Errno error) {
  settings.warn("SPILLWAY_TRACE: cannot write %s: %s; nothing is traced from here on", file_path_,
                error == EEXIST ? "there is a file that is no trace" : strerror(error.code()));
  file_.reset();
  on_ = false;
}

void Trace::forget() {
  // The descriptor was not inherited, unless the pager's threads could not have a table of their own.
  if (own_descriptors_) (void)file_.release();
  file_.reset();
  on_ = false;
  is_child_ = true;
}

// --- recording

void Trace::record(TraceKind kind, uint64_t address, uint64_t pages) {
  if (lost_ != 0 && push(TraceKind::kLost, 0, lost_)) lost_ = 0;
  if (lost_ != 0 || !push(kind, address, pages)) ++lost_;
}

bool Trace::push(TraceKind kind, uint64_t address, uint64_t pages) {
  const uint64_t tail = tail_.load(std::memory_order_relaxed);
  if (tail - head_.load(std::memory_order_acquire) == kRingEvents) return false;
  ring_[tail % kRingEvents] = {os::monotonic_us() - start_us_,
                               address,
                               static_cast<uint32_t>(std::min<uint64_t>(pages, UINT32_MAX)),
                               kind,
                               {}};
  tail_.store(tail + 1, std::memory_order_release);
  return true;
}

void Trace::flush() {
  // Not in a child that was made without fork().
  if (!is_on() || os::process_id() != pid_) return;
  const uint64_t tail = tail_.load(std::memory_order_acquire);
  for (int ms = 0; ms < kPatienceMs && is_on() && head_.load(std::memory_order_acquire) < tail; ++ms)
    os::sleep_us(1000);
}

// --- writing

void* Trace::run_writer(void* self) {
  Trace& me = *static_cast<Trace*>(self);
  os::leave_this_thread_running();
  if (me.own_descriptors_) os::share_own_descriptors();
  while (me.is_on()) {
    me.write_events();
    os::sleep_us(kWriteEveryUs);
  }
  return nullptr;
}

void Trace::write_events() {
  uint64_t head = head_.load(std::memory_order_relaxed);
  const uint64_t tail = tail_.load(std::memory_order_acquire);
  while (head != tail) {
    const uint64_t at = head % kRingEvents;
    const uint64_t count = std::min(tail - head, kRingEvents - at);
    if (!write(ring_ + at, count)) return;
    head += count;
    head_.store(head, std::memory_order_release);
  }
}

bool Trace::write(const TraceEvent* events, uint64_t count) {
  // Room for the last one, which says that the file is cut.
  const uint64_t room = (most_bytes_ - std::min(most_bytes_, written_bytes_)) / sizeof(TraceEvent);
  const uint64_t fit = std::min(count, room - std::min<uint64_t>(room, 1));
  const Errno e = os::write_all(file_.get(), events, fit * sizeof(TraceEvent), written_bytes_);
  if (!e.ok()) {
    // No half event at the end.
    (void)os::set_length(file_.get(), written_bytes_);
    fail(e);
    return false;
  }
  written_bytes_ += fit * sizeof(TraceEvent);
  if (fit == count) return true;
  end_with({events[fit].time_us, 0, 0, TraceKind::kCut, {}});
  return false;
}

void Trace::end_with(TraceEvent last) {
  (void)os::write_all(file_.get(), &last, sizeof last, written_bytes_);
  file_.reset();
  settings.warn("SPILLWAY_TRACE: %s is as large as it may be (%llu MiB); nothing is traced from here on",
                file_path_, static_cast<unsigned long long>(most_bytes_ / kMiB));
  on_ = false;
}

}  // namespace spillway
