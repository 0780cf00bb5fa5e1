// memfd.h - memory with a descriptor: shared by passing it, sealed so that it never changes again.
#pragma once
#include <cstdint>

#include "base/core/page_range.h"
#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway::os {

// `bytes` long, nothing allocated yet, sealable; nobody can change the length from now on.
Result<Fd> make_memfd(const char* name, uint64_t bytes);
// Nobody can write to it any more. EBUSY: somebody still has it mapped writable.
Errno seal_memfd(int fd);
// Who has it mapped writable may go on writing; nobody else ever can.
Errno seal_memfd_for_others(int fd);
// Cannot be written by anybody, nor change its length.
bool is_sealed(int fd);
// Cannot change its length, and no new writable mapping can be made.
bool is_sealed_for_others(int fd);
// The same memory through a descriptor that cannot write or be mapped writable.
Result<Fd> reopen_read_only(int fd);
uint64_t length_of(int fd);  // 0: cannot be told
// The pages it has, whoever maps them. 0: cannot be told.
uint64_t allocated_bytes(int fd);

// A mapping that is undone by the destructor.
class [[nodiscard]] Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept : range_(std::exchange(other.range_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      reset();
      range_ = std::exchange(other.range_, {});
    }
    return *this;
  }
  ~Mapping() { reset(); }
  void reset();
  bool valid() const { return range_.base != nullptr; }
  char* data() const { return range_.base; }
  uint64_t bytes() const { return range_.bytes; }

  // `offset` is a multiple of the page. `ahead`: its pages are in the page table when the call returns.
  static Result<Mapping> read_only(int fd, uint64_t offset, uint64_t bytes, bool ahead = false);
  // Not inherited by forked children, so that who made it can seal what is behind it.
  static Result<Mapping> read_write(int fd, uint64_t offset, uint64_t bytes, bool ahead = false);
  // Zeroed memory of this process.
  static Result<Mapping> anonymous(uint64_t bytes);
  Errno protect(bool writable);
  // Enters the first `bytes` in the page table, for writing; what cannot be is entered when it is touched.
  void populate(uint64_t bytes);

 private:
  PageRange range_;
};

}  // namespace spillway::os
