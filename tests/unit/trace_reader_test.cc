// trace_reader_test.cc - what is made of a trace, whole or not: the summary, the map and the picture.
#include "tools/trace_reader.h"

#include <cstring>
#include <string>
#include <vector>

#include "base/core/units.h"
#include "tests/support/scratch_dir.h"
#include "tools/failure.h"
#include "tools/trace_map.h"
#include "tools/trace_picture.h"
#include "tools/trace_summary.h"

#include "tests/support/catch.h"

using namespace spillway;
using namespace spillway::tools;
using test::ScratchDir;

namespace {

constexpr uint64_t kExtent = 2 * kMiB, kBase = 0x7f0000000000;

TraceHeader header() {
  TraceHeader h;
  memcpy(h.magic, kTraceMagic, sizeof h.magic);
  h.version = kTraceVersion;
  h.header_bytes = sizeof h;
  h.event_bytes = sizeof(TraceEvent);
  h.page_bytes = 4096;
  h.extent_bytes = kExtent;
  h.pid = 42;
  h.limit_bytes = 24 * kMiB;
  h.start_us = 1'700'000'000'000'000;
  strcpy(h.program, "prog<&>");
  return h;
}
std::string bytes_of(const auto& value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }
std::string file_of(const std::vector<TraceEvent>& events, const TraceHeader& h = header()) {
  std::string text = bytes_of(h);
  for (const TraceEvent& event : events) text += bytes_of(event);
  return text;
}
TraceEvent event(uint64_t ms, TraceKind kind, uint64_t extent, uint32_t pages = 512) {
  return {ms * 1000, kBase + extent * kExtent, pages, kind, {}};
}

// A trace in a file, read.
struct ReadTrace {
  explicit ReadTrace(const std::string& text) : reader(TraceReader::open(dir.write("t", text))) {
    summary = summarise(reader);
    notes = notes_of(summary, reader);
  }
  ScratchDir dir;
  TraceReader reader;
  TraceSummary summary;
  std::vector<std::string> notes;
};

std::string refusal(const std::string& text) {
  ScratchDir dir;
  try {
    TraceReader::open(dir.write("t", text));
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "";
}

const std::vector<TraceEvent> kLife = {
    {0, kBase, 1 << 20, TraceKind::kChunk, {}},
    event(1, TraceKind::kFirstTouch, 0),
    event(2, TraceKind::kEvict, 0),
    event(3, TraceKind::kWrite, 0),
    event(4, TraceKind::kDrop, 0),
    event(5, TraceKind::kFault, 0, 1),
    event(6, TraceKind::kExtentRead, 0),
    event(7, TraceKind::kReadAhead, 1),
    event(7, TraceKind::kReadAhead, 2),
    event(8, TraceKind::kExtentRead, 1),
    event(9, TraceKind::kStagedHit, 1),
    event(9, TraceKind::kDrop, 2),
    event(10, TraceKind::kLineRead, 5, 4),
    {10'500, 24 * kMiB, 5 * 256, TraceKind::kMemory, {}},
    {11'000, 24 * kMiB, 256, TraceKind::kMemory, {}},
};

}  // namespace

TEST_CASE("a summary counts events, bytes, what was read ahead and used, and the peak") {
  ReadTrace read(file_of(kLife));
  CHECK(read.notes.empty());
  const TraceSummary& s = read.summary;
  CHECK(s.events == kLife.size());
  CHECK(s.duration_us == 11'000);
  CHECK(s.read_bytes == 2 * kExtent + 4 * 4096);
  CHECK(s.written_bytes == kExtent);
  CHECK(s.count(TraceKind::kReadAhead) == 2);
  CHECK(s.ahead_used == 1);
  CHECK(s.peak_bytes == 5 * kMiB);
  CHECK(s.extents.size() == 4);
  CHECK(s.extents.at(kBase).faults == 2);
  CHECK(s.extents.at(kBase).read_bytes == kExtent);
  const std::string text = text_of(s, read.reader);
  for (const char* part : {"prog<&> (process 42), limit 24 MiB", "11.0 ms",
                           "asked for ahead             2 (50 % used)", "lines read                  1",
                           "busiest 2 MiB", "0x7f0000000000", "peak in memory              5 MiB"})
    CHECK_THAT(text, Catch::Contains(part));
}
TEST_CASE("a late read ahead counts as used once, however many threads wait for it") {
  ReadTrace read(file_of({event(0, TraceKind::kReadAhead, 3), event(1, TraceKind::kFaultUnderWay, 3, 1),
                          event(1, TraceKind::kFaultUnderWay, 3, 1), event(2, TraceKind::kExtentRead, 3),
                          event(3, TraceKind::kExtentRead, 3)}));
  CHECK(read.summary.ahead_used == 1);
  TraceMap map(read.reader, read.summary, 4, 1);
  CHECK(map.cell(2, 0).shade == Shade::kAhead);
  CHECK(map.cell(3, 0).shade == Shade::kExtentRead);
}
TEST_CASE("a file that is cut is read as far as it goes, and it is said") {
  const std::string whole = file_of(kLife);
  for (size_t cut = 1; cut < sizeof(TraceEvent); ++cut) {
    ReadTrace read(whole.substr(0, whole.size() - cut));
    CHECK(read.summary.events == kLife.size() - 1);
    REQUIRE(read.notes.size() == 1);
    CHECK_THAT(read.notes[0], Catch::Contains("ends within an event"));
  }
  ReadTrace empty(bytes_of(header()));
  REQUIRE(empty.notes.size() == 1);
  CHECK_THAT(empty.notes[0], Catch::Contains("no events"));
  CHECK_THAT(draw_trace(empty.reader, empty.summary, 600, 400), Catch::Contains("nothing happened"));
}
TEST_CASE("what is no trace is refused in words") {
  CHECK_THAT(refusal(""), Catch::Contains("is empty"));
  CHECK_THAT(refusal("#!/bin/sh\n"), Catch::Contains("is no trace"));
  CHECK_THAT(refusal(std::string(500, '\0')), Catch::Contains("is no trace"));
  CHECK_THAT(refusal(bytes_of(header()).substr(0, 100)), Catch::Contains("100 of 128 bytes"));
  for (const auto spoil : std::vector<void (*)(TraceHeader&)>{
           [](TraceHeader& h) { h.version = 0; }, [](TraceHeader& h) { h.header_bytes = 16; },
           [](TraceHeader& h) { h.event_bytes = 0; }, [](TraceHeader& h) { h.event_bytes = 1 << 30; },
           [](TraceHeader& h) { h.page_bytes = 0; }, [](TraceHeader& h) { h.extent_bytes = 3 << 20; }}) {
    TraceHeader h = header();
    spoil(h);
    CHECK_THAT(refusal(bytes_of(h)), Catch::Contains("header is damaged"));
  }
}
TEST_CASE("damaged events are left out and counted, the others are shown") {
  std::vector<TraceEvent> events = kLife;
  events.insert(events.begin() + 3, event(2, TraceKind{}, 0));                        // no kind
  events.insert(events.begin() + 5, event(0, TraceKind::kEvict, 0));                  // before its time
  events.insert(events.begin() + 6, event(uint64_t{1} << 50, TraceKind::kEvict, 0));  // far after it
  events.insert(events.begin() + 7, event(3, TraceKind{200}, 0));
  events.insert(events.begin() + 8, {3000, kBase + 1, 1, TraceKind::kEvict, {}});
  events.insert(events.begin() + 9, event(3, TraceKind::kEvict, 0, 513));
  events.insert(events.begin() + 9, {3000, ~uint64_t{0}, 1, TraceKind::kEvict, {}});
  ReadTrace read(file_of(events));
  CHECK(read.summary.events == kLife.size());
  CHECK(read.summary.read_bytes == ReadTrace(file_of(kLife)).summary.read_bytes);
  REQUIRE(read.notes.size() == 1);
  CHECK_THAT(read.notes[0], Catch::Contains("damaged: 7 events of 22"));
}
TEST_CASE("a later version's file is read as far as it is known, and it is said") {
  TraceHeader h = header();
  h.version = kTraceVersion + 1;
  h.header_bytes = sizeof h + 32;
  h.event_bytes = sizeof(TraceEvent) + 8;
  std::string text = bytes_of(h) + std::string(32, 'x');
  for (const TraceEvent& e : kLife) text += bytes_of(e) + std::string(8, 'x');
  text += bytes_of(event(12, TraceKind{99}, 0)) + std::string(8, 'x');
  ReadTrace read(text);
  CHECK(read.summary.events == kLife.size());
  CHECK(read.summary.written_bytes == kExtent);
  REQUIRE(read.notes.size() == 2);
  CHECK_THAT(read.notes[0], Catch::Contains("later Spillway (format 2"));
  CHECK_THAT(read.notes[1], Catch::Contains("1 event is of a kind"));
}
TEST_CASE("lost events and a full file are told") {
  ReadTrace read(file_of({event(0, TraceKind::kFirstTouch, 0),
                          {1000, 0, 77, TraceKind::kLost, {}},
                          {2000, 0, 0, TraceKind::kCut, {}}}));
  REQUIRE(read.notes.size() == 2);
  CHECK_THAT(read.notes[0], Catch::Contains("77 events are missing"));
  CHECK_THAT(read.notes[1], Catch::Contains("full after 2.0 ms"));
}
TEST_CASE("a map has what was used of the address space, one stretch above the other") {
  ReadTrace read(file_of({event(0, TraceKind::kFirstTouch, 0), event(10, TraceKind::kEvict, 1000),
                          event(20, TraceKind::kExtentRead, 1001), event(20, TraceKind::kWrite, 1001),
                          event(40, TraceKind::kLineRead, 0, 1)}));
  // 3 extents in 6 rows, 10 ms a column.
  TraceMap map(read.reader, read.summary, 4, 6);
  CHECK(map.space().bytes() == 3 * kExtent);
  REQUIRE(map.space().stretches().size() == 2);
  CHECK(map.space().stretches()[1].address == kBase + 1000 * kExtent);
  CHECK(map.space().stretches()[1].at == kExtent);
  const auto shows = [&](int column, int row, Shade shade) {
    return !map.cell(column, row).is_empty && map.cell(column, row).shade == shade;
  };
  for (int row : {0, 1}) CHECK(shows(0, row, Shade::kTouch));
  for (int row : {2, 3}) CHECK(shows(1, row, Shade::kEvicted));
  for (int row : {4, 5}) CHECK(shows(2, row, Shade::kExtentRead));  // before what leaves
  CHECK(map.cell(2, 4).events == 2);
  CHECK(shows(3, 0, Shade::kLineRead));  // the last moment is in the last column
  CHECK(map.cell(3, 1).is_empty);        // a page is not an extent
  CHECK(map.cell(1, 0).is_empty);
  CHECK(map.read_bytes() == std::vector<uint64_t>{0, 0, kExtent, 4096});
  CHECK(map.written_bytes() == std::vector<uint64_t>{0, 0, kExtent, 0});
}
TEST_CASE("of a dot what comes there is shown before what leaves, and a write before an eviction") {
  ReadTrace read(file_of({event(0, TraceKind::kEvict, 0, 1), event(0, TraceKind::kEvict, 0, 1),
                          event(0, TraceKind::kWrite, 0, 1), event(10, TraceKind::kEvict, 0, 1),
                          event(10, TraceKind::kEvict, 0, 1), event(10, TraceKind::kLineRead, 0, 1),
                          event(20, TraceKind::kReadAhead, 0), event(20, TraceKind::kExtentZeroed, 0),
                          event(30, TraceKind::kStagedHit, 0)}));
  TraceMap map(read.reader, read.summary, 3, 1);
  CHECK(map.cell(0, 0).shade == Shade::kWritten);
  CHECK(map.cell(1, 0).shade == Shade::kLineRead);
  CHECK(map.cell(1, 0).events == 3);
  CHECK(map.cell(2, 0).shade == Shade::kTouch);  // found zeroed: nothing was read
}
TEST_CASE("what comes from compressed memory and goes there is no reading or writing of the disk") {
  ReadTrace read(file_of({event(0, TraceKind::kCompress, 0), event(10, TraceKind::kExtentExpand, 0),
                          event(20, TraceKind::kLineExpand, 0, 4), event(30, TraceKind::kReadAhead, 0),
                          event(30, TraceKind::kExtentExpand, 0), event(30, TraceKind::kStagedHit, 0)}));
  CHECK(read.summary.read_bytes == 0);
  CHECK(read.summary.written_bytes == 0);
  CHECK(read.summary.ahead_used == 1);
  const std::string text = text_of(read.summary, read.reader);
  for (const char* part :
       {"extents expanded            2", "lines expanded              1", "compressed, not written     1"})
    CHECK_THAT(text, Catch::Contains(part));
  TraceMap map(read.reader, read.summary, 4, 1);
  CHECK(map.cell(0, 0).is_empty);
  CHECK(map.cell(1, 0).shade == Shade::kExpanded);
  CHECK(map.cell(2, 0).shade == Shade::kExpanded);
  CHECK(map.cell(3, 0).shade == Shade::kAhead);
}
TEST_CASE("a picture marks forks, and when something waits for room") {
  ReadTrace read(file_of({event(0, TraceKind::kFirstTouch, 0),
                          {5000, 0, 0, TraceKind::kFork, {}},
                          {8000, 0x1000, 1, TraceKind::kWait, {}},
                          event(9, TraceKind::kEvict, 0)}));
  const std::string svg = draw_trace(read.reader, read.summary, 800, 600);
  CHECK_THAT(svg, Catch::Contains(">fork</text>") && Catch::Contains("wait for room"));
}
TEST_CASE("what the program gives back is shown where something was, however much it is") {
  ReadTrace read(
      file_of({event(0, TraceKind::kFirstTouch, 3), {10'000, kBase, 1u << 24, TraceKind::kDiscard, {}}}));
  TraceMap map(read.reader, read.summary, 2, 2);
  CHECK(map.space().bytes() == kExtent);
  CHECK(map.cell(1, 0).shade == Shade::kDiscarded);
  CHECK(map.cell(1, 0).events == 1);
}
TEST_CASE(
    "a picture is drawn in every size, with its colours, units and legend, and nothing from elsewhere") {
  ReadTrace read(file_of(kLife));
  for (const auto& [width, height] :
       {std::pair(kLeastWidth, kLeastHeight), std::pair(1200, 800), std::pair(kMostPixels, kMostPixels)}) {
    const std::string svg = draw_trace(read.reader, read.summary, width, height);
    CHECK(
        svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + std::to_string(width) + "\""));
    CHECK(svg.ends_with("</svg>\n"));
    for (const char* part : {"prog&lt;&amp;&gt;", "read ahead", "line read after a fault", "written", "MB/s",
                             "time since the pager started (ms)", "8 MiB", "0x7f0000000000"})
      CHECK_THAT(svg, Catch::Contains(part));
    for (const char* part : {"href", "<script", "nan", "inf", "url("})
      CHECK_THAT(svg, !Catch::Contains(part));
    CHECK_THAT(svg, !Catch::Contains("found in staging"));  // of what there is
  }
}
