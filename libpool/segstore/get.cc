// get.cc - the common case of a get, in as few instructions as it takes.
//
// A get waits for two cache misses, the bucket and the record. Whatever of the next gets fits into the
// processor's window behind them is done meanwhile, their misses too. How many fit goes by steps: on a Zen 4
// a loop of gets took 200 to 220 ns each while two fitted, at 250 instructions of which 130 wrote a register,
// and takes 150 to 170 since three do, at 186 and 86. So instructions count that would not otherwise.
// Everything is in one function without calls, the result is stored once, what a compiler keeps from one part
// to another costs a push and a pop, and what is out of the ordinary is Reader::get_slowly's.
#include "libpool/segstore/store_impl.h"

namespace spillway {
namespace segstore {
namespace {

// A compiler cannot know that it is: it works out or reads again what it would otherwise keep in a register.
template <typename T>
inline T same(T word) {
  asm("" : "+r"(word));
  return word;
}

// Which keys a function is for: those of 9 to 16 bytes, whose hash and comparison are a few instructions, or
// any.
enum class Keys { kShort, kAny };

bool is_key(const char* bytes, std::string_view key) {
  if (key.size() < 8 || key.size() > 32) [[unlikely]]
    return memcmp(bytes, key.data(), key.size()) == 0;
  // From both ends, so that they meet: no call, and branches that are the same for keys of like lengths.
  const char* const other = key.data();
  const size_t last = key.size() - 8;
  uint64_t difference =
      (load_word(bytes) ^ load_word(other)) | (load_word(bytes + last) ^ load_word(other + last));
  if (key.size() > 16)
    difference |= (load_word(bytes + 8) ^ load_word(other + 8)) |
                  (load_word(bytes + last - 8) ^ load_word(other + last - 8));
  return difference == 0;
}

template <Keys kKeys>
StoreResult<Value> get_quickly(const QuickView* view, std::string_view key);

// Also for what a quick get of short keys does not do.
[[gnu::noinline, gnu::flatten]] StoreResult<Value> get_any(const QuickView* view, std::string_view key) {
  return get_quickly<Keys::kAny>(view, key);
}

[[gnu::cold, gnu::noinline]] StoreResult<Value> get_without_view(const StoreImpl* impl,
                                                                 std::string_view key) {
  if (impl == nullptr) return never_opened();
  if (!impl->is_open()) return impl->closed();
  return impl->reader().get_slowly(key);
}

[[gnu::cold, gnu::noinline]] StoreResult<Value> get_otherwise(Mapping* pinned, const QuickView* view,
                                                              std::string_view key) {
  if (pinned != nullptr) pinned->unpin();
  return view->reader->get_slowly(key);
}

[[gnu::cold, gnu::noinline]] StoreResult<Value> get_aligned(Mapping* pinned, const QuickView* view,
                                                            std::string_view key) {
  pinned->unpin();
  return get_any(view, key);
}

[[gnu::cold, gnu::noinline]] StoreResult<Value> get_grown(const QuickView* view, std::string_view key) {
  view->reader->renew_quick();
  return view->reader->get_slowly(key);
}

template <Keys kKeys>
inline StoreResult<Value> get_quickly(const QuickView* view, std::string_view key) {
  constexpr bool kIsShort = kKeys == Keys::kShort;
  const auto otherwise = [&](Mapping* pinned) { return get_otherwise(pinned, view, key); };
  if (load(*view->newest) != view->generation) [[unlikely]]
    return otherwise(nullptr);

  // 1. The slot.
  const uint64_t hash =
      kIsShort ? hash_of_short(key, view->short_seed) : hash_of(key, view->header->hash_seed);
  const uint32_t tag = index_hash(hash) >> 10;
  const uint64_t buckets = Index::buckets_of(load(view->header->state));
  if (buckets <= view->small || buckets > view->large) [[unlikely]]
    return get_grown(view, key);
  const uint64_t grown = hash & view->large, not_yet = hash & view->small;
  const Bucket* bucket = view->main + same(grown < buckets ? grown : not_yet);
  const uint64_t* slot = bucket->first_match(tag);
  for (int steps = 4; slot == nullptr; --steps) {
    const uint64_t next = load(bucket->next);
    if (next == 0 || steps == 0) return otherwise(nullptr);
    bucket = view->overflow + (next - 1);
    slot = bucket->first_match(tag);
  }

  // 2. The segment, pinned. An empty slot, of tag 0, says byte 0, where a header is.
  const uint64_t word = load(*slot);
  const uint64_t row = row_of(word), offset = offset_of(word);
  Mapping* const mapping = view->rows[row].load(std::memory_order_acquire);
  if (mapping == nullptr || (!kIsShort && word == 0)) [[unlikely]]
    return otherwise(nullptr);
  PinBlock* const mine = my_pins;
  if (mine == nullptr) [[unlikely]]
    return otherwise(nullptr);
  if (!mapping->pin_for_record(*mine, offset)) [[unlikely]]
    return otherwise(mapping);
  constexpr uint64_t kHead = sizeof(RecordHeader);
  static_assert(kHead + 16 < kFirstRecord, "the head of a short key at byte 0 is not behind the header");
  if (!mapping->has_after_header(offset, kHead + key.size())) [[unlikely]]
    return otherwise(mapping);

  // 3. The record. Where a small value begins and ends is in the header, which is a miss away: the lines are
  // asked for before that is known.
  const char* const record = mapping->bytes().base + offset;
  __builtin_prefetch(record + 64);
  __builtin_prefetch(record + 128);
  RecordHeader header;
  memcpy(&header.key_and_flags, record + offsetof(RecordHeader, key_and_flags), sizeof(uint32_t));
  memcpy(&header.value_bytes, record + offsetof(RecordHeader, value_bytes), sizeof(uint32_t));
  constexpr uint32_t kAlignment = 0xF0000000, kWhat = 0xFFFFF | kHasExpiry << 20;  // key bytes, type, expiry
  constexpr uint32_t kPut = static_cast<uint32_t>(RecordType::kPut) << 17;
  const uint32_t difference = header.key_and_flags ^ (static_cast<uint32_t>(key.size()) + kPut);
  if ((difference & (kWhat | (kIsShort ? kAlignment : 0))) != 0) [[unlikely]]
    return kIsShort && (difference & kWhat) == 0 ? get_aligned(mapping, view, key) : otherwise(mapping);
  uint64_t value_at = offset + kHead + key.size();
  if (!kIsShort) value_at = round_up(value_at, header.alignment());
  // It cannot be kValueInHeader then: that is more than a segment has.
  if (!same(mapping)->has_after_header(value_at, header.value_bytes)) [[unlikely]]
    return otherwise(mapping);
  if (kIsShort) {
    if (load_word(record + kHead) != load_word(key.data())) [[unlikely]]
      return otherwise(mapping);
    const uint64_t last = same(key.size()) - 8;
    if (load_word(record + kHead + last) != load_word(key.data() + last)) [[unlikely]]
      return otherwise(mapping);
  } else if (!is_key(record + kHead, key)) [[unlikely]] {
    return otherwise(mapping);
  }

  // 4. It is the slot's, as in Reader::look.
  if (!is_still(*slot, word)) [[unlikely]]
    return otherwise(mapping);
  if (!is_still(view->segments[row].file_id, mapping->file_id())) [[unlikely]]
    return otherwise(mapping);
  memcpy(&header.sequence_delta, record + offsetof(RecordHeader, sequence_delta), sizeof(uint32_t));
  const char* const value = kIsShort ? record + same(key.size()) + kHead : mapping->bytes().base + value_at;
  return ValueMaker::make(mapping, value, header.value_bytes,
                          mapping->bytes().header.base_sequence + header.sequence_delta, 0);
}

[[gnu::cold, gnu::noinline]] void unpin_otherwise(Mapping* mapping) { mapping->unpin(); }
[[gnu::cold, gnu::noinline]] void let_go(Mapping* mapping) { mapping->let_go(); }

}  // namespace
}  // namespace segstore

[[gnu::flatten]] StoreResult<Value> Store::get(std::string_view key) const {
  using namespace segstore;
  const StoreImpl* const impl = impl_.get();
  if (impl == nullptr) [[unlikely]]
    return get_without_view(impl, key);
  const QuickView* const view = impl->reader().quick();
  if (view == nullptr) [[unlikely]]
    return get_without_view(impl, key);
  if (!is_short_key(key)) [[unlikely]]
    return get_any(view, key);
  return get_quickly<Keys::kShort>(view, key);
}

void Value::unpin() {
  segstore::Mapping* const mapping = pin_;
  segstore::PinBlock* const mine = segstore::my_pins;
  if (mine == nullptr) [[unlikely]]
    return segstore::unpin_otherwise(mapping);
  if (!mapping->unpin_quickly(*mine)) [[unlikely]]
    segstore::let_go(mapping);
}

}  // namespace spillway
