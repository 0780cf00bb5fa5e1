// huge_pages.cc - sealed segments in huge pages, so that a get does not miss the TLB as well.
//
// Records that came one by one lie in small pages of the page cache. Where the kernel can copy them into huge
// ones (MADV_COLLAPSE on files), it is asked to. Elsewhere an extent is dropped and read back as one piece,
// for which file systems with large folios take a huge page: a read of 2 MiB by the device, once in a
// segment's life in memory, and what a get may have to wait for meanwhile. So it is done by the thread that
// has nothing else to do, with pauses as long as its reads, and only for extents that are in memory
// completely: it takes no more of that. Pages that another process has mapped stay as they are.
#include "base/os/clock.h"
#include "base/os/memory.h"
#include "libpool/segstore/writer.h"

namespace spillway::segstore {
namespace {

// Extents in a row that stayed as they were, which one that others have mapped does, too: a file system
// without large folios, or a kernel that does not tell.
constexpr unsigned kInVain = 8;

bool is_all_in_memory(PageRange extent) {
  unsigned char pages[kExtentPages];
  if (!os::cached_pages(extent, pages).ok()) return false;
  for (const unsigned char page : pages)
    if ((page & 1) == 0) return false;
  return true;
}

}  // namespace

SegmentInPages::~SegmentInPages() {
  if (!range.empty()) os::unreserve(range);
}

// The next sealed segment that was not looked at; false: there is none.
bool Writer::next_for_huge_pages() {
  const Index& index = view_->index;
  huge_.segment.reset();
  for (uint32_t row = 0; row < load(index.header().rows_used); ++row) {
    const SegmentRow& entry = index.row(row);
    const uint64_t id = load(entry.file_id), flags = load(entry.flags), capacity = load(entry.capacity);
    if (id == 0 || (flags & kSealed) == 0 || (flags & (kSolo | kDamaged | kCompacted)) != 0 ||
        capacity < kExtentBytes || !huge_.seen.insert(id).second)
      continue;
    Result<os::Fd> fd = os::open_in(directory_, segment_name(id).c_str(), os::OpenFor::kReading);
    Result<PageRange> range = fd ? os::map_shared_readable(fd->get(), capacity) : fd.error();
    if (!range) continue;
    huge_.segment = std::make_unique<SegmentInPages>();
    huge_.segment->fd = std::move(*fd);
    huge_.segment->range = *range;
    huge_.segment->row = row;
    // Kernels that can have huge pages of files map these at multiples of their size.
    if (reinterpret_cast<uintptr_t>(range->base) % kExtentBytes == 0) return true;
  }
  huge_.segment.reset();
  return false;
}

// One extent; how long that took, in microseconds. 0: nothing is left to do.
uint64_t Writer::make_extent_huge() {
  if (huge_.failures >= kInVain || !files_.lasts()) return 0;
  while (huge_.segment == nullptr || huge_.segment->at + kExtentBytes > huge_.segment->range.bytes)
    if (!next_for_huge_pages()) return 0;
  SegmentInPages& segment = *huge_.segment;
  const uint64_t start = os::monotonic_us();
  const PageRange extent = segment.range.sub(segment.at, kExtentBytes);
  const auto is_huge = [&] { return os::populate(extent).ok() && os::is_huge_page(extent.base); };
  if (is_all_in_memory(extent) && !is_huge() && !(os::make_huge_pages(extent).ok() && is_huge())) {
    // Nobody may have it mapped: what is mapped stays.
    (void)os::discard(extent);
    Mapping* const mapping = reader_.table()[segment.row].load(std::memory_order_acquire);
    if (mapping != nullptr && mapping->try_pin()) {
      if (mapping->bytes().bytes >= segment.at + kExtentBytes)
        (void)os::discard({const_cast<char*>(mapping->bytes().base) + segment.at, kExtentBytes});
      mapping->unpin();
    }
    os::drop_from_cache(segment.fd.get(), segment.at, kExtentBytes);
    (void)os::use_huge_pages(extent);
    huge_.failures = is_huge() ? 0 : huge_.failures + 1;
  }
  segment.at += kExtentBytes;
  return os::monotonic_us() - start + 1;
}

}  // namespace spillway::segstore
