// trace_summary.h - what a trace comes to: how much of what, and where.
#pragma once
#include <array>
#include <map>
#include <string>
#include <vector>

#include "tools/trace_reader.h"

namespace spillway::tools {

struct TraceSummary {
  struct Extent {
    uint64_t faults = 0;  // touches that the program had to wait for
    uint64_t read_bytes = 0, written_bytes = 0;
  };
  struct Chunk {
    uint64_t begin = 0, end = 0;
  };

  uint64_t events = 0;
  uint64_t duration_us = 0;
  std::array<uint64_t, static_cast<size_t>(kLastTraceKind) + 1> counts{};
  uint64_t read_bytes = 0, written_bytes = 0;
  uint64_t ahead_used = 0;
  uint64_t peak_bytes = 0;  // of memory, as far as it was looked at
  uint64_t lost_events = 0;
  bool is_cut = false;
  std::map<uint64_t, Extent> extents;  // by address; those that something happened to
  std::vector<Chunk> chunks;           // as far as known, by address

  uint64_t count(TraceKind kind) const { return counts[static_cast<size_t>(kind)]; }
};

TraceSummary summarise(TraceReader& trace);

// For people; ends with a newline. With what there is to note about the file.
std::string text_of(const TraceSummary& summary, const TraceReader& trace);

// One line: program, process and limit.
std::string title_of(const TraceReader& trace);
std::vector<std::string> notes_of(const TraceSummary& summary, const TraceReader& trace);

// How many bytes the event read from or wrote to the disk.
uint64_t bytes_read(const TraceEvent& event, const TraceHeader& header);
uint64_t bytes_written(const TraceEvent& event, const TraceHeader& header);

std::string duration_text(uint64_t us);  // "1.5 s"

}  // namespace spillway::tools
