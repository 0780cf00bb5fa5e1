// pager_test.cc - the pager over a kernel, a disk and a machine that do what a test wants, in an order that
// a seed decides. What the real kernel does is in tests/pager and tests/preload.
#include <algorithm>

#include "tests/simulation/program.h"

#include "tests/support/catch.h"

using namespace spillway;
using simulation::Program;

namespace {

constexpr uint64_t kPages = Program::kPages, kExtents = Program::kExtents, kLimit = Program::kLimit;

// The body for so many seeds, each of which Catch2 names where something fails. SPILLWAY_SEED: for that one.
template <typename Body>
void for_seeds(uint64_t count, Body body, uint64_t bytes = Program::kBytes) {
  const char* const one = getenv("SPILLWAY_SEED");
  const uint64_t first = one != nullptr ? strtoull(one, nullptr, 10) : 1;
  for (uint64_t seed = first; seed < first + (one != nullptr ? 1 : count); ++seed) {
    INFO("seed " << seed);
    Program program(seed, bytes);
    body(program);
    CHECK(program.wrong == 0);
  }
}

}  // namespace

TEST_CASE("in whatever order things happen, every page keeps its bytes and the limit holds") {
  for_seeds(6, [](Program& program) {
    program.use(4, 6000);
    program.read_all();
    CHECK(program.was_within(kLimit));
    CHECK(program.pager().counters().stores > 0);
    CHECK(program.pager().counters().loads > 0);
  });
}

TEST_CASE("a seed repeats a run to the last event") {
  const auto history_of = [](uint64_t seed) {
    Program program(seed);
    program.use(3, 2000);
    return program.kernel.schedule.history();
  };
  CHECK(history_of(7) == history_of(7));
  CHECK(history_of(7) != history_of(8));
}

TEST_CASE("moves and copies that end half way, miscount, or find a page held are carried on") {
  for_seeds(6, [](Program& program) {
    program.kernel.trouble.again = 300;
    program.kernel.trouble.one_more = 2000;
    program.kernel.trouble.pinned = 5000;
    program.use(3, 5000);
    program.read_all();
    CHECK(program.was_within(kLimit));
  });
}

TEST_CASE("reads and writes that end early or are interrupted are carried on") {
  for_seeds(4, [](Program& program) {
    program.kernel.trouble.short_io = 2;
    program.kernel.trouble.interrupted = 5;
    program.use(3, 5000);
    program.read_all();
    CHECK(program.was_within(kLimit));
  });
}

TEST_CASE("what is touched while it is staged comes back without a read") {
  for_seeds(2, [](Program& program) {
    program.write_all();
    // The last that left are still there, or under way.
    REQUIRE(program.wait_until([&] { return program.kernel.writes > 0; }));
    const uint64_t before = program.pager().counters().staged_hits;
    for (int round = 0; round < 20; ++round)
      for (uint64_t extent = 0; extent < kExtents; ++extent) program.read(extent * kExtentPages);
    CHECK(program.pager().counters().staged_hits > before);
    CHECK(program.was_within(kLimit));
  });
}

TEST_CASE("what did not change is not written again, and zeroes never are") {
  for_seeds(2, [](Program& program) {
    for (uint64_t page = 0; page < kPages; ++page) program.read(page);
    CHECK(program.kernel.bytes_written == 0);
    CHECK(program.pager().counters().zeroes > 0);
    program.write_all();
    program.read_all();
    const uint64_t written = program.kernel.bytes_written;
    CHECK(written >= kPages * kPageBytes - kLimit);
    for (int round = 0; round < 3; ++round) program.read_all();
    // What was in memory has left once since.
    CHECK(program.kernel.bytes_written <= written + kLimit);
    CHECK(program.pager().counters().unchanged > 0);
  });
}

TEST_CASE("memory that was freed is not written any more") {
  for_seeds(2, [](Program& program) {
    uint64_t wrote_freed = 0, freed = 0;
    program.kernel.trouble.write_error = [&](uint64_t offset, uint64_t) {
      wrote_freed += offset < freed * kPageBytes;
      return 0;
    };
    for (int round = 0; round < 4; ++round) {
      program.write_all();
      program.release(0, kPages / 2 / kExtentPages * kExtentPages);
      freed = kPages / 2 / kExtentPages * kExtentPages;
      // What is under way may end; nothing begins.
      const uint64_t under_way = wrote_freed;
      for (uint64_t page = freed; page < kPages; ++page) program.write(page);
      CHECK(wrote_freed <= under_way + 3);
      freed = 0;
    }
    program.read_all();
  });
}

TEST_CASE("a disk that fills up: what cannot leave stays, and leaves when there is room") {
  for_seeds(3, [](Program& program) {
    program.kernel.trouble.write_error = [](uint64_t, uint64_t) { return ENOSPC; };
    program.write_all();
    program.read_all();
    CHECK(program.wrong == 0);
    CHECK(program.kernel.pages_there(program.range(0, kPages)) == kPages);
    REQUIRE(program.kernel.said.size() == 1);
    CHECK(program.kernel.said[0].find("No space left on device") != std::string::npos);
    program.kernel.trouble.write_error = nullptr;
    CHECK(program.wait_until(
        [&] { return program.kernel.pages_there() * kPageBytes <= kLimit + kLimit / 20; }));
    program.read_all();
  });
}

TEST_CASE("writes that fail now and then lose nothing") {
  for_seeds(12, [](Program& program) {
    program.kernel.trouble.write_error = [&](uint64_t, uint64_t) {
      return program.kernel.schedule.one_in(20) ? EIO : 0;
    };
    program.use(3, 5000);
    program.kernel.trouble.write_error = nullptr;
    program.read_all();
  });
}

TEST_CASE("where no room can be had on the disk, memory is refused") {
  for_seeds(1, [](Program& program) {
    program.kernel.trouble.room_error = ENOSPC;
    CHECK(program.pager().commit(program.range(0, kExtentPages)) == ENOSPC);
    program.kernel.trouble.room_error = 0;
    CHECK(program.pager().commit(program.range(0, kExtentPages)).ok());
  });
}

TEST_CASE("pages that cannot be read are SIGBUS, all others are as they were, and a discard makes them new") {
  for_seeds(4, [](Program& program) {
    program.write_all();
    // One page in the middle of each third extent.
    const auto is_bad = [](uint64_t page) { return page % (3 * kExtentPages) == 100; };
    program.kernel.trouble.read_error = [&](uint64_t offset, uint64_t bytes) {
      for (uint64_t at = offset; at < offset + bytes; at += kPageBytes)
        if (is_bad(at / kPageBytes)) return EIO;
      return 0;
    };
    uint64_t lost = 0;
    for (uint64_t page = 0; page < kPages; ++page)
      if (!program.can_read(page)) {
        CHECK(is_bad(page));
        ++lost;
      }
    CHECK(lost > 0);
    REQUIRE(!program.kernel.said.empty());
    CHECK(program.kernel.said[0].find("cannot read 4096 bytes at offset ") != std::string::npos);
    CHECK(program.kernel.said[0].find("Input/output error") != std::string::npos);
    program.kernel.trouble.read_error = nullptr;
    program.discard(0, kPages);
    program.read_all();
    program.write_all();
    program.read_all();
  });
}

TEST_CASE("locked memory stays where it is") {
  for_seeds(3, [](Program& program) {
    for (uint64_t page = 0; page < 700; ++page) program.write(page);
    program.kernel.set_locked(program.range(10, 600), true);
    program.use(3, 4000);
    CHECK(program.kernel.pages_there(program.range(10, 600)) == 600);
    program.kernel.set_locked(program.range(10, 600), false);
    program.use(3, 1000);
    program.read_all();
  });
}

TEST_CASE("after a fork nothing is written to what the child reads, and both keep their bytes") {
  for_seeds(4, [](Program& program) {
    for (int round = 0; round < 3; ++round) {
      program.use(3, 2000);
      program.fork();
      program.use(3, 1500);
      CHECK_FALSE(program.kernel.wrote_to_frozen_file);
      program.kernel.end_child();
    }
    program.read_all();
  });
}

TEST_CASE("forks while others fault, with moves that fail half way") {
  for_seeds(4, [](Program& program) {
    program.kernel.trouble.again = 500;
    program.kernel.trouble.pinned = 5000;
    for (int round = 0; round < 5; ++round) {
      program.start_using(3, 1500);
      program.wait_until([] { return false; }, 0);
      program.fork();
      program.kernel.schedule.join_program();
      CHECK_FALSE(program.kernel.wrote_to_frozen_file);
      program.kernel.end_child();
    }
    program.read_all();
  });
}

TEST_CASE("a smaller limit and a machine short of memory are followed at once") {
  for_seeds(2, [](Program& program) {
    program.write_all();
    program.set_limit(kLimit / 3 * 2);
    CHECK(program.wait_until([&] { return program.resident_bytes() <= kLimit / 3 * 2 + kLimit / 20; }));
    program.set_limit(kLimit);
    program.write_all();
    CHECK(program.resident_bytes() > kLimit / 3 * 2);
    // Somebody else takes all but 16 MiB.
    program.kernel.memory_left = [&] {
      return static_cast<int64_t>(16 * kMiB) - static_cast<int64_t>(program.resident_bytes());
    };
    CHECK(program.wait_until([&] { return program.resident_bytes() <= 17 * kMiB; }));
    program.write_all();
    program.read_all();
    CHECK(program.resident_bytes() <= 18 * kMiB);
  });
}

TEST_CASE("advice changes nothing but what is in memory") {
  for_seeds(2, [](Program& program) {
    program.write_all();
    for (int i = 0; i < 40; ++i) {
      constexpr Advice kAdvice[] = {Advice::kNormal, Advice::kSequential, Advice::kRandom,  Advice::kLoop,
                                    Advice::kKeep,   Advice::kDrop,       Advice::kPrefetch};
      const uint64_t extent = program.kernel.schedule.random(kExtents);
      program.advise(extent * kExtentPages, kExtentPages, kAdvice[i % 7]);
      for (int j = 0; j < 200; ++j) program.read(program.kernel.schedule.random(kPages));
    }
    program.read_all();
    CHECK(program.was_within(kLimit));
  });
}

TEST_CASE("an extent of which a child shares only a part can leave") {
  for_seeds(3, [](Program& program) {
    program.write_all();
    program.fork();
    std::vector<uint64_t> here;
    for (uint64_t extent = 0; extent < kExtents; ++extent)
      if (program.kernel.pages_there(program.range(extent * kExtentPages, kExtentPages)) == kExtentPages)
        here.push_back(extent);
    REQUIRE(here.size() > 4);
    for (const uint64_t extent : here)
      for (uint64_t page = 0; page < 100; ++page) program.write(extent * kExtentPages + page);
    for (int round = 0; round < 2; ++round)
      for (uint64_t page = 0; page < kPages; ++page)
        if (std::find(here.begin(), here.end(), page / kExtentPages) == here.end()) program.read(page);
    uint64_t stayed = 0;
    for (const uint64_t extent : here)
      stayed += program.kernel.is_there(program.address(extent * kExtentPages));
    CHECK(stayed <= here.size() / 2);
    CHECK_FALSE(program.kernel.wrote_to_frozen_file);
    program.read_all();
  });
}

TEST_CASE("however many forks there are, what leaves memory finds a file") {
  for_seeds(
      1,
      [](Program& program) {
        // In each generation other extents are the last to be written.
        uint64_t most_files = 0;
        for (int fork = 0; fork < 200; ++fork) {
          for (uint64_t i = 0; i < 3; ++i) {
            const uint64_t extent = program.kernel.schedule.random(program.extents);
            for (uint64_t page = 0; page < kExtentPages; page += 64)
              program.write(extent * kExtentPages + page);
          }
          program.fork();
          program.kernel.end_child();
          most_files = std::max(most_files, program.kernel.unnamed_files().size());
        }
        CHECK(program.kernel.said.empty());
        CHECK(most_files > SpillFiles::kMany);
        CHECK(most_files <= SpillFiles::kMany + 4);
        program.read_all();
        CHECK(program.was_within(kLimit));
      },
      8 * kLimit);
}

TEST_CASE("files of forks are gathered while others read from them") {
  for_seeds(
      2,
      [](Program& program) {
        simulation::Schedule& schedule = program.kernel.schedule;
        program.write_all();
        // Somebody reads of each extent that is being copied.
        std::vector<uint64_t> wanted;
        uint64_t gathered = 0;
        bool over = false;
        program.kernel.trouble.write_error = [&](uint64_t offset, uint64_t bytes) {
          if (bytes > kPageBytes && bytes < kExtentBytes) {
            ++gathered;
            const uint64_t extent = offset / kExtentBytes * kExtentPages;
            wanted.push_back(extent + schedule.random(kExtentPages));
          }
          return 0;
        };
        for (int i = 0; i < 2; ++i)
          schedule.start(simulation::Schedule::Kind::kProgram, [&] {
            while (!over || !wanted.empty()) {
              (void)schedule.wait_until([&] { return over || !wanted.empty(); });
              if (wanted.empty()) continue;
              const uint64_t page = wanted.back();
              wanted.pop_back();
              // Whatever was written there last: another thread may be at it.
              uint64_t value = 0;
              const bool is_there = program.kernel.load(program.address(page), value);
              program.wrong += !is_there || (value & 0xfffff) != page;
            }
          });
        for (int fork = 0; fork < 150; ++fork) {
          for (int i = 0; i < 2; ++i) {
            const uint64_t extent = schedule.random(program.extents);
            for (uint64_t page = 0; page < kExtentPages; ++page) program.write(extent * kExtentPages + page);
          }
          program.fork();
          program.kernel.end_child();
        }
        over = true;
        schedule.join_program();
        CHECK(gathered > 50);
        CHECK(program.kernel.said.empty());
        program.read_all();
      },
      8 * kLimit);
}
