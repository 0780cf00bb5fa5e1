// crc32c.h - CRC-32C (Castagnoli), as iSCSI and ext4 use it: by the processor's own instruction where it has
// one (8 bytes in 3 cycles), else by table. No heap, no state; any thread.
#pragma once
#include <cstddef>
#include <cstdint>

namespace spillway {

// Continues `crc` over more bytes: crc32c(crc32c(0, a), b) is crc32c(0, a followed by b).
uint32_t crc32c(uint32_t crc, const void* data, size_t bytes);

// The same by table, whatever the processor; for tests.
uint32_t crc32c_by_table(uint32_t crc, const void* data, size_t bytes);

}  // namespace spillway
