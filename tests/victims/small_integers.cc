// A block of small integers in 8 bytes each, several times what may be in memory: it compresses well. It is
// read and written at random by threads, inherited, discarded in part and freed, under a limit that falls.
//   small_integers BYTES reads|all    BYTES: of the block; reads: no more than that, by one thread
#include <sys/mman.h>

#include <spillway/preload.h>

#include <thread>
#include <vector>

#include "tests/victims/pair.h"

using namespace victim;

namespace {

constexpr size_t kPage = 4096, kWords = kPage / 8;

struct Numbers {
  uint64_t* words;
  std::vector<uint32_t> versions;  // 0: zeroes

  static uint64_t number(size_t page, uint32_t version, size_t at) {
    return version == 0 ? 0 : pattern(version, page * kWords + at) >> 56;
  }
  void write(size_t page, uint32_t version) {
    versions[page] = version;
    for (size_t i = 0; i < kWords; ++i) words[page * kWords + i] = number(page, version, i);
  }
  void check(size_t page, const char* whose) const {
    for (size_t i = 0; i < kWords; ++i)
      EXPECT(words[page * kWords + i] == number(page, versions[page], i), "%s page %zu, word %zu: %lx", whose,
             page, i, static_cast<unsigned long>(words[page * kWords + i]));
  }
  void check_all(const char* whose) const {
    for (size_t page = 0; page < versions.size(); ++page) check(page, whose);
  }
};

// Every thread has every fourth page.
void use(Numbers& numbers, size_t thread) {
  Random random{thread + 1};
  for (int i = 0; i < 4000; ++i) {
    const size_t page = random.below(numbers.versions.size() / 4) * 4 + thread;
    numbers.check(page, "a");
    if (i % 3 == 0) numbers.write(page, numbers.versions[page] + 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const size_t bytes = size_argument(argc, argv, 1, 96 * MiB), pages = bytes / kPage;
  auto* words = static_cast<uint64_t*>(aligned_alloc(kPage, bytes));
  EXPECT(words, "aligned_alloc: %s", strerror(errno));
  Numbers numbers{words, std::vector<uint32_t>(pages)};
  for (size_t page = 0; page < pages; ++page) numbers.write(page, 1);
  if (argc > 2 && strcmp(argv[2], "reads") == 0) {
    Random random{7};
    for (int i = 0; i < 20'000; ++i) numbers.check(random.below(pages), "a");
    return done();
  }
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) threads.emplace_back(use, std::ref(numbers), t);
  for (std::thread& thread : threads) thread.join();

  // Both sides of a fork have what was there, and write without the other's seeing it. _Fork: without
  // handlers.
  for (pid_t (*forks)() : {fork, _Fork}) {
    const pid_t pid = forks();
    EXPECT(pid >= 0, "fork: %s", strerror(errno));
    for (size_t page = pid == 0; page < pages; page += 7) numbers.write(page, pid == 0 ? 1000 : 2000);
    numbers.check_all(pid == 0 ? "a child's" : "a parent's");
    if (pid == 0) _exit(0);
    expect_good_end(pid, "a child");
  }

  const size_t from = pages / 3, until = pages / 2;
  EXPECT(madvise(words + from * kWords, (until - from) * kPage, MADV_DONTNEED) == 0, "madvise: %s",
         strerror(errno));
  std::fill(numbers.versions.begin() + static_cast<ptrdiff_t>(from),
            numbers.versions.begin() + static_cast<ptrdiff_t>(until), 0);
  numbers.check_all("after a discard a");

  if (spillway_preload_present())
    EXPECT(spillway_preload_set_limit(12 * MiB) == 0, "set_limit: %s", strerror(errno));
  numbers.check_all("under a lower limit a");
  for (size_t page = 0; page < pages; page += 5) numbers.write(page, 3000);
  numbers.check_all("at the end a");
  free(words);
  return done();
}
