// Threads allocate blocks of all sizes, stamp them, hand them to each other, and the receiver verifies and
// frees them. argv: threads, operations of each thread, largest block. Every block carries a stamp at both
// ends and in the middle.
#include <mutex>
#include <thread>
#include <vector>

#include "tests/victims/makers.h"

using namespace victim;

namespace {

struct Block {
  char* p;
  size_t bytes;
  uint64_t stamp;
};

struct Mailbox {
  std::mutex mutex;
  std::vector<Block> blocks;
};

void stamp(Block& b) {
  memcpy(b.p, &b.stamp, 8);
  memcpy(b.p + b.bytes / 2, &b.stamp, 8);
  memcpy(b.p + b.bytes - 8, &b.stamp, 8);
}

void verify(const Block& b) {
  uint64_t first, middle, last;
  memcpy(&first, b.p, 8);
  memcpy(&middle, b.p + b.bytes / 2, 8);
  memcpy(&last, b.p + b.bytes - 8, 8);
  EXPECT(first == b.stamp && middle == b.stamp && last == b.stamp,
         "block %p of %zu bytes with stamp %lx holds %lx %lx %lx", static_cast<void*>(b.p), b.bytes,
         static_cast<unsigned long>(b.stamp), static_cast<unsigned long>(first),
         static_cast<unsigned long>(middle), static_cast<unsigned long>(last));
}

}  // namespace

int main(int argc, char** argv) {
  const size_t threads = size_argument(argc, argv, 1, 16), operations = size_argument(argc, argv, 2, 6000);
  const size_t largest = size_argument(argc, argv, 3, 8 * MiB);
  std::vector<Mailbox> mailboxes(threads);
  std::vector<std::thread> pool;
  for (size_t t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] {
      Random random{t + 1};
      std::vector<Block> own;
      for (size_t i = 0; i < operations; ++i) {
        const size_t what = random.below(8);
        if (what < 4 && own.size() < 24) {
          // Half of them small, the others spread over all magnitudes.
          const size_t limit = random.below(2) ? 2000 : largest >> random.below(12);
          Block b{nullptr, 32 + random.below(limit), random.next() | 1};
          const Maker& maker = kMakers[random.below(sizeof kMakers / sizeof *kMakers)];
          b.p = static_cast<char*>(maker.make(size_t{16} << random.below(10), b.bytes));
          EXPECT(b.p, "%s(%zu): %s", maker.name, b.bytes, strerror(errno));
          stamp(b);
          own.push_back(b);
        } else if (what < 6 && !own.empty()) {
          Mailbox& to = mailboxes[random.below(threads)];
          std::lock_guard lock(to.mutex);
          to.blocks.push_back(own.back());
          own.pop_back();
        } else if (what == 6 && !own.empty()) {
          Block& b = own[random.below(own.size())];
          verify(b);
          const size_t next = 32 + random.below(random.below(2) ? 2000 : largest);
          b.p = static_cast<char*>(realloc(b.p, next));
          EXPECT(b.p, "realloc(%zu): %s", next, strerror(errno));
          uint64_t first;
          memcpy(&first, b.p, 8);
          EXPECT(first == b.stamp, "realloc from %zu to %zu lost the stamp", b.bytes, next);
          b.bytes = next;
          stamp(b);
        } else {
          std::vector<Block> received;
          {
            std::lock_guard lock(mailboxes[t].mutex);
            received.swap(mailboxes[t].blocks);
          }
          for (const Block& b : received) {
            verify(b);
            free(b.p);
          }
          if (!own.empty()) {
            verify(own.front());
            free(own.front().p);
            own.erase(own.begin());
          }
        }
      }
      for (const Block& b : own) {
        verify(b);
        free(b.p);
      }
    });
  }
  for (std::thread& thread : pool) thread.join();
  for (Mailbox& mailbox : mailboxes) {
    for (const Block& b : mailbox.blocks) {
      verify(b);
      free(b.p);
    }
  }
  // No growth: all blocks are gone, so little may be resident. (glibc's arenas do keep what lies between.)
  const size_t resident = resident_bytes();
  EXPECT(!exm_present() || resident < 400 * MiB, "%zu MiB are resident after all blocks were freed",
         resident / MiB);
  return done();
}
