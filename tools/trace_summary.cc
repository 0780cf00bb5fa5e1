#include "tools/trace_summary.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "tools/finding.h"

namespace spillway::tools {
namespace {

constexpr size_t kMostBusy = 8;

struct Line {
  TraceKind kind;
  const char* text;
};
// In the order of a page's life.
constexpr Line kLines[] = {
    {TraceKind::kPresent, "in memory at the start"},
    {TraceKind::kFirstTouch, "first touches"},
    {TraceKind::kFault, "faults on what is on disk"},
    {TraceKind::kFaultUnderWay, "faults on what is under way"},
    {TraceKind::kStagedHit, "found in staging"},
    {TraceKind::kReadAhead, "asked for ahead"},
    {TraceKind::kExtentRead, "extents read"},
    {TraceKind::kExtentZeroed, "extents zeroed"},
    {TraceKind::kLineRead, "lines read"},
    {TraceKind::kExtentExpand, "extents expanded"},
    {TraceKind::kLineExpand, "lines expanded"},
    {TraceKind::kEvict, "evictions"},
    {TraceKind::kWrite, "writes"},
    {TraceKind::kCompress, "compressed, not written"},
    {TraceKind::kUnchanged, "unchanged, not written"},
    {TraceKind::kZero, "zeroes, not written"},
    {TraceKind::kDrop, "dropped from memory"},
    {TraceKind::kDiscard, "given back by the program"},
    {TraceKind::kWait, "waits for room"},
    {TraceKind::kFork, "forks"},
};

bool is_fault(TraceKind kind) {
  return kind == TraceKind::kFirstTouch || kind == TraceKind::kFault || kind == TraceKind::kFaultUnderWay ||
         kind == TraceKind::kStagedHit;
}

std::string rate(uint64_t bytes, uint64_t us) {
  if (us == 0) return "";
  return fmt::format(" ({:.1f} MB/s)", static_cast<double>(bytes) / static_cast<double>(us));
}

void add_busiest(std::string& text, const TraceSummary& summary, const TraceHeader& header) {
  std::vector<const std::pair<const uint64_t, TraceSummary::Extent>*> busy;
  for (const auto& extent : summary.extents)
    if (extent.second.faults > 0 || extent.second.read_bytes > 0) busy.push_back(&extent);
  const size_t n = std::min(kMostBusy, busy.size());
  if (n == 0) return;
  std::partial_sort(busy.begin(), busy.begin() + static_cast<ptrdiff_t>(n), busy.end(),
                    [](const auto* a, const auto* b) {
                      return std::tuple(a->second.read_bytes, a->second.faults, b->first) >
                             std::tuple(b->second.read_bytes, b->second.faults, a->first);
                    });
  text += fmt::format("  {:<22} {:>8} {:>10} {:>10}\n", "busiest " + human_size(header.extent_bytes),
                      "faults", "read", "written");
  for (size_t i = 0; i < n; ++i)
    text += fmt::format("    {:<20} {:>8} {:>10} {:>10}\n", fmt::format("{:#x}", busy[i]->first),
                        busy[i]->second.faults, human_size(busy[i]->second.read_bytes),
                        human_size(busy[i]->second.written_bytes));
}

}  // namespace

uint64_t bytes_read(const TraceEvent& event, const TraceHeader& header) {
  const bool reads = event.kind == TraceKind::kExtentRead || event.kind == TraceKind::kLineRead;
  return reads ? uint64_t{event.pages} * header.page_bytes : 0;
}

uint64_t bytes_written(const TraceEvent& event, const TraceHeader& header) {
  return event.kind == TraceKind::kWrite ? uint64_t{event.pages} * header.page_bytes : 0;
}

std::string duration_text(uint64_t us) {
  if (us < 1000) return fmt::format("{} us", us);
  if (us < 1'000'000) return fmt::format("{:.1f} ms", static_cast<double>(us) / 1e3);
  if (us < 600'000'000) return fmt::format("{:.2f} s", static_cast<double>(us) / 1e6);
  return fmt::format("{:.1f} min", static_cast<double>(us) / 6e7);
}

TraceSummary summarise(TraceReader& trace) {
  TraceSummary summary;
  const TraceHeader& header = trace.header();
  ReadAheads aheads(header.extent_bytes);
  trace.for_each([&](const TraceEvent& event) {
    ++summary.events;
    ++summary.counts[static_cast<size_t>(event.kind)];
    summary.duration_us = event.time_us;
    const uint64_t bytes = uint64_t{event.pages} * header.page_bytes;
    switch (event.kind) {
      case TraceKind::kChunk:
        summary.chunks.push_back({event.address, event.address + bytes});
        return;
      case TraceKind::kMemory:
        summary.peak_bytes = std::max(summary.peak_bytes, bytes);
        return;
      case TraceKind::kLost:
        summary.lost_events += event.pages;
        return;
      case TraceKind::kCut:
        summary.is_cut = true;
        return;
      case TraceKind::kChunkGone:
      case TraceKind::kDiscard:
      case TraceKind::kWait:
      case TraceKind::kFork:
        return;
      default:
        break;
    }
    TraceSummary::Extent& extent = summary.extents[event.address - event.address % header.extent_bytes];
    extent.faults += is_fault(event.kind);
    extent.read_bytes += bytes_read(event, header);
    extent.written_bytes += bytes_written(event, header);
    summary.read_bytes += bytes_read(event, header);
    summary.written_bytes += bytes_written(event, header);
    summary.ahead_used += aheads.take(event).is_use;
  });
  std::sort(summary.chunks.begin(), summary.chunks.end(),
            [](const auto& a, const auto& b) { return a.begin < b.begin; });
  return summary;
}

std::string title_of(const TraceReader& trace) {
  const TraceHeader& header = trace.header();
  return fmt::format("{} (process {}), {}", trace.program(), header.pid,
                     header.limit_bytes != 0
                         ? "limit " + human_size(header.limit_bytes)
                         : "no limit, " + human_size(header.budget_bytes) + " to begin with");
}

std::vector<std::string> notes_of(const TraceSummary& summary, const TraceReader& trace) {
  std::vector<std::string> notes = trace.notes();
  if (summary.lost_events > 0)
    notes.push_back(
        fmt::format("{} events are missing: the disk was slower than they came.", summary.lost_events));
  if (summary.is_cut)
    notes.push_back(fmt::format("The file was full after {}: what happened later is not in it.",
                                duration_text(summary.duration_us)));
  return notes;
}

std::string text_of(const TraceSummary& summary, const TraceReader& trace) {
  const TraceHeader& header = trace.header();
  std::string text = fmt::format("{}: {}\n", trace.name(), title_of(trace));
  for (const std::string& note : notes_of(summary, trace)) text += "  note: " + note + "\n";
  const auto add = [&text](const char* what, const std::string& value) {
    text += fmt::format("  {:<28}{}\n", what, value);
  };
  const auto seconds = static_cast<time_t>(std::min<uint64_t>(header.start_us / 1'000'000, 253402300799));
  add("pager started", fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(seconds)));
  add("duration", duration_text(summary.duration_us));
  if (summary.count(TraceKind::kMemory) > 0) add("peak in memory", human_size(summary.peak_bytes));
  add("touched", human_size(summary.extents.size() * header.extent_bytes));
  add("read", human_size(summary.read_bytes) + rate(summary.read_bytes, summary.duration_us));
  add("written", human_size(summary.written_bytes) + rate(summary.written_bytes, summary.duration_us));
  const uint64_t ahead = summary.count(TraceKind::kReadAhead);
  for (const Line& line : kLines) {
    const uint64_t n = summary.count(line.kind);
    if (n == 0) continue;
    const bool is_ahead = line.kind == TraceKind::kReadAhead;
    add(line.text,
        is_ahead ? fmt::format("{} ({} % used)", n, summary.ahead_used * 100 / ahead) : fmt::to_string(n));
  }
  add_busiest(text, summary, header);
  return text;
}

}  // namespace spillway::tools
