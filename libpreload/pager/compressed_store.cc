#include "libpreload/pager/compressed_store.h"

#include <algorithm>
#include <cstring>

#include "base/os/limits.h"
#include "base/os/memory.h"
#include "libpreload/pager/digest.h"

namespace spillway {
namespace {

// These pages stand for the extent: two, and if there is hope two more.
constexpr unsigned kSamples[] = {37, 309, 174, 467};
constexpr uint32_t kHopeless = kPageBytes * 3 / 4;

Result<PageRange> lazy_memory(uint64_t bytes) {
  Result<PageRange> range = os::reserve(round_up(bytes, kExtentBytes), kExtentBytes);
  if (!range) return range;
  if (Errno e = os::make_accessible(*range); !e.ok()) {
    os::unreserve(*range);
    return e;
  }
  (void)os::use_small_pages(*range);
  return range;
}

}  // namespace

Errno CompressedStore::set_up(int most_frames) {
  // A forked child has its parent's.
  if (slots_ != nullptr) return {};
  // The program may need what there is.
  if (os::address_space_limit() != UINT64_MAX) return Errno(ENOMEM);
  const uint64_t capacity = static_cast<uint64_t>(most_frames) * kSlotsPerFrame;
  Result<PageRange> area = lazy_memory(capacity * kSlotBytes);
  if (!area) return area.error();
  Result<PageRange> tables = lazy_memory((capacity + 1) * sizeof(Slot) + kSlotBytes);
  if (!tables) {
    os::unreserve(*area);
    return tables.error();
  }
  area_ = *area;
  repacked_ = tables->base;
  slots_ = reinterpret_cast<Slot*>(tables->base + kSlotBytes);
  capacity_ = static_cast<uint32_t>(capacity);
  return {};
}

// --- slots

uint32_t CompressedStore::take(Extent& owner) {
  if (!has_room()) return 0;
  uint32_t slot = free_;
  if (slot != 0)
    free_ = slots_[slot].next_free;
  else if (highest_ < capacity_)
    slot = ++highest_;
  else
    return 0;
  slots_[slot] = {&owner, 0, 0};
  ++used_;
  return slot;
}

void CompressedStore::release(uint32_t slot) {
  Slot& s = slots_[slot];
  if (s.pages != 0) {
    counters_.packed_bytes -= uint64_t{s.pages} << kPageShift;
    give_back(slot, 0);
  }
  pages_ -= s.pages;
  --used_;
  s = {nullptr, free_, 0};
  free_ = slot;
}

void CompressedStore::keep(uint32_t slot) {
  ++counters_.packed;
  count(slot, header(slot).end);
}

// The slot takes what is up to its end.
void CompressedStore::count(uint32_t slot, uint32_t end) {
  Slot& s = slots_[slot];
  const auto pages = static_cast<uint32_t>(round_up(end, kPageBytes) >> kPageShift);
  pages_ += uint64_t{pages} - s.pages;
  counters_.packed_bytes += (uint64_t{pages} - s.pages) << kPageShift;
  s.pages = pages;
  counters_.peak_bytes = std::max<uint64_t>(counters_.peak_bytes, bytes());
}

void CompressedStore::give_back(uint32_t slot, uint32_t from) const {
  const auto first = static_cast<uint32_t>(round_up(from, kPageBytes));
  if (first < kSlotBytes) (void)os::discard({base(slot) + first, kSlotBytes - first});
}

Extent* CompressedStore::next() {
  for (uint32_t i = 0; i < highest_; ++i) {
    turn_ = turn_ % highest_ + 1;
    if (slots_[turn_].owner != nullptr && slots_[turn_].pages != 0) return slots_[turn_].owner;
  }
  return nullptr;
}

// --- bytes

bool CompressedStore::suits(const char* extent, PageCodec::Filter& filter) {
  PageCodec codec;
  char to[kPageBytes];
  uint32_t plain = 0, shuffled = 0;
  for (unsigned i = 0; i < std::size(kSamples); ++i) {
    const auto size_with = [&](PageCodec::Filter f) {
      const uint32_t n = codec.compress(f, extent + kSamples[i] * kPageBytes, to, kPageBytes - 1);
      return n != 0 ? n : static_cast<uint32_t>(kPageBytes);
    };
    plain += size_with(PageCodec::Filter::kNone);
    shuffled += size_with(PageCodec::Filter::kShuffle);
    if (i == 1 && std::min(plain, shuffled) > 2 * kHopeless) return false;
  }
  filter = plain <= shuffled ? PageCodec::Filter::kNone : PageCodec::Filter::kShuffle;
  return std::min(plain, shuffled) <= std::size(kSamples) * kPageBytes / 2;
}

bool CompressedStore::pack(uint32_t slot, const char* extent, PageCodec::Filter filter) {
  PageCodec codec;
  Header& h = header(slot);
  h.filter = filter;
  h.waste = 0;
  uint32_t end = round(sizeof(Header));
  for (unsigned page = 0; page < kExtentPages; ++page) {
    const char* from = extent + page * kPageBytes;
    char* to = base(slot) + end;
    if (end + kPageBytes > kSlotBytes) {
      give_back(slot, 0);
      return false;
    }
    uint32_t n = codec.compress(filter, from, to, kPageBytes - 1);
    if (n == 0) {
      memcpy(to, from, kPageBytes);
      n = kPageBytes;
    }
    h.digest[page] = digest_of_page(from);
    h.at[page] = static_cast<uint16_t>(end / kUnit);
    h.bytes[page] = static_cast<uint16_t>(n);
    end += round(n);
  }
  // What a page needed before it was found to be shorter.
  give_back(slot, end);
  h.end = end;
  return true;
}

bool CompressedStore::read(uint32_t slot, unsigned first, unsigned count, char* to) const {
  const Header& h = header(slot);
  for (unsigned page = first; page < first + count; ++page, to += kPageBytes) {
    const char* from = base(slot) + h.at[page] * kUnit;
    if (h.bytes[page] == kPageBytes)
      memcpy(to, from, kPageBytes);
    else if (!PageCodec::expand(h.filter, from, h.bytes[page], to))
      return false;
  }
  return true;
}

bool CompressedStore::write(uint32_t slot, unsigned page, const char* from, uint64_t digest) {
  Header& h = header(slot);
  char compressed[kPageBytes];
  uint32_t n = codec_.compress(h.filter, from, compressed, kPageBytes - 1);
  if (n == 0) n = kPageBytes;
  const uint32_t had = round(h.bytes[page]);
  if (n > had) {
    if (h.end + round(n) > kSlotBytes) repack(slot);
    if (h.end + round(n) > kSlotBytes || reserved_bytes() + round(n) > most_bytes_) return false;
    h.at[page] = static_cast<uint16_t>(h.end / kUnit);
    h.end += round(n);
    h.waste += had;
    count(slot, h.end);
  } else {
    h.waste += had - round(n);
  }
  h.bytes[page] = static_cast<uint16_t>(n);
  h.digest[page] = digest;
  memcpy(base(slot) + h.at[page] * kUnit, n == kPageBytes ? from : compressed, n);
  ++counters_.page_writes;
  if (h.waste > h.end / 4) repack(slot);
  return true;
}

// In the order of its pages, without what was waste.
void CompressedStore::repack(uint32_t slot) {
  Header& h = header(slot);
  const uint32_t begin = round(sizeof(Header));
  uint32_t end = begin;
  for (unsigned page = 0; page < kExtentPages; ++page) {
    memcpy(repacked_ + end, base(slot) + h.at[page] * kUnit, h.bytes[page]);
    h.at[page] = static_cast<uint16_t>(end / kUnit);
    end += round(h.bytes[page]);
  }
  memcpy(base(slot) + begin, repacked_ + begin, end - begin);
  h.end = end;
  h.waste = 0;
  count(slot, end);
  give_back(slot, end);
}

}  // namespace spillway
