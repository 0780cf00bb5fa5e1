// Allocates and writes blocks until there is no more: a refusal is NULL with ENOMEM and never SIGBUS; all
// that was written stays right; what is freed can be had again. argv: bytes of a block, at most so many.
#include <vector>

#include "tests/victims/pair.h"

using namespace victim;

int main(int argc, char** argv) {
  const size_t bytes = size_argument(argc, argv, 1, 4 * MiB), most = size_argument(argc, argv, 2, 100);
  std::vector<char*> blocks;
  blocks.reserve(most);
  bool refused = false;
  while (blocks.size() < most && !refused) {
    errno = 0;
    auto* p = static_cast<char*>(hidden(malloc(bytes)));
    if (p) {
      fill(p, bytes, blocks.size());
      blocks.push_back(p);
    } else {
      EXPECT(errno == ENOMEM, "refused with errno %d (%s)", errno, strerror(errno));
      refused = true;
    }
  }
  EXPECT(!blocks.empty(), "not even one block");
  for (size_t i = 0; i < blocks.size(); ++i) EXPECT_FILLED(blocks[i], bytes, i, "a block on a full disk");

  // Growing on the full disk: it works, or it fails and the block is as it was.
  errno = 0;
  auto* grown = static_cast<char*>(hidden(realloc(blocks.back(), 64 * bytes)));
  if (grown) {
    blocks.back() = grown;
    memset(grown + bytes, 1, 63 * bytes);
  } else {
    EXPECT(errno == ENOMEM, "realloc refused with errno %d", errno);
  }
  for (size_t i = 0; i < blocks.size(); ++i) EXPECT_FILLED(blocks[i], bytes, i, "a block after the realloc");

  // What is freed can be had again, but for what the file system needs to describe more, smaller pieces: a
  // block in fifty.
  size_t refusals = 0;
  for (size_t i = 0; i < blocks.size(); i += 2) {
    free(blocks[i]);
    blocks[i] = nullptr;
  }
  for (size_t i = 0; i < blocks.size(); i += 2) {
    blocks[i] = static_cast<char*>(malloc(bytes));
    if (blocks[i])
      fill(blocks[i], bytes, i);
    else
      ++refusals;
  }
  EXPECT(refusals <= blocks.size() / 100, "%zu of %zu freed blocks cannot be had again: %s", refusals,
         blocks.size() / 2, strerror(errno));
  std::erase(blocks, nullptr);
  for (size_t i = 0; i < blocks.size(); ++i) fill(blocks[i], bytes, i);
  // A child can write to all of it, and its parent too, though the disk has no room for two.
  const pid_t pid = must_fork();
  if (pid == 0) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      EXPECT_FILLED(blocks[i], bytes, i, "a child's block");
      fill(blocks[i], bytes, i + 1000);
    }
    for (size_t i = 0; i < blocks.size(); ++i)
      EXPECT_FILLED(blocks[i], bytes, i + 1000, "a child's rewritten block");
    _exit(0);
  }
  for (size_t i = 0; i < blocks.size(); ++i) fill(blocks[i], bytes, i + 2000);
  expect_good_end(pid, "the child on a full disk");
  for (size_t i = 0; i < blocks.size(); ++i)
    EXPECT_FILLED(blocks[i], bytes, i + 2000, "the parent's rewritten block");

  // Now part of the disk may be the children's: a refusal is an answer, wrong data are none.
  for (size_t i = 0; i < blocks.size(); i += 2) {
    free(blocks[i]);
    errno = 0;
    blocks[i] = static_cast<char*>(hidden(malloc(bytes)));
    EXPECT(blocks[i] || errno == ENOMEM, "refused with errno %d (%s)", errno, strerror(errno));
    if (blocks[i]) fill(blocks[i], bytes, i + 2000);
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i]) EXPECT_FILLED(blocks[i], bytes, i + 2000, "a block at the end");
    free(blocks[i]);
  }
  free(must_malloc(100));
  return done();
}
