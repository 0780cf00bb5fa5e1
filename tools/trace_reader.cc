#include "tools/trace_reader.h"

#include <fmt/format.h>
#include <string.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "tools/failure.h"

namespace spillway::tools {
namespace {

constexpr int kCannotRead = 1;
constexpr uint32_t kMostHeaderBytes = 1 << 16, kMostEventBytes = 1 << 12;
// The pager looks around every 100 ms: a longer pause is a machine that slept, and this one is damage.
constexpr uint64_t kLongestPauseUs = uint64_t{30} * 24 * 3600 * 1'000'000;
constexpr uint64_t kEndOfAddresses = uint64_t{1} << 57;

[[noreturn]] void fail(const std::string& name, const std::string& what) {
  throw Failure(kCannotRead, name + ": " + what);
}

bool is_about_one_extent(TraceKind kind) {
  return (kind >= TraceKind::kPresent && kind <= TraceKind::kDrop) ||
         (kind >= TraceKind::kCompress && kind <= TraceKind::kLineExpand);
}

std::string some(uint64_t n, const char* one, const char* many) {
  return fmt::format("{} {}", n, n == 1 ? one : many);
}

}  // namespace

TraceReader TraceReader::open(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) {
    const std::string why = ::strerror(errno);
    if (errno != ENOENT) fail(path, why);
    fail(path, why + "; a program that fits in memory leaves none (--limit lets it spill earlier)");
  }
  if (!S_ISREG(status.st_mode)) fail(path, "is no file; expected one that SPILLWAY_TRACE named");
  std::FILE* file = std::fopen(path.c_str(), "rbe");
  if (!file) fail(path, ::strerror(errno));
  return {file, path};
}

TraceReader::TraceReader(std::FILE* file, std::string name) : file_(file), name_(std::move(name)) {
  read_header();
}

void TraceReader::read_header() {
  const size_t n = std::fread(&header_, 1, sizeof header_, file_.get());
  if (std::ferror(file_.get())) fail(name_, ::strerror(errno));
  if (n == 0) fail(name_, "is empty; expected a trace");
  if (memcmp(header_.magic, kTraceMagic, std::min(n, sizeof kTraceMagic)) != 0)
    fail(name_, "is no trace; expected a file that SPILLWAY_TRACE named");
  if (n < sizeof header_)
    fail(name_, fmt::format("is cut within its header ({} of {} bytes); nothing can be read of it", n,
                            sizeof header_));
  const bool makes_sense =
      header_.version > 0 && header_.header_bytes >= sizeof(TraceHeader) &&
      header_.header_bytes <= kMostHeaderBytes && header_.event_bytes >= sizeof(TraceEvent) &&
      header_.event_bytes <= kMostEventBytes && std::has_single_bit(header_.page_bytes) &&
      std::has_single_bit(header_.extent_bytes) && header_.page_bytes >= 512 &&
      header_.page_bytes <= header_.extent_bytes && header_.extent_bytes <= 1u << 30;
  if (!makes_sense) fail(name_, "its header is damaged; nothing can be read of it");
  if (header_.version > kTraceVersion)
    notes_.push_back(fmt::format(
        "It was written by a later Spillway (format {}; this one knows {}): what is new there is left out.",
        header_.version, kTraceVersion));
}

std::string TraceReader::program() const {
  std::string name(header_.program, ::strnlen(header_.program, sizeof header_.program));
  for (char& c : name)
    if (c < ' ' || c > '~') c = '?';
  return name.empty() ? "?" : name;
}

bool TraceReader::makes_sense(const TraceEvent& event) const {
  if (event.address >= kEndOfAddresses) return false;
  if (event.kind == TraceKind::kChunk || event.kind == TraceKind::kChunkGone)
    return event.address % header_.extent_bytes == 0 && event.pages > 0;
  if (!is_about_one_extent(event.kind)) return true;
  const uint64_t offset = event.address % header_.extent_bytes;
  return offset % header_.page_bytes == 0 &&
         offset + uint64_t{event.pages} * header_.page_bytes <= header_.extent_bytes;
}

void TraceReader::for_each(const std::function<void(const TraceEvent&)>& visit) {
  if (std::fseek(file_.get(), static_cast<long>(header_.header_bytes), SEEK_SET) != 0)
    fail(name_, ::strerror(errno));
  const size_t each = header_.event_bytes;
  std::vector<char> buffer(each * 4096);
  uint64_t events = 0, unknown = 0, damaged = 0, rest = 0, last_us = 0;
  while (!was_read_ || events < end_) {
    const size_t n = std::fread(buffer.data(), 1, buffer.size(), file_.get());
    if (std::ferror(file_.get())) fail(name_, ::strerror(errno));
    for (size_t at = 0; at + each <= n && (!was_read_ || events < end_); at += each, ++events) {
      TraceEvent event;
      memcpy(&event, buffer.data() + at, sizeof event);
      const bool in_time = event.time_us >= last_us && event.time_us - last_us <= kLongestPauseUs;
      const bool is_later = header_.version > kTraceVersion && event.kind > kLastTraceKind;
      if (is_later && in_time)
        ++unknown;
      else if (event.kind == TraceKind{} || event.kind > kLastTraceKind || !in_time || !makes_sense(event))
        ++damaged;
      else
        visit(event);
      if (in_time) last_us = event.time_us;
    }
    rest = n % each;
    if (n < buffer.size()) break;
  }
  if (!was_read_) add_notes(events, unknown, damaged, rest);
  was_read_ = true;
  end_ = events;
}

void TraceReader::add_notes(uint64_t events, uint64_t unknown, uint64_t damaged, uint64_t rest) {
  if (unknown > 0)
    notes_.push_back(some(unknown, "event is", "events are") + " of a kind that is not known here.");
  if (damaged > 0)
    notes_.push_back(
        fmt::format("The file is damaged: {} of {} left out.", some(damaged, "event", "events"), events));
  if (rest > 0)
    notes_.push_back("The file ends within an event: it was cut, or its program is still running.");
  if (events == 0) notes_.push_back("There are no events in it.");
}

ReadAheads::Answer ReadAheads::take(const TraceEvent& event) {
  const uint64_t number = event.address / extent_bytes_;
  if (event.kind == TraceKind::kReadAhead) {
    extents_[number] = {};
    return {.is_ahead = true};
  }
  const auto at = extents_.find(number);
  if (at == extents_.end()) return {};
  Extent& extent = at->second;
  Answer answer{.is_ahead = true};
  const bool is_touch = event.kind == TraceKind::kStagedHit || event.kind == TraceKind::kFaultUnderWay;
  if (is_touch) answer.is_use = !std::exchange(extent.is_touched, true);
  if (event.kind == TraceKind::kExtentZeroed) extent.was_zeroed = true;
  const bool is_filled = event.kind == TraceKind::kExtentRead || event.kind == TraceKind::kExtentExpand;
  if (is_filled || extent.was_zeroed) extent.is_there = true;
  answer.was_zeroed = extent.was_zeroed;
  if ((extent.is_touched && extent.is_there) || event.kind == TraceKind::kDrop) extents_.erase(at);
  return answer;
}

}  // namespace spillway::tools
