// futex.h - process-shared futexes. Their waiters are found by what backs the address: a file and an offset.
// A thread that waits when the mapping changes to a private one would never be woken again (pthread_join
// does, on the stack of the thread it joins), so it is woken then, for nothing, and waits again where it will
// be found.
#pragma once

namespace spillway::os {

// Addresses on which other threads of this process wait right now, process-shared; at most `most`. Returns
// how many.
int shared_futex_waits(void** addresses, int most);

void wake_all_shared(void* address);

}  // namespace spillway::os
