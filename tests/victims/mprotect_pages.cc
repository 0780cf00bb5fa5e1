// mprotect of a few pages here and there (argument: in `one` extent of 2 MiB, or in `each`): all bytes stay
// what they were, from whichever side and in whatever steps they are looked at, and so does the protection.
#include <setjmp.h>
#include <signal.h>

#include "tests/victims/spilled.h"

using namespace victim;

namespace {

constexpr size_t kPage = 4096, kExtent = 2 * MiB, kExtents = 16, kBytes = kExtents * kExtent;
constexpr size_t kFirst = 7, kPages = 4;  // of an extent, those that are protected
sigjmp_buf g_back;

bool faults(char* p) {
  if (sigsetjmp(g_back, 1) != 0) return true;
  *static_cast<volatile char*>(p) = *static_cast<volatile char*>(p);
  return false;
}

uint64_t stamp(size_t page, uint64_t round) { return page * 1000003 + round; }

void write_page(char* block, size_t page, uint64_t round) {
  auto* words = reinterpret_cast<uint64_t*>(block + page * kPage);
  for (size_t i = 0; i < kPage / 8; ++i) words[i] = stamp(page, round) + i;
}

void expect_page(char* block, size_t page, uint64_t round, const char* when) {
  const auto* words = reinterpret_cast<const uint64_t*>(block + page * kPage);
  for (size_t i = 0; i < kPage / 8; ++i)
    EXPECT(words[i] == stamp(page, round) + i, "page %zu has other bytes at word %zu %s", page, i, when);
}

bool is_protected(const bool* extents, size_t page) {
  const size_t at = page % (kExtent / kPage);
  return extents[page / (kExtent / kPage)] && at >= kFirst && at < kFirst + kPages;
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc == 2, "expected: one or each");
  struct sigaction action {};
  action.sa_handler = [](int) { siglongjmp(g_back, 1); };
  sigaction(SIGSEGV, &action, nullptr);
  void* memory = nullptr;
  EXPECT(posix_memalign(&memory, kExtent, kBytes) == 0, "posix_memalign");
  auto* block = static_cast<char*>(memory);
  constexpr size_t kAll = kBytes / kPage;
  for (size_t page = 0; page < kAll; ++page) write_page(block, page, 1);
  bool extents[kExtents] = {};
  for (size_t e = 0; e < kExtents; ++e) extents[e] = strcmp(argv[1], "each") == 0 || e == 9;
  for (const int protection : {PROT_READ, PROT_NONE}) {
    for (size_t e = 0; e < kExtents; ++e)
      if (extents[e])
        EXPECT(mprotect(block + e * kExtent + kFirst * kPage, kPages * kPage, protection) == 0,
               "mprotect: %s", strerror(errno));
    const auto can_read = [&](size_t page) {
      return protection == PROT_READ || !is_protected(extents, page);
    };
    send_out(block, kBytes);
    for (size_t page = 0; page < kAll; ++page)
      if (can_read(page)) expect_page(block, page, 1, "forward");
    for (size_t page = kAll; page-- > 0;)
      if (can_read(page)) expect_page(block, page, 1, "backward");
    for (size_t i = 0; i < kAll; ++i)
      if (const size_t page = i * 2741 % kAll; can_read(page)) expect_page(block, page, 1, "here and there");
    for (size_t e = 0; e < kExtents; ++e)
      EXPECT(faults(block + e * kExtent + kFirst * kPage) == extents[e], "the protection of extent %zu", e);
    for (size_t page = 0; page < kAll; ++page)
      if (!is_protected(extents, page)) write_page(block, page, 2);
    for (size_t i = 0; i < kAll; ++i) {
      const size_t page = i * 2741 % kAll;
      if (can_read(page))
        expect_page(block, page, is_protected(extents, page) ? 1 : 2, "after it was written");
    }
    EXPECT(mprotect(block, kBytes, PROT_READ | PROT_WRITE) == 0, "mprotect back: %s", strerror(errno));
    for (size_t page = 0; page < kAll; ++page)
      expect_page(block, page, is_protected(extents, page) ? 1 : 2, "without protection");
    for (size_t page = 0; page < kAll; ++page) write_page(block, page, 1);
  }
  free(block);
  return done();
}
