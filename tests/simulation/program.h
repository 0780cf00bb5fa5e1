// program.h - a program of a few threads, one chunk of blocks and a pager, all of it in a simulation. Each
// page has one thread that writes it, and every word that is read is compared with what was written last.
#pragma once
#include <memory>
#include <vector>

#include "libpreload/pager/pager.h"
#include "libpreload/settings.h"
#include "tests/simulation/kernel.h"
#include "tests/support/scratch_dir.h"

namespace spillway::simulation {

class Program {
 public:
  static constexpr uint64_t kLimit = 24 * kMiB;
  static constexpr uint64_t kBytes = 3 * kLimit;
  static constexpr uint64_t kPages = kBytes / kPageBytes;
  static constexpr uint64_t kExtents = kBytes / kExtentBytes;

  explicit Program(uint64_t seed, uint64_t bytes = kBytes);
  ~Program();

  Kernel kernel;
  const uint64_t pages, extents;
  Pager& pager() { return *pager_; }

  // Whatever is wrong is counted, and said in words once.
  void write(uint64_t page);
  void read(uint64_t page);
  // Of SIGBUS, which `read` counts as wrong.
  bool can_read(uint64_t page);
  // Extents, or pages of one extent, become zeroes.
  void discard(uint64_t page, uint64_t count);
  void release(uint64_t page, uint64_t count);
  void advise(uint64_t page, uint64_t count, Advice advice);
  void set_limit(uint64_t bytes);
  void fork();

  // Threads that use pages of their own, so many each, in ways that the seed decides: runs forward and
  // backward, steps, scattered pages, pages again and again; and now and then throw some away.
  void start_using(int threads, uint64_t accesses);
  void use(int threads, uint64_t accesses) {
    start_using(threads, accesses);
    kernel.schedule.join_program();
  }
  void read_all() {
    for (uint64_t page = 0; page < pages; ++page) read(page);
  }
  void write_all() {
    for (uint64_t page = 0; page < pages; ++page) write(page);
  }
  // Until the pager has nothing to do, as far as `is_so` tells.
  bool wait_until(const std::function<bool()>& is_so, uint64_t seconds = 60) {
    return kernel.schedule.wait_until(is_so, kernel.schedule.now_us() + seconds * 1'000'000);
  }

  char* address(uint64_t page) const { return range_.base + page * kPageBytes; }
  PageRange range(uint64_t page, uint64_t count) const { return {address(page), count * kPageBytes}; }
  uint64_t resident_bytes() const { return kernel.pages_there() * kPageBytes; }
  // What the limit promises: 5 % more at most.
  bool was_within(uint64_t limit) const {
    return kernel.most_pages_there() * kPageBytes <= limit + limit / 20;
  }

  uint64_t wrong = 0;

 private:
  void use_some(uint32_t me, int threads, uint64_t accesses);
  // The heap's lock: one request at a time.
  void request(const std::function<void()>& what);

  test::ScratchDir directory_{"/dev/shm"};
  std::unique_ptr<Pager> pager_;
  std::vector<uint64_t> chunk_memory_;
  Chunk* chunk_ = nullptr;
  PageRange range_;
  std::vector<uint64_t> expected_;
  uint64_t writes_ = 0;
  bool is_requesting_ = false;
};

}  // namespace spillway::simulation
