// futex.h - waiting on a word of memory.
//
// Process-shared futexes: their waiters are found by what backs the address: a file and an offset.
// A thread that waits when the mapping changes to a private one would never be woken again (pthread_join
// does, on the stack of the thread it joins), so it is woken then, for nothing, and waits again where it will
// be found.
#pragma once
#include <atomic>
#include <cstdint>

namespace spillway::os {

// Addresses on which other threads of this process wait right now, process-shared; at most `most`. Returns
// how many.
int shared_futex_waits(void** addresses, int most);

void wake_all_shared(void* address);

// Within the process. wait() returns when *address is no longer `value`, or for no reason.
void wait(const std::atomic<uint32_t>& word, uint32_t value);
void wake_one(const std::atomic<uint32_t>& word);
void wake_all(const std::atomic<uint32_t>& word);

}  // namespace spillway::os
