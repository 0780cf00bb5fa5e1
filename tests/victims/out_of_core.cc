// A block larger than the memory it may have, written and read in one pattern by some threads, has the right
// bytes. argv: forward | backward | strided | random, threads, bytes.
#include <thread>
#include <vector>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

constexpr size_t kPage = 4096, kWords = kPage / 8;

// Every word of a page is derived from its place and from how often the page was rewritten.
void write_page(uint64_t* block, size_t page, uint64_t round) {
  for (size_t w = 0; w < kWords; ++w) block[page * kWords + w] = pattern(round, page * kWords + w);
}

void check_page(const uint64_t* block, size_t page, uint64_t round) {
  for (size_t w = 0; w < kWords; ++w) {
    EXPECT(block[page * kWords + w] == pattern(round, page * kWords + w),
           "page %zu, word %zu: %lx instead of %lx", page, w,
           static_cast<unsigned long>(block[page * kWords + w]),
           static_cast<unsigned long>(pattern(round, page * kWords + w)));
  }
}

// The pages [begin, end) in the order of the pattern; random visits only some of them, the same in every
// pass.
template <typename F>
void visit(const char* order, size_t begin, size_t end, F&& f) {
  if (strcmp(order, "backward") == 0) {
    for (size_t page = end; page > begin; --page) f(page - 1);
  } else if (strcmp(order, "strided") == 0) {
    constexpr size_t kStride = 16;  // 64 KiB
    for (size_t first = 0; first < kStride; first += 4) {
      for (size_t page = begin + first; page < end; page += kStride) f(page);
    }
  } else if (strcmp(order, "random") == 0) {
    Random random{begin + 1};
    for (size_t i = 0; i < (end - begin) / 16; ++i) f(begin + random.below(end - begin));
  } else {
    for (size_t page = begin; page < end; ++page) f(page);
  }
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc > 3, "usage: out_of_core PATTERN THREADS BYTES");
  const char* order = argv[1];
  const size_t threads = size_argument(argc, argv, 2, 1), bytes = size_argument(argc, argv, 3, 0);
  const size_t pages = bytes / kPage, share = pages / threads;
  auto* block = reinterpret_cast<uint64_t*>(must_malloc(bytes));
  std::vector<uint8_t> rounds(pages, 0);  // how often a page was rewritten: threads own disjoint parts

  auto in_parallel = [&](auto&& work) {
    std::vector<std::thread> pool;
    for (size_t t = 0; t < threads; ++t) pool.emplace_back([&, t] { work(t * share, (t + 1) * share); });
    for (std::thread& thread : pool) thread.join();
  };
  const char* fill_order = strcmp(order, "backward") == 0 ? "backward" : "forward";
  in_parallel([&](size_t begin, size_t end) {
    visit(fill_order, begin, end, [&](size_t page) { write_page(block, page, 0); });
  });
  in_parallel([&](size_t begin, size_t end) {
    visit(order, begin, end, [&](size_t page) { check_page(block, page, rounds[page]); });
  });
  in_parallel([&](size_t begin, size_t end) {  // update: read, then write
    visit(order, begin, end, [&](size_t page) {
      check_page(block, page, rounds[page]);
      write_page(block, page, ++rounds[page]);
    });
  });
  in_parallel([&](size_t begin, size_t end) {
    visit(fill_order, begin, end, [&](size_t page) { check_page(block, page, rounds[page]); });
  });
  print_checksum(order, block, share * threads * kPage);
  free(block);
  return done();
}
