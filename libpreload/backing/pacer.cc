#include "libpreload/backing/pacer.h"

#include <pthread.h>

#include "base/os/clock.h"
#include "base/os/fault_samples.h"
#include "base/os/limits.h"
#include "base/os/stop_threads.h"
#include "base/os/thread.h"
#include "libpreload/backing/access_advisor.h"
#include "libpreload/backing/access_sampler.h"
#include "libpreload/backing/rehome.h"
#include "libpreload/backing/residency.h"
#include "libpreload/large.h"
#include "libpreload/settings.h"
#include "libpreload/stats.h"

namespace spillway {

constinit Pacer pacer;

void Pacer::configure() {
  uint64_t bytes = os::memory_limit_bytes() / 4;
  if (settings.limit_bytes != 0) bytes = std::min(bytes, settings.limit_bytes / 2);
  start_at_bytes_ = bytes;
}

void Pacer::start() {
  if (!large_heap.has_files()) return;
  // First: a program that starts to fill its blocks is over a small limit in milliseconds.
  if (settings.limit_bytes != 0 && !limit_held_.exchange(true)) limit_held_ = Residency::start_threads();
  if (forks_ != 0 && !rehoming_.exchange(true)) rehoming_ = os::start_thread(rehome, nullptr);
  State none = State::kNone;
  if (!state_.compare_exchange_strong(none, State::kStarting)) return;
  // Without a thread (RLIMIT_NPROC, memory) everything works but advice and limit; the next growth tries
  // again.
  state_ = os::start_thread(run, this) ? State::kRunning : State::kNone;
}

void* Pacer::run(void* self) {
  static_cast<Pacer*>(self)->loop();
  return nullptr;
}

void* Pacer::rehome(void*) {
  os::leave_this_thread_running();
  os::PageTable pages;
  (void)pages.open();  // without it (a process that may not be inspected) no page is known to be present
  Rehome rehome;
  for (;;) {
    if (pacer.forked_.exchange(false)) rehome.expect_snapshots(pacer.forks_);
    os::sleep_us(1000 * rehome.run(pages));
  }
}

void Pacer::loop() {
  os::leave_this_thread_running();
  os::wake_soon();
  const uint64_t read_ahead_bytes = os::read_ahead_bytes(large_heap.any_file());
  (void)os::use_own_descriptors();
  os::PageTable pages;
  (void)pages.open();
  AccessAdvisor advisor(read_ahead_bytes, pages);
  os::FaultSamples faults;
  if (!settings.masked.perf) (void)faults.open();
  AccessSampler sampler(read_ahead_bytes, /*with_votes=*/!faults.is_open());
  os::Interval sampling(50);

  for (int wait_ms = 0;;) {
    faults.wait(wait_ms);
    wait_ms = faults.is_open() ? 100 : 50;

    os::FaultSample samples[256];
    while (int n = faults.read(samples, 256)) {
      for (int i = 0; i < n; ++i) advisor.on_fault(samples[i].address, samples[i].thread);
      wait_ms = 5;
    }
    if (advisor.advance_streams()) wait_ms = 1;
    if (sampling.is_over()) sampler.look(pages, os::major_faults());
  }
}

void Pacer::after_fork_in_parent() { after_fork(); }

void Pacer::after_fork_in_child() {
  forget_thread();
  after_fork();
}

void Pacer::forget_thread() {
  state_ = State::kNone;
  limit_held_ = false;
  rehoming_ = false;
  forked_ = true;
}

void Pacer::after_fork() {
  forked_ = true;
  // Each of the family may come to hold as much.
  on_managed_bytes(stats.managed_bytes() * forks_);
}

}  // namespace spillway
