// trace_test.cc - what the pager notes is in the file, and what happens when it cannot be.
#include "libpreload/pager/trace.h"

#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/support/scratch_dir.h"
#include "tests/unit/in_child.h"
#include "tools/trace_reader.h"

#include "tests/support/catch.h"

using namespace spillway;
using test::in_child;
using test::ScratchDir;
using tools::TraceReader;

namespace {

// For ever, as are the threads that write.
Trace& new_trace(const std::string& path, uint64_t most_bytes = Trace::kMostBytes) {
  auto* trace = new Trace;
  trace->configure(path.c_str(), most_bytes);
  return *trace;
}

// Address that a test gives the event of number i.
uint64_t address_of(uint64_t i) { return (i + 1) * kExtentBytes; }
void note(Trace& trace, uint64_t from, uint64_t count) {
  for (uint64_t i = from; i < from + count; ++i)
    trace.note(TraceKind::kEvict, reinterpret_cast<char*>(address_of(i)), 1 + i % kExtentPages);
}

std::vector<TraceEvent> events_of(const std::string& path) {
  TraceReader reader = TraceReader::open(path);
  std::vector<TraceEvent> events;
  reader.for_each([&](const TraceEvent& event) { events.push_back(event); });
  for (const std::string& said : reader.notes()) FAIL_CHECK(said);
  return events;
}

uint64_t bytes_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return static_cast<uint64_t>(status.st_size);
}

}  // namespace

TEST_CASE("what is noted is in the file, in order, under a header that says what it is of") {
  ScratchDir dir;
  Trace& trace = new_trace(dir / "t");
  trace.start(/*limit_bytes=*/64 * kMiB, /*budget_bytes=*/60 * kMiB);
  REQUIRE(trace.is_on());
  note(trace, 0, 1000);
  trace.note_memory(5 * kMiB, 60 * kMiB);
  trace.flush();

  const TraceHeader header = TraceReader::open(dir / "t").header();
  CHECK(header.version == kTraceVersion);
  CHECK(header.pid == static_cast<uint32_t>(::getpid()));
  CHECK(header.page_bytes == kPageBytes);
  CHECK(header.extent_bytes == kExtentBytes);
  CHECK(header.limit_bytes == 64 * kMiB);
  CHECK(header.budget_bytes == 60 * kMiB);
  const std::vector<TraceEvent> events = events_of(dir / "t");
  REQUIRE(events.size() == 1001);
  for (uint64_t i = 0; i < 1000; ++i) {
    REQUIRE(events[i].kind == TraceKind::kEvict);
    REQUIRE(events[i].address == address_of(i));
    REQUIRE(events[i].pages == 1 + i % kExtentPages);
  }
  CHECK(events[1000].kind == TraceKind::kMemory);
  CHECK(events[1000].address == 60 * kMiB);
  CHECK(events[1000].pages == 5 * kMiB / kPageBytes);
  // What comes later is there later.
  note(trace, 1001, 5);
  trace.flush();
  CHECK(events_of(dir / "t").size() == 1006);
}
TEST_CASE("without a name nothing is noted, and no file made") {
  ScratchDir dir;
  const auto made = std::make_unique<Trace>();
  Trace& trace = *made;
  trace.configure(nullptr);
  CHECK_FALSE(trace.is_wanted());
  trace.start(0, kGiB);
  CHECK_FALSE(trace.is_on());
  note(trace, 0, 10);
  trace.flush();
  CHECK(dir.files().empty());
}
TEST_CASE("events that come faster than they are written are counted, and the others are whole") {
  if (!test::kForkIsFine) return;
  ScratchDir dir;
  constexpr uint64_t kNoted = 2'000'000;
  const test::Ended ended = in_child([&] {
    Trace& trace = new_trace(dir / "t");
    trace.start(0, kGiB);
    note(trace, 0, kNoted);
    // The number of those that are missing comes with the next.
    trace.flush();
    note(trace, kNoted, 1);
    trace.flush();
    return 0;
  });
  CHECK(ended.exit_code == 0);
  CHECK(ended.err == "");
  uint64_t next = 0, lost = 0;
  for (const TraceEvent& event : events_of(dir / "t")) {
    if (event.kind == TraceKind::kLost) {
      lost += event.pages;
      next += event.pages;
    } else {
      REQUIRE(event.address == address_of(next));
      ++next;
    }
  }
  CHECK(next == kNoted + 1);
  CHECK(lost > 0);
}
TEST_CASE("a file does not become larger than it may, says so, and so does the program") {
  if (!test::kForkIsFine) return;
  ScratchDir dir;
  const test::Ended ended = in_child([&] {
    Trace& trace = new_trace(dir / "t", /*most_bytes=*/16 * kKiB);
    trace.start(0, kGiB);
    note(trace, 0, 10'000);
    trace.flush();
    return trace.is_on() ? 1 : 0;
  });
  CHECK(ended.exit_code == 0);
  CHECK_THAT(ended.err, Catch::Contains(dir / "t") && Catch::Contains("as large as it may be"));
  CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
  CHECK(bytes_of(dir / "t") <= 16 * kKiB);
  CHECK(bytes_of(dir / "t") > 16 * kKiB - 2 * sizeof(TraceEvent));
  const std::vector<TraceEvent> events = events_of(dir / "t");
  CHECK(events.back().kind == TraceKind::kCut);
  CHECK(events[events.size() - 2].address == address_of(events.size() - 2));
}
TEST_CASE("a file that is no trace keeps its text, an older trace makes room") {
  if (!test::kForkIsFine) return;
  ScratchDir dir;
  dir.write("mine", "dear diary");
  dir.write("empty", "");
  dir.write("old", std::string(kTraceMagic, sizeof kTraceMagic) + std::string(10'000, 'x'));
  const auto start = [&](const std::string& name) {
    return in_child([&] {
      Trace& trace = new_trace(dir / name);
      trace.start(0, kGiB);
      note(trace, 0, 3);
      trace.flush();
      return trace.is_on() ? 0 : 1;
    });
  };
  const test::Ended refused = start("mine");
  CHECK(refused.exit_code == 1);
  CHECK_THAT(refused.err, Catch::Contains(dir / "mine") && Catch::Contains("no trace"));
  CHECK(dir.read("mine") == "dear diary");
  for (const char* name : {"empty", "old"}) {
    const test::Ended started = start(name);
    CHECK(started.err == "");
    CHECK(events_of(dir / name).size() == 3);
  }
}
TEST_CASE("a file that cannot be made costs one line") {
  if (!test::kForkIsFine) return;
  ScratchDir dir;
  for (const std::string& path : {dir / "no/such", dir.path(), std::string("/dev/null")}) {
    const test::Ended ended = in_child([&] {
      Trace& trace = new_trace(path);
      trace.start(0, kGiB);
      note(trace, 0, 3);
      trace.flush();
      return trace.is_on() ? 1 : 0;
    });
    INFO(ended.err);
    CHECK(ended.exit_code == 0);
    CHECK_THAT(ended.err, Catch::Contains("SPILLWAY_TRACE") && Catch::Contains(path));
    CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
  }
}
TEST_CASE("of two processes that trace to one file, the second has its own") {
  if (!test::kForkIsFine) return;
  ScratchDir dir;
  const test::Ended ended = in_child([&] {
    Trace &first = new_trace(dir / "t"), &second = new_trace(dir / "t");
    first.start(0, kGiB);
    second.start(0, kGiB);
    note(first, 0, 2);
    note(second, 0, 7);
    first.flush();
    second.flush();
    return 0;
  });
  CHECK(ended.err == "");
  REQUIRE(dir.files().size() == 2);
  CHECK(dir.files()[1].starts_with("t."));
  CHECK(events_of(dir / "t").size() == 2);
  CHECK(events_of(dir / dir.files()[1]).size() == 7);
}
TEST_CASE("a forked child's file has the process id after its name, and begins anew") {
  if (!test::kForkIsFine) return;
  ScratchDir dir;
  const test::Ended ended = in_child([&] {
    Trace& trace = new_trace(dir / "t");
    trace.start(0, kGiB);
    note(trace, 0, 100);
    const pid_t pid = ::fork();
    if (pid == 0) {
      trace.forget();
      if (trace.is_on()) ::_exit(1);
      trace.start(0, kGiB);
      note(trace, 0, 4);
      trace.flush();
      ::_exit(0);
    }
    const int status = test::wait_for(pid).exit_code;
    trace.flush();
    return status;
  });
  CHECK(ended.exit_code == 0);
  CHECK(ended.err == "");
  REQUIRE(dir.files().size() == 2);
  CHECK(events_of(dir / "t").size() == 100);
  const std::string own = dir.files()[1];
  CHECK(own == "t." + std::to_string(TraceReader::open(dir / own).header().pid));
  CHECK(events_of(dir / own).size() == 4);
}
TEST_CASE("a relative name is of the directory the program began in") {
  if (!test::kForkIsFine) return;
  ScratchDir dir;
  const test::Ended ended = in_child([&] {
    if (::chdir(dir.path().c_str()) != 0) return 1;
    Trace& trace = new_trace("t");
    if (::chdir("/") != 0) return 1;
    trace.start(0, kGiB);
    trace.flush();
    return 0;
  });
  CHECK(ended.exit_code == 0);
  CHECK(dir.files() == std::vector<std::string>{"t"});
}
