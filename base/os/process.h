// process.h - other processes: who they are, whether they live, starting a daemon; and this machine's name.
#pragma once
#include <cstdint>

#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway::os {

uint32_t user_id();
// A descriptor that polls as readable when the process has ended. ENOSYS: before Linux 5.3; ESRCH.
Result<Fd> watch_process(int pid);
// Starts the program in a session of its own, with nothing of the caller's but the environment; its stderr
// goes to `log`. Returns once it is started: whether it works is for the caller to find out.
Errno start_daemon(const char* const* argv, int log);
// As many descriptors as the system permits.
void raise_descriptor_limit();
uint64_t descriptor_limit();
// The path of the library or program this code is in. Empty: not known.
void own_path(char* buffer, uint64_t bytes);

// The same on every process of a machine until it is started again; other machines have another.
uint64_t host_identity();
// Not to be guessed.
uint64_t random_number();
// Moves whenever a process of this program's family forks: what a parent talks to is not the child's.
unsigned fork_generation();
// Bytes of this process that are in memory (VmRSS); of those, shared memory. Zeroes: not told.
struct Resident {
  uint64_t all_bytes = 0;
  uint64_t shared_bytes = 0;
};
Resident resident_bytes();
// "VmRSS"-like facts of a client are not ours to read; its name is ("python3"). Empty: not told.
void process_name(int pid, char* buffer, uint64_t bytes);
// Nanoseconds since some point; the same clock for all processes of the machine.
uint64_t clock_ns();

}  // namespace spillway::os
