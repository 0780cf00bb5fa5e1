// limits.h - what the host allows this process: memory, address space.
#pragma once
#include <cstdint>

namespace spillway::os {

// The memory this process may use: the smaller of the machine's and its control group's limit (v1 or v2; all
// levels up to the root), in bytes.
uint64_t memory_limit_bytes();
uint64_t machine_memory_bytes();

// How much address space to reserve at once when `needed` bytes are wanted: 64 GiB, so that neighbouring
// blocks share one mapping; a sixteenth of RLIMIT_AS where one is set, since the program lives there too. At
// least `needed`.
uint64_t chunk_of_address_space(uint64_t needed);

// RLIMIT_FSIZE and RLIMIT_AS; UINT64_MAX: no limit.
uint64_t file_size_limit();
uint64_t address_space_limit();

// What the kernel reads around a fault in a file on this file's device: its read-ahead setting. 128 KiB, the
// kernel's default, when it cannot be told.
uint64_t read_ahead_bytes(int fd);

}  // namespace spillway::os
