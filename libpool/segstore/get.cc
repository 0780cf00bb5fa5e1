// get.cc - the common case of a get, in as few instructions as it takes.
//
// A get waits for two cache misses, the bucket and the record. Whatever of the next get fits into the
// processor's window behind them is done meanwhile, its misses too: so instructions count that would not
// otherwise. Everything is in one function without calls, the result is stored once, and what is out of the
// ordinary is Reader::get_slowly's.
#include "libpool/segstore/store_impl.h"

namespace spillway {
namespace segstore {
namespace {

bool are_equal(const char* a, const char* b, size_t bytes) {
  auto word = [](const char* at) {
    uint64_t all;
    memcpy(&all, at, sizeof all);
    return all;
  };
  if (bytes < 8 || bytes > 32) [[unlikely]]
    return memcmp(a, b, bytes) == 0;
  // From both ends, so that they meet: no call, and branches that are the same for keys of like lengths.
  uint64_t difference = (word(a) ^ word(b)) | (word(a + bytes - 8) ^ word(b + bytes - 8));
  if (bytes > 16) difference |= (word(a + 8) ^ word(b + 8)) | (word(a + bytes - 16) ^ word(b + bytes - 16));
  return difference == 0;
}

[[gnu::cold, gnu::noinline]] StoreResult<Value> get_again(Mapping* pinned, Reader& reader,
                                                          std::string_view key) {
  pinned->unpin();
  return reader.get_slowly(key);
}

[[gnu::cold, gnu::noinline]] StoreResult<Value> not_open(const StoreImpl* impl) {
  return impl == nullptr ? never_opened() : impl->closed();
}

}  // namespace

View* Reader::current_if_newest() const {
  View* const view = current_.load(std::memory_order_acquire);
  const uint64_t* const generation = generation_.load(std::memory_order_acquire);
  return view != nullptr && load(*generation) == view->generation ? view : nullptr;
}

}  // namespace segstore

[[gnu::flatten]] StoreResult<Value> Store::get(std::string_view key) const {
  using namespace segstore;
  const StoreImpl* const impl = impl_.get();
  if (impl == nullptr || !impl->is_open()) [[unlikely]]
    return not_open(impl);
  Reader& reader = impl->reader();
  View* const view = reader.current_if_newest();
  if (view == nullptr) [[unlikely]]
    return reader.get_slowly(key);
  const Index& index = view->index;
  const uint32_t hash = index_hash(hash_of(key, index.header().hash_seed));
  const Bucket* bucket = &index.main_bucket(Index::bucket_of(hash, Index::buckets_of(index.state())));
  unsigned matches = bucket->matches(hash >> 10);
  for (int steps = 0; matches == 0; ++steps) {
    const uint64_t next = load(bucket->next);
    if (next == 0 || steps == 4) return reader.get_slowly(key);
    bucket = &index.overflow_bucket(next - 1);
    matches = bucket->matches(hash >> 10);
  }
  const uint64_t& slot = bucket->slots[std::countr_zero(matches)];
  const uint64_t word = load(slot);
  const Location at = location_of(word);
  Mapping* const mapping = view->rows[at.row].load(std::memory_order_acquire);
  if (word == 0 || mapping == nullptr || my_pins == nullptr) [[unlikely]]
    return reader.get_slowly(key);
  if (!mapping->is_live_pinned()) [[unlikely]]
    return get_again(mapping, reader, key);
  const SegmentBytes& bytes = mapping->bytes();
  const char* const record = bytes.base + at.offset;
  // Where a small value begins and ends is in the header, which is a miss away: do not wait for that.
  __builtin_prefetch(record + 64);
  __builtin_prefetch(record + 128);
  const uint64_t key_end = at.offset + sizeof(RecordHeader) + key.size();
  if (key_end > bytes.bytes || !mapping->is_verified(at.offset)) [[unlikely]]
    return get_again(mapping, reader, key);
  RecordHeader header;
  memcpy(&header, record, sizeof header);
  const uint64_t value_at = round_up(key_end, header.alignment());
  constexpr uint32_t kWhat = 0xFFFFF | kHasExpiry << 20;  // key bytes, type, expiry
  if ((header.key_and_flags & kWhat) !=
          (static_cast<uint32_t>(key.size()) | static_cast<uint32_t>(RecordType::kPut) << 17) ||
      header.value_bytes == kValueInHeader || value_at + header.value_bytes > bytes.bytes ||
      !are_equal(record + sizeof header, key.data(), key.size()) ||
      // As in Reader::look.
      load(slot) != word || mapping->file_id() != load(index.row(at.row).file_id)) [[unlikely]]
    return get_again(mapping, reader, key);
  return ValueMaker::make(mapping, bytes.base + value_at, header.value_bytes,
                          bytes.header.base_sequence + header.sequence_delta, 0);
}

}  // namespace spillway
