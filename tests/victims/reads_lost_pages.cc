// The disk under a spilled block fails: what was in memory is right, what was not is SIGBUS (EFAULT in system
// calls) and never wrong bytes; the block can be freed, and a new one is refused or whole.
//   reads_lost_pages BYTES FIFO    says `ready`, then waits for a byte: the disk must fail meanwhile
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

constexpr size_t kPage = 4096;
sigjmp_buf after_fault;

void on_sigbus(int) { siglongjmp(after_fault, 1); }

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc == 3, "usage: reads_lost_pages BYTES FIFO");
  const size_t bytes = size_argument(argc, argv, 1, 0);
  char* block = must_malloc(bytes);
  fill(block, bytes, 1);
  puts("ready");
  fflush(stdout);
  char go;
  const int fifo = open(argv[2], O_RDONLY);
  EXPECT(read(fifo, &go, 1) == 1, "fifo: %s", strerror(errno));

  signal(SIGBUS, on_sigbus);
  volatile size_t right = 0, lost = 0;
  for (size_t page = 0; page < bytes / kPage; ++page) {
    const size_t at = page * kPage;
    if (sigsetjmp(after_fault, 1) == 0) {
      auto* words = reinterpret_cast<volatile uint64_t*>(block + at);
      for (size_t i = 0; i < kPage / 8; i += 37)
        EXPECT(words[i] == pattern(1, at / 8 + i), "wrong data at offset %zu", at + 8 * i);
      right = right + 1;
    } else {
      lost = lost + 1;
      int ends[2];
      EXPECT(pipe(ends) == 0, "pipe: %s", strerror(errno));
      EXPECT(write(ends[1], block + at, kPage) == -1 && errno == EFAULT, "a lost page can be written out");
      close(ends[0]), close(ends[1]);
    }
  }
  EXPECT(right > 0, "nothing is left");
  EXPECT(lost > 0, "nothing is lost");

  free(block);
  block = static_cast<char*>(hidden(malloc(bytes)));
  EXPECT(block || errno == ENOMEM, "malloc: %s", strerror(errno));
  if (block) {
    fill(block, bytes, 2);
    EXPECT_FILLED(block, bytes, 2, "a new block");
  }
  return done();
}
