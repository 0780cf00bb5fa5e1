// Threads read, change, sweep, discard and reallocate pages of large blocks at random; every page tells its
// place and version, and is checked each time. Meanwhile the main thread forks: each child finds all pages
// as they were, changes some, and its parent does not see it.
//   churns_pages SECONDS THREADS BYTES BITS    BYTES: of all blocks together; BITS: of a word that are
//   random, 0: few or all, by page and version
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "tests/victims/pair.h"

using namespace victim;

namespace {

constexpr size_t kPage = 4096, kWordsPerPage = kPage / 8;
constexpr size_t kBlockPages = 12 * MiB / kPage;
constexpr size_t kOperationsPerFork = 1000;
// Of a page that is being written at this moment.
constexpr uint32_t kBusy = 1u << 31;

size_t bits = 64;

uint64_t word(size_t page, uint32_t version, size_t at) {
  const size_t random_bits = bits != 0 ? bits : (page + version) % 8 < 7 ? 6 : 64;
  return version == 0 ? 0 : pattern(version, page * kWordsPerPage + at) >> (64 - random_bits);
}

// One thread's, and every child's copy of it.
struct Block {
  size_t first_page = 0;  // as stamped, so that no two blocks are the same
  uint64_t* words = nullptr;
  std::unique_ptr<std::atomic<uint32_t>[]> versions;

  void allocate() {
    words = static_cast<uint64_t*>(aligned_alloc(kPage, kBlockPages * kPage));
    EXPECT(words, "aligned_alloc: %s", strerror(errno));
    for (size_t p = 0; p < kBlockPages; ++p) write(p, 1);
  }
  void write(size_t p, uint32_t version) {
    versions[p].store(version | kBusy);
    // Few words, so that time goes into the pages; all of them in some.
    const size_t step = version % 16 == 1 ? 1 : 73;
    for (size_t i = 0; i < kWordsPerPage; i += step)
      words[p * kWordsPerPage + i] = word(first_page + p, version, i);
    versions[p].store(version);
  }
  void check(size_t p, const char* whose) const {
    const uint32_t version = versions[p].load();
    if (version & kBusy) return;
    for (size_t i = 0; i < kWordsPerPage; i += 73) {
      const uint64_t found = words[p * kWordsPerPage + i];
      EXPECT(found == word(first_page + p, version, i), "%s page %zu, word %zu: %016lx instead of version %u",
             whose, first_page + p, i, static_cast<unsigned long>(found), version);
    }
  }
  void discard(size_t p, size_t count) {
    for (size_t i = p; i < p + count; ++i) versions[i].store(kBusy);
    EXPECT(madvise(words + p * kWordsPerPage, count * kPage, MADV_DONTNEED) == 0, "madvise: %s",
           strerror(errno));
    for (size_t i = p; i < p + count; ++i) versions[i].store(0);
  }
};

struct Share {
  std::vector<Block> blocks;
  std::atomic<bool> moving{false};  // a block is being reallocated
};

void churn(Share& share, uint64_t seed, const std::atomic<bool>& stop, std::atomic<size_t>& operations) {
  Random random{seed};
  while (!stop.load(std::memory_order_relaxed)) {
    ++operations;
    Block& b = share.blocks[random.below(share.blocks.size())];
    const size_t p = random.below(kBlockPages);
    const size_t run = std::min(kBlockPages - p, 1 + random.below(1500));
    switch (const size_t dice = random.below(1000)) {
      case 0: {  // sweeps, forward or backward
        for (size_t i = 0; i < run; ++i) b.check(dice % 2 ? p + run - 1 - i : p + i, "a swept");
        break;
      }
      case 1:
        for (size_t i = 0; i < run; ++i) b.write(p + i, b.versions[p + i].load() + 1);
        break;
      case 2:
        b.discard(p, std::min(run, size_t{700}));
        break;
      case 3:
        if (random.below(10) != 0) break;
        share.moving = true;
        free(b.words);
        b.allocate();
        share.moving = false;
        break;
      default:
        b.check(p, "a");
        if (dice < 400) b.write(p, b.versions[p].load() + 1);
    }
  }
  for (Block& b : share.blocks)
    for (size_t p = 0; p < kBlockPages; ++p) b.check(p, "at the end a");
}

void be_child(std::vector<Share>& shares, uint64_t seed) {
  Random random{seed};
  for (int i = 0; i < 3000; ++i) {
    Share& share = shares[random.below(shares.size())];
    if (share.moving) continue;
    Block& b = share.blocks[random.below(share.blocks.size())];
    const size_t p = random.below(kBlockPages);
    b.check(p, "in a child a");
    if (i % 3 == 0) b.write(p, 1'000'000 + static_cast<uint32_t>(i));
    b.check(p, "in a child, after writing, a");
  }
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t seconds = size_argument(argc, argv, 1, 3);
  const size_t threads = size_argument(argc, argv, 2, 4);
  const size_t blocks = std::max(size_argument(argc, argv, 3, 96 * MiB) / (kBlockPages * kPage), threads);
  bits = size_argument(argc, argv, 4, 64);
  std::vector<Share> shares(threads);
  size_t pages = 0;
  for (size_t i = 0; i < blocks; ++i) {
    Block& b = shares[i % threads].blocks.emplace_back();
    b.first_page = pages;
    pages += kBlockPages;
    b.versions.reset(new std::atomic<uint32_t>[kBlockPages]());
    b.allocate();
  }
  std::atomic<bool> stop{false};
  std::atomic<size_t> operations{0};
  std::vector<std::thread> pool;
  for (size_t t = 0; t < threads; ++t)
    pool.emplace_back([&, t] { churn(shares[t], t + 1, stop, operations); });
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  for (uint64_t seed = 100; std::chrono::steady_clock::now() < end; ++seed) {
    // Something must have changed between two forks.
    const size_t target = operations + kOperationsPerFork;
    while (operations < target) std::this_thread::yield();
    const pid_t pid = must_fork();
    if (pid == 0) be_child(shares, seed);
    expect_good_end(pid, "a child");
  }
  stop = true;
  for (std::thread& thread : pool) thread.join();
  return done();
}
