#include "tests/support/real_program.h"

#include <algorithm>
#include <memory>

#include "tests/support/catch.h"
#include "tests/support/leftovers.h"
#include "tests/support/memory_cap.h"
#include "tests/support/needs.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"

namespace spillway::test {

namespace {

using Words = std::vector<std::string>;

Outcome fine_over(const char* backing, const Command& command, size_t cap_bytes, const Words& options) {
  ScratchDir regions;
  std::unique_ptr<MemoryCap> cap;
  if (cap_bytes != 0 && MemoryCap::possible()) cap = std::make_unique<MemoryCap>(cap_bytes);
  // 1 MiB: most of what a program of modest size allocates in one piece can spill.
  Words all = {"--backing", backing, "--dir", regions.path(), "--threshold", "1M"};
  all.insert(all.end(), options.begin(), options.end());
  Command under = under_spillway(all, command.argv);
  under.env.insert(under.env.end(), command.env.begin(), command.env.end());
  under.dir = command.dir;
  under.input = command.input;
  under.timeout = command.timeout;
  under.cap = cap.get();
  const Outcome got = run(under);
  INFO("over " << backing << ": " << got.text()
               << (cap ? "\nOOM kills " + std::to_string(cap->oom_kills()) : ""));
  REQUIRE(got.signal == 0);
  REQUIRE(got.exit_code == 0);
  REQUIRE(leftovers(regions.path()) == "");
  return got;
}

}  // namespace

Outcome fine_under_spillway(const Command& command, size_t cap_bytes) {
  (void)fine_over("auto", command, cap_bytes, {});
  return fine_over("file", command, cap_bytes, {});
}

Outcome same_under_spillway(const Command& command, size_t cap_bytes, const Words& options) {
  const Outcome plain = run(command);
  {
    INFO("plain run: " << plain.text());
    REQUIRE(plain.exit_code == 0);
  }
  const bool needs_managed = std::find(options.begin(), options.end(), "--heap") != options.end();
  if (needs_managed && !managed_is_possible()) return plain;
  for (const char* backing : {"auto", "file"}) {
    if (needs_managed && std::string_view(backing) == "file") continue;
    const Outcome got = fine_over(backing, command, cap_bytes, options);
    INFO("plain run: " << plain.text() << "\nover " << backing << ": " << got.text());
    REQUIRE(got.out == plain.out);
    REQUIRE(got.err == plain.err);
  }
  return plain;
}

}  // namespace spillway::test
