#include "tools/trace_map.h"

#include <algorithm>
#include <optional>

namespace spillway::tools {
namespace {

// What the event looks like; nothing: it is told by another one.
std::optional<Shade> shade_of(const TraceEvent& event, ReadAheads::Answer ahead) {
  switch (event.kind) {
    case TraceKind::kPresent:
    case TraceKind::kFirstTouch:
    case TraceKind::kExtentZeroed:
      return Shade::kTouch;
    case TraceKind::kExtentRead:
      return ahead.is_ahead ? Shade::kAhead : Shade::kExtentRead;
    case TraceKind::kLineRead:
      return Shade::kLineRead;
    case TraceKind::kExtentExpand:
      return ahead.is_ahead ? Shade::kAhead : Shade::kExpanded;
    case TraceKind::kLineExpand:
      return Shade::kExpanded;
    case TraceKind::kStagedHit:
      return ahead.was_zeroed ? Shade::kTouch : ahead.is_ahead ? Shade::kAhead : Shade::kStaged;
    case TraceKind::kEvict:
      return Shade::kEvicted;
    case TraceKind::kWrite:
      return Shade::kWritten;
    case TraceKind::kDiscard:
      return Shade::kDiscarded;
    default:
      return std::nullopt;
  }
}

}  // namespace

UsedSpace::UsedSpace(const TraceSummary& summary, uint64_t extent_bytes) {
  size_t chunk = 0;
  uint64_t last_chunk = 0;
  for (const auto& [address, extent] : summary.extents) {
    while (chunk < summary.chunks.size() && summary.chunks[chunk].end <= address) ++chunk;
    const bool continues = !stretches_.empty() && chunk == last_chunk &&
                           stretches_.back().address + stretches_.back().bytes == address;
    if (!continues) stretches_.push_back({address, 0, bytes_});
    stretches_.back().bytes += extent_bytes;
    bytes_ += extent_bytes;
    last_chunk = chunk;
  }
}

template <typename F>
void UsedSpace::for_each_part(uint64_t address, uint64_t bytes, F&& visit) const {
  const uint64_t end = address + bytes;
  auto s = std::upper_bound(stretches_.begin(), stretches_.end(), address,
                            [](uint64_t a, const Stretch& stretch) { return a < stretch.address; });
  if (s != stretches_.begin()) --s;
  for (; s != stretches_.end() && s->address < end; ++s) {
    const uint64_t from = std::max(address, s->address), to = std::min(end, s->address + s->bytes);
    if (from < to) visit(s->at + (from - s->address), to - from);
  }
}

TraceMap::TraceMap(TraceReader& trace, const TraceSummary& summary, int columns, int rows)
    : columns_(columns),
      rows_(rows),
      duration_us_(summary.duration_us),
      space_(summary, trace.header().extent_bytes),
      counts_(static_cast<size_t>(columns) * static_cast<size_t>(rows)),
      read_bytes_(static_cast<size_t>(columns)),
      written_bytes_(static_cast<size_t>(columns)),
      waits_(static_cast<size_t>(columns)) {
  const TraceHeader& header = trace.header();
  ReadAheads aheads(header.extent_bytes);
  trace.for_each([&](const TraceEvent& event) {
    const uint64_t bytes = uint64_t{event.pages} * header.page_bytes;
    if (event.kind == TraceKind::kMemory) return note_memory(event, bytes);
    if (event.kind == TraceKind::kFork) return forks_.push_back(column_of(event));
    if (event.kind == TraceKind::kWait) {
      waits_[index_of(event)] = true;
      return;
    }
    read_bytes_[index_of(event)] += bytes_read(event, header);
    written_bytes_[index_of(event)] += bytes_written(event, header);
    if (const auto shade = shade_of(event, aheads.take(event))) add(event, *shade, bytes);
  });
  find_usual_most();
}

double TraceMap::column_of(const TraceEvent& event) const {
  const double share =
      static_cast<double>(event.time_us) / static_cast<double>(std::max<uint64_t>(duration_us_, 1));
  return std::min(share * columns_, columns_ - 0.001);
}

void TraceMap::note_memory(const TraceEvent& event, uint64_t bytes) {
  const double column = column_of(event);
  if (memory_.empty() || static_cast<int>(memory_.back().column) != static_cast<int>(column))
    memory_.push_back({column, bytes, event.address});
  memory_.back().resident_bytes = std::max(memory_.back().resident_bytes, bytes);
}

void TraceMap::add(const TraceEvent& event, Shade shade, uint64_t bytes) {
  const size_t column = index_of(event), rows = static_cast<size_t>(rows_);
  const double rows_per_byte =
      static_cast<double>(rows_) / static_cast<double>(std::max<uint64_t>(space_.bytes(), 1));
  space_.for_each_part(event.address, bytes, [&](uint64_t at, uint64_t length) {
    has_[static_cast<size_t>(shade)] = true;
    const auto first = std::min(rows - 1, static_cast<size_t>(static_cast<double>(at) * rows_per_byte));
    const auto end = static_cast<size_t>(static_cast<double>(at + length) * rows_per_byte + 1e-6);
    for (size_t row = first; row < std::clamp(end, first + 1, rows); ++row)
      ++counts_[column * rows + row][static_cast<size_t>(shade)];
  });
}

TraceMap::Cell TraceMap::cell(int column, int row) const {
  const auto& counts =
      counts_[static_cast<size_t>(column) * static_cast<size_t>(rows_) + static_cast<size_t>(row)];
  Cell cell;
  uint32_t most = 0;
  for (size_t shade = 0; shade < kShades; ++shade) {
    cell.events += counts[shade];
    const bool leaves = static_cast<Shade>(shade) >= Shade::kWritten;
    if (counts[shade] <= most || (leaves && most > 0)) continue;
    most = counts[shade];
    cell.shade = static_cast<Shade>(shade);
    cell.is_empty = false;
  }
  return cell;
}

void TraceMap::find_usual_most() {
  std::vector<uint32_t> events;
  for (int column = 0; column < columns_; ++column)
    for (int row = 0; row < rows_; ++row)
      if (const Cell c = cell(column, row); !c.is_empty) events.push_back(c.events);
  if (events.empty()) return;
  const auto at = events.begin() + static_cast<ptrdiff_t>((events.size() - 1) * 99 / 100);
  std::nth_element(events.begin(), at, events.end());
  usual_most_ = *at;
}

}  // namespace spillway::tools
