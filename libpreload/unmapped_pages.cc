#include "libpreload/unmapped_pages.h"

#include "base/os/memory.h"

namespace spillway {
namespace {

struct Bit {
  uint8_t& byte;
  uint8_t mask;
};

Bit bit_of(PageRange table, PageRange mapping, const char* page) {
  const uint64_t index = mapping.offset_of(page) >> kPageShift;
  return {reinterpret_cast<uint8_t&>(table.base[index / 8]), static_cast<uint8_t>(1 << (index % 8))};
}

}  // namespace

void UnmappedPages::add(PageRange mapping, PageRange pages) {
  if (table_.empty()) {
    Result<PageRange> place =
        os::reserve(round_up((mapping.bytes >> kPageShift) / 8 + 1, kPageBytes), kPageBytes);
    if (!place) return;
    if (!os::map_anonymous(*place).ok()) return os::unreserve(*place);
    table_ = *place;
  }
  for (char* page = pages.base; page < pages.end(); page += kPageBytes) {
    const Bit bit = bit_of(table_, mapping, page);
    if ((bit.byte & bit.mask) == 0) bytes_ += kPageBytes;
    bit.byte |= bit.mask;
  }
}

void UnmappedPages::remove(PageRange mapping, PageRange pages) {
  if (bytes_ == 0) return;
  for (char* page = pages.base; page < pages.end(); page += kPageBytes) {
    const Bit bit = bit_of(table_, mapping, page);
    if ((bit.byte & bit.mask) != 0) bytes_ -= kPageBytes;
    bit.byte &= static_cast<uint8_t>(~bit.mask);
  }
}

void UnmappedPages::reset() {
  if (!table_.empty()) os::unreserve(table_);
  table_ = {};
  bytes_ = 0;
}

}  // namespace spillway
