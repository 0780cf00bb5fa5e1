// thread.h - a thread of the library's own inside somebody's program: no signal is ever delivered to it.
#pragma once
#include <cstdint>

namespace spillway::os {

enum class Urgency {
  kNormal,
  kAtOnce,  // real-time priority from the start, where that is permitted. For threads that never compute.
};

// False: the system has no room for a thread.
bool start_thread(void* (*body)(void*), void* argument, Urgency urgency = Urgency::kNormal);

// Asks the scheduler to run the calling thread soon after it wakes, before threads that compute: what it does
// is little, and late it is of no use. A hint: a short slice (kernel 6.12), and priority where that is
// permitted.
void wake_soon();

// Whether the calling thread shall run as soon as it is ready, before all that is not of a real-time class
// (SCHED_FIFO, with the least priority). False: not permitted (RLIMIT_RTPRIO, CAP_SYS_NICE).
// wake_soon() ends it.
bool run_at_once();

// False: others were started, or /proc does not tell.
bool is_only_thread();

// A full memory barrier in every running thread of this process at once (membarrier(2), Linux 4.14), so that
// the others need none of their own: store-then-load there pairs with store-barrier-load here. The first call
// of can_ says whether the kernel has it; false of barrier_: not now, assume nothing. A forked child has it
// too.
bool can_barrier_in_all_threads();
// The first call of can_ takes a microsecond while the process has one thread, and later until all processors
// have switched, 10 ms and more. Whether it has been made:
bool has_asked_for_barrier();
bool barrier_in_all_threads();

// The processor that a thread of this process is on, or was on last; -1: nobody knows. For a thread with
// descriptors of its own: it opens a file.
int processor_of(uint32_t thread);
// Where the calling thread may run. False: not there.
bool run_on(int processor);
// And where it was permitted to, before the first of these calls.
class Processors {
 public:
  // Of the calling thread.
  void remember();
  void run_there() const;

 private:
  alignas(8) char mask_[1024] = {};
  int bytes_ = 0;
};

}  // namespace spillway::os
