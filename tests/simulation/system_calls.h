// system_calls.h - the real ones behind those that the linker replaces, and requests of userfaultfd that are
// newer than the headers of Debian 12.
#pragma once
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

extern "C" {
ssize_t __real_pread(int fd, void* data, size_t bytes, off_t offset);
ssize_t __real_pwrite(int fd, const void* data, size_t bytes, off_t offset);
int __real_fallocate(int fd, int mode, off_t offset, off_t bytes);
}

namespace spillway::simulation {

inline constexpr auto& real_pread = __real_pread;
inline constexpr auto& real_pwrite = __real_pwrite;
inline constexpr auto& real_fallocate = __real_fallocate;

struct MoveRequest {
  uint64_t dst, src, len, mode;
  int64_t move;
};
struct PoisonRequest {
  uffdio_range range;
  uint64_t mode;
  int64_t updated;
};
inline constexpr unsigned long kMove = _IOWR(UFFDIO, 0x05, MoveRequest);
inline constexpr unsigned long kPoison = _IOWR(UFFDIO, 0x08, PoisonRequest);
inline constexpr uint64_t kAllowHoles = 2;

}  // namespace spillway::simulation
