#include "libpool/segstore/index.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "libpool/segstore/fork_safe.h"

namespace spillway::segstore {
namespace {

constexpr uint64_t kGrowAt10 =
    50;  // tenths of a key per bucket: 12.8 bytes a key, and 1.7 to 2.4 of overflow buckets

}  // namespace

IndexPlaces::~IndexPlaces() {
  for (const PageRange& range : free_) os::unreserve(range);
}

Result<PageRange> IndexPlaces::take(uint64_t bytes) {
  {
    const std::lock_guard lock(fork_safe_mutex());
    const auto same = std::find_if(free_.begin(), free_.end(),
                                   [&](const PageRange& range) { return range.bytes == bytes; });
    if (same != free_.end()) {
      const PageRange range = *same;
      free_.erase(same);
      return range;
    }
  }
  return os::reserve(bytes, kExtentBytes);  // so that large pages can be mapped as such
}

void IndexPlaces::give(PageRange range) {
  (void)os::replace_by_zeroes(range);
  const std::lock_guard lock(fork_safe_mutex());
  free_.push_back(range);
}

void Index::unmap() {
  if (!is_open() || is_left_) return;
  if (places_ != nullptr)
    places_->give(range_);
  else
    os::unreserve(range_);
}

void Index::leave(IndexPlaces& places) {
  if (std::exchange(is_left_, true)) return;
  places.give(range_);
}

Index& Index::operator=(Index&& other) noexcept {
  if (this != &other) {
    unmap();
    range_ = std::exchange(other.range_, {});
    is_left_ = other.is_left_;
    places_ = other.places_;
    fd_ = std::move(other.fd_);
    overflow_ = other.overflow_;
    huge_main_ = other.huge_main_;
    huge_overflow_ = other.huge_overflow_;
  }
  return *this;
}

Index::~Index() { unmap(); }

void Index::place_overflow() {
  overflow_ = reinterpret_cast<Bucket*>(range_.base + kBucketsOffset + header().max_bytes);
}

// In memory that is all zeroes.
Result<Index> Index::start(Index index, uint64_t max_bytes, uint64_t keys) {
  if (index.fd_.valid())
    if (Errno e = os::allocate_file(index.fd_.get(), 0, kPageBytes); !e.ok()) return e;
  IndexHeader& header = index.header();
  header.max_bytes = max_bytes;
  index.place_overflow();
  const uint64_t buckets = std::max(kBaseBuckets, keys * 10 / kGrowAt10 + 1);
  if (buckets * sizeof(Bucket) > max_bytes) return Errno(EFBIG);
  if (Errno e = index.allocate(kBucketsOffset, header.main_allocated, buckets * sizeof(Bucket)); !e.ok())
    return e;
  header.state = buckets << 24;
  return index;
}

Result<Index> Index::create(int directory, const char* name, uint64_t max_bytes, uint64_t keys) {
  Result<os::Fd> fd = os::open_in(directory, name, os::OpenFor::kCreatingNew, 0644);
  if (!fd) return fd.error();
  max_bytes = round_up(max_bytes, kPageBytes);
  auto make = [&]() -> Result<Index> {
    // The length is a promise of addresses only: blocks come with allocate_file, before anything is touched.
    if (Errno e = os::set_length(fd->get(), mapped_bytes(max_bytes)); !e.ok()) return e;
    Result<PageRange> range = os::map_shared_writable(fd->get(), mapped_bytes(max_bytes));
    if (!range) return range.error();
    Index made;
    made.range_ = *range;
    made.fd_ = std::move(*fd);
    return start(std::move(made), max_bytes, keys);
  };
  Result<Index> index = make();
  if (!index) (void)os::unlink_in(directory, name);  // the error that matters is the first
  return index;
}

Result<Index> Index::create_private(uint64_t max_bytes, uint64_t keys, IndexPlaces* places) {
  max_bytes = round_up(max_bytes, kPageBytes);
  const uint64_t bytes = mapped_bytes(max_bytes);
  Result<PageRange> range = places != nullptr ? places->take(bytes) : os::map_private_memory(bytes);
  if (!range) return range.error();
  Index index;
  index.range_ = *range;
  index.places_ = places;
  if (places != nullptr)
    if (Errno e = os::map_private_memory_at(*range); !e.ok()) return e;
  return start(std::move(index), max_bytes, keys);
}

Result<IndexHeader> Index::read_header(int fd) {
  IndexHeader header{};
  Result<uint64_t> got = os::read_some(fd, &header, sizeof header, 0);
  if (!got) return got.error();
  if (*got < sizeof header || header.magic != kIndexMagic || header.max_bytes % kPageBytes != 0 ||
      header.max_bytes == 0 || header.max_bytes > 64 * kGiB)
    return Errno(EINVAL);
  Result<os::FileFacts> facts = os::facts_of(fd);
  if (!facts) return facts.error();
  if (facts->bytes != mapped_bytes(header.max_bytes)) return Errno(EINVAL);
  return header;
}

Result<Index> Index::attach_writable(int fd) {
  Result<IndexHeader> header = read_header(fd);
  if (!header) return header.error();
  Result<PageRange> range = os::map_shared_writable(fd, mapped_bytes(header->max_bytes));
  if (!range) return range.error();
  Index index;
  index.range_ = *range;
  index.fd_ = os::duplicate(fd);
  index.place_overflow();
  return index;
}

Result<Index> Index::attach_readable(int fd, IndexPlaces& places) {
  Result<IndexHeader> header = read_header(fd);
  if (!header) return header.error();
  Result<PageRange> range = places.take(mapped_bytes(header->max_bytes));
  if (!range) return range.error();
  Index index;
  index.range_ = *range;
  index.places_ = &places;
  if (Errno e = os::map_shared_readable_at(*range, fd); !e.ok()) return e;
  index.place_overflow();
  return index;
}

uint64_t Index::bytes() const {
  const IndexHeader& h = header();
  return load(h.main_allocated) + load(h.overflow_allocated) +
         round_up(kPageBytes + load(h.rows_used) * sizeof(SegmentRow), kPageBytes);
}

// Blocks behind [offset, offset + needed), a little ahead.
Errno Index::allocate(uint64_t offset, uint64_t& allocated, uint64_t needed) {
  if (needed <= allocated) return {};
  const uint64_t step = std::max<uint64_t>(64 * kKiB, allocated / 64);
  const uint64_t target =
      std::min(round_up(std::max(needed, allocated + step), kPageBytes), header().max_bytes);
  if (fd_.valid())
    if (Errno e = os::allocate_file(fd_.get(), offset + allocated, target - allocated); !e.ok()) return e;
  store(allocated, target);
  return {};
}

void Index::use_huge_pages() {
  if (!fd_.valid()) return;
  auto advance = [&](uint64_t offset, uint64_t allocated, uint64_t& huge) {
    for (; huge + kExtentBytes <= allocated; huge += kExtentBytes)
      if (!os::make_huge_pages(range_.sub(offset + huge, kExtentBytes)).ok()) return;  // perhaps next time
  };
  advance(kBucketsOffset, load(header().main_allocated), huge_main_);
  if (header().max_bytes % kExtentBytes == 0)
    advance(kBucketsOffset + header().max_bytes, load(header().overflow_allocated), huge_overflow_);
}

Errno Index::allocate_rows(uint32_t row) {
  if (!fd_.valid()) return {};
  const uint64_t end = round_up(kPageBytes + (row + 1) * sizeof(SegmentRow), kPageBytes);
  return os::allocate_file(fd_.get(), kPageBytes, end - kPageBytes);
}

Errno Index::move_to(int directory, const char* name, uint64_t generation) {
  Result<os::Fd> fd = os::open_in(directory, name, os::OpenFor::kCreatingNew, 0644);
  if (!fd) return fd.error();
  const auto move = [&]() -> Errno {
    if (Errno e = os::set_length(fd->get(), range_.bytes); !e.ok()) return e;
    IndexHeader moved = header();
    moved.generation = generation;
    if (Errno e = os::write_all(fd->get(), reinterpret_cast<const char*>(&moved), sizeof moved, 0); !e.ok())
      return e;
    if (Errno e = os::allocate_file(fd->get(), 0, kPageBytes); !e.ok()) return e;
    const auto copy = [&](uint64_t offset, uint64_t bytes) {
      return bytes == 0 ? Errno() : os::write_all(fd->get(), range_.base + offset, bytes, offset);
    };
    const uint64_t rows = round_up(moved.rows_used * sizeof(SegmentRow), kPageBytes);
    if (Errno e = copy(kPageBytes, rows); !e.ok()) return e;
    if (Errno e = copy(kBucketsOffset, moved.main_allocated); !e.ok()) return e;
    if (Errno e = copy(kBucketsOffset + moved.max_bytes, moved.overflow_allocated); !e.ok()) return e;
    return os::map_file_shared(range_, fd->get(), 0);
  };
  if (Errno e = move(); !e.ok()) {
    (void)os::unlink_in(directory, name);  // the error that matters is the first
    return e;
  }
  fd_ = std::move(*fd);
  huge_main_ = huge_overflow_ = 0;
  return {};
}

int64_t Index::take_row() {
  IndexHeader& h = header();
  for (uint32_t tried = 0; tried < kRows; ++tried) {
    const auto number = static_cast<uint32_t>((h.next_row + tried) % kRows);
    if (number >= h.rows_used) {
      if (!allocate_rows(number).ok()) return -1;
      store(h.rows_used, number + 1);
    }
    if (row(number).file_id != 0) continue;
    h.next_row = number + 1;
    // Rows are used in turn, and a new one only when all before were tried since: no number comes back soon.
    if (h.next_row >= 4096 && h.next_row >= h.rows_used) h.next_row = 0;
    return number;
  }
  return -1;
}

void Index::bump(uint64_t buckets) {
  store(header().state, buckets << 24 | ((header().state + 1) & kStateMask));
}

Errno Index::need_overflow(uint64_t count) {
  IndexHeader& h = header();
  uint64_t free = 0;
  for (uint64_t at = h.overflow_free; at != 0 && free < count; at = overflow_bucket(at - 1).slots[0]) ++free;
  const uint64_t needed = (h.overflow_used + count - free) * sizeof(Bucket);
  if (needed + buckets_of(h.state) * sizeof(Bucket) > h.max_bytes) return Errno(EFBIG);
  return allocate(kBucketsOffset + h.max_bytes, h.overflow_allocated, needed);
}

// need_overflow() came before.
uint64_t Index::take_overflow() {
  IndexHeader& h = header();
  if (h.overflow_free == 0) {
    store(h.overflow_used, h.overflow_used + 1);
    return h.overflow_used - 1;
  }
  const uint64_t number = h.overflow_free - 1;
  h.overflow_free = overflow_bucket(number).slots[0];
  bump(buckets_of(h.state));  // a reader may still be on its way through the chain it was in
  Bucket& bucket = overflow_bucket(number);
  store(bucket.next, 0);
  for (uint64_t& slot : bucket.slots) store(slot, 0);
  return number;
}

// The free list goes through slot 0, whose tag bits stay clear of any key's only by chance: a reader who is
// here by an old link may look at it, and finds a location that it then checks like any other.
void Index::give_overflow(uint64_t number) {
  IndexHeader& h = header();
  store(overflow_bucket(number).slots[0], h.overflow_free);
  h.overflow_free = number + 1;
}

void Index::append(Bucket& first, uint64_t word) {
  Bucket* bucket = &first;
  for (;;) {
    for (uint64_t& slot : bucket->slots)
      if (slot == 0) return store(slot, word);
    if (bucket->next == 0) {
      const uint64_t number = take_overflow();
      store(overflow_bucket(number).slots[0], word);
      store(bucket->next, number + 1);
      return;
    }
    bucket = &overflow_bucket(bucket->next - 1);
  }
}

// Entries of overflow buckets go where there is room nearer by; buckets left empty go.
void Index::tidy_chain(Bucket& first) {
  std::vector<Bucket*> chain;
  for (Bucket* b = &first;; b = &overflow_bucket(b->next - 1)) {
    chain.push_back(b);
    if (b->next == 0) break;
  }
  if (chain.size() == 1) return;
  std::vector<uint64_t*> moved;
  size_t to = 0, to_slot = 0;
  for (size_t from = chain.size() - 1; from > 0; --from)
    for (uint64_t& slot : chain[from]->slots) {
      if (slot == 0) continue;
      while (to < from && chain[to]->slots[to_slot] != 0)
        if (++to_slot == kSlots) to_slot = 0, ++to;
      if (to >= from) break;
      store(chain[to]->slots[to_slot], slot);
      moved.push_back(&slot);
    }
  if (!moved.empty()) {
    bump(buckets_of(header().state));
    for (uint64_t* slot : moved) store(*slot, 0);
  }
  while (chain.size() > 1) {
    for (const uint64_t slot : chain.back()->slots)
      if (slot != 0) return;
    Bucket* last = chain.back();
    chain.pop_back();
    store(chain.back()->next, 0);
    give_overflow(static_cast<uint64_t>(last - overflow_));
  }
}

Errno Index::split() {
  IndexHeader& h = header();
  const uint64_t buckets = buckets_of(h.state);
  const unsigned level = static_cast<unsigned>(std::bit_width(buckets)) - 1;
  const uint64_t old_number = buckets - (uint64_t{1} << level), new_number = buckets;
  if (new_number >> 32 != 0) return Errno(EFBIG);
  if ((new_number + 1 + h.overflow_used) * sizeof(Bucket) > h.max_bytes) return Errno(EFBIG);
  if (Errno e = allocate(kBucketsOffset, h.main_allocated, (new_number + 1) * sizeof(Bucket)); !e.ok())
    return e;
  Bucket& old_bucket = main_bucket(old_number);
  uint64_t chain = 0;
  for (uint64_t next = old_bucket.next; next != 0; next = overflow_bucket(next - 1).next) ++chain;
  if (Errno e = need_overflow(chain); !e.ok()) return e;

  h.is_moving = 1;
  std::vector<uint64_t*> moved;
  for (Bucket* b = &old_bucket;;
       b = &overflow_bucket(b->next - 1)) {  // 1. copies, which nobody looks for yet
    for (uint64_t& slot : b->slots) {
      if (slot == 0 || (hash_of_slot(old_number, slot) >> level & 1) == 0) continue;
      append(main_bucket(new_number), slot);
      moved.push_back(&slot);
    }
    if (b->next == 0) break;
  }
  bump(new_number + 1);                          // 2. from here on they are looked for there
  for (uint64_t* slot : moved) store(*slot, 0);  // 3.
  tidy_chain(old_bucket);
  h.is_moving = 0;
  return {};
}

Errno Index::make_room(const uint32_t* hashes, size_t count) {
  IndexHeader& h = header();
  while ((h.keys + count) * 10 >= (buckets_of(h.state) + 1) * kGrowAt10)
    if (Errno e = split(); e == EFBIG)
      break;  // at the cap chains grow as far as they may
    else if (!e.ok())
      return e;
  const uint64_t buckets = buckets_of(h.state);
  if (count == 1) {
    const Bucket& bucket = main_bucket(bucket_of(hashes[0], buckets));
    for (unsigned empty = bucket.matches(0); empty != 0; empty &= empty - 1)
      if (bucket.slots[std::countr_zero(empty)] == 0) return {};  // one in four million keys has tag 0, too
    return need_overflow(1);
  }
  // How many more than its chain has room for each bucket gets.
  std::vector<uint64_t> numbers(count);
  for (size_t i = 0; i < count; ++i) numbers[i] = bucket_of(hashes[i], buckets);
  std::sort(numbers.begin(), numbers.end());
  uint64_t overflow = 0;
  for (size_t i = 0; i < count;) {
    size_t end = i;
    while (end < count && numbers[end] == numbers[i]) ++end;
    uint64_t room = 0;
    const Bucket* bucket = &main_bucket(numbers[i]);
    for (;;) {
      for (const uint64_t slot : bucket->slots) room += slot == 0 ? 1 : 0;
      if (bucket->next == 0) break;
      bucket = &overflow_bucket(bucket->next - 1);
    }
    if (end - i > room) overflow += (end - i - room + kSlots - 1) / kSlots;
    i = end;
  }
  return overflow == 0 ? Errno{} : need_overflow(overflow);
}

void Index::insert(uint32_t hash, Location at) {
  append(main_bucket(bucket_of(hash, buckets_of(header().state))), slot_word(hash, at));
  add(header().keys, 1);
}

void Index::erase(uint64_t& slot) {
  store(slot, 0);
  add(header().keys, ~uint64_t{0});
}

}  // namespace spillway::segstore
