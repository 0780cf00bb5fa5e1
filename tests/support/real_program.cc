#include "tests/support/real_program.h"

#include <catch2/catch.hpp>
#include <memory>

#include "tests/support/leftovers.h"
#include "tests/support/memory_cap.h"
#include "tests/support/needs.h"
#include "tests/support/scratch_dir.h"

namespace spillway::test {

Outcome fine_under_spillway(const Command& command, size_t cap_bytes) {
  ScratchDir regions;
  std::unique_ptr<MemoryCap> cap;
  if (cap_bytes != 0 && MemoryCap::possible()) cap = std::make_unique<MemoryCap>(cap_bytes);
  // 1 MiB: most of what a program of modest size allocates in one piece goes to files.
  Command under =
      under_spillway({"--backing", "file", "--dir", regions.path(), "--threshold", "1M"}, command.argv);
  under.env.insert(under.env.end(), command.env.begin(), command.env.end());
  under.dir = command.dir;
  under.input = command.input;
  under.timeout = command.timeout;
  under.cap = cap.get();
  const Outcome got = run(under);
  INFO("under spillway: " << got.text() << (cap ? "\nOOM kills " + std::to_string(cap->oom_kills()) : ""));
  REQUIRE(got.signal == 0);
  REQUIRE(got.exit_code == 0);
  REQUIRE(leftovers(regions.path()) == "");
  return got;
}

Outcome same_under_spillway(const Command& command, size_t cap_bytes) {
  const Outcome plain = run(command);
  {
    INFO("plain run: " << plain.text());
    REQUIRE(plain.exit_code == 0);
  }
  const Outcome got = fine_under_spillway(command, cap_bytes);
  INFO("plain run: " << plain.text() << "\nunder spillway: " << got.text());
  REQUIRE(got.out == plain.out);
  REQUIRE(got.err == plain.err);
  return got;
}

}  // namespace spillway::test
