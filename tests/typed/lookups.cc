// lookups.cc - look-ups by text: keys of every length, maps of every small size, keys that share a hash,
// indexes that lie.
#include <sys/mman.h>

#include "tests/typed/blobs.h"

using namespace spillway::test;
namespace typed = spillway::typed;
using typed::any;
using typed::errc;
using typed::map_view;

namespace {

using Map = std::map<std::string, std::uint64_t>;

// Key i of a series that has every length from 0 to 40 bytes, NULs and all.
std::string key_of_length(std::size_t bytes, char salt = 'k') {
  std::string key(bytes, salt);
  for (std::size_t i = 0; i < bytes; ++i) key[i] = static_cast<char>(key[i] + static_cast<char>(i % 3));
  if (bytes > 2) key[1] = '\0';
  return key;
}
Bytes map_of(const std::vector<std::string>& keys) {
  return build([&](typed::builder& b) {
    typed::map_builder m(b, typed::flavour::text, typed::duplicates::error);
    for (std::size_t i = 0; i < keys.size(); ++i) m.put(keys[i], any(i));
    return m.finish();
  });
}
// What every way of looking up says of a key: its value, -1 when it is not there, -2 when they disagree.
template <class M>
std::int64_t look(const M& m, std::string_view key) {
  // In memory of its own, so that a sanitizer sees what is read beside it; an empty one has none.
  const std::vector<char> exact(key.begin(), key.end());
  const std::string_view k =
      exact.empty() ? std::string_view() : std::string_view(exact.data(), exact.size());
  const auto found = m.find(k);
  std::uint64_t entry[2];
  m.find_many(std::array<std::string_view, 2>{k, k}, entry);
  const bool there = found.ok();
  const bool agree = (there || found.code() == errc::no_such) && m.contains(k) == there &&
                     (entry[0] != map_view::npos) == there && entry[0] == entry[1] &&
                     m.raw().find(any(std::string(k))).value() == entry[0] &&
                     (!there || m.value_at(entry[0]).value() == *found);
  return !agree ? -2 : there ? static_cast<std::int64_t>(*found) : -1;
}

// A copy of a blob between two pages that cannot be touched, so that reading past either end is seen.
class Guarded {
 public:
  explicit Guarded(const Bytes& bytes) : size_(bytes.data.size()) {
    const std::size_t inner = (size_ + 4095) / 4096 * 4096;
    all_ = inner + 8192;
    base_ = static_cast<std::byte*>(mmap(nullptr, all_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(base_ != MAP_FAILED);
    REQUIRE(mprotect(base_ + 4096, inner, PROT_READ | PROT_WRITE) == 0);
    data = base_ + 4096 + inner - size_;
    std::memcpy(data, bytes.data.data(), size_);
  }
  Guarded(const Guarded&) = delete;
  ~Guarded() { munmap(base_, all_); }
  typed::blob open() const { return typed::blob::open(typed::shared_memory({data, size_})).value(); }

  std::byte* data;

 private:
  std::size_t size_, all_;
  std::byte* base_;
};

template <class T>
T peek(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

TEST_CASE("keys of 0 to 40 bytes are found in maps of every small size, and nothing beside them is") {
  for (const std::size_t n : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 20u, 41u}) {
    // So that long keys come into small maps, too.
    for (const std::size_t first : {std::size_t{0}, std::size_t{5}, 41 - n}) {
      std::vector<std::string> keys;
      for (std::size_t i = 0; i < n; ++i) keys.push_back(key_of_length((first + i) % 41));
      const Bytes bytes = map_of(keys);
      const auto checked = *typed::root<Map>(bytes.open());
      const auto proven = *typed::root<Map>(bytes.verify());
      CAPTURE(n, first);
      REQUIRE(checked.size() == n);
      std::size_t usual = 0;
      for (std::size_t i = 0; i < n; ++i) {
        usual += checked.raw().find_usual(typed::hash_text(keys[i]), keys[i]) != map_view::npos;
        REQUIRE(look(checked, keys[i]) == static_cast<std::int64_t>(i));
        REQUIRE(look(proven, keys[i]) == static_cast<std::int64_t>(i));
      }
      if (n >= 20) REQUIRE(4 * usual >= 3 * n);  // all but the last entries and crowded ranges
      const auto absent = [&](const std::string& key) {
        if (std::find(keys.begin(), keys.end(), key) != keys.end()) return;
        CAPTURE(key);
        REQUIRE(look(checked, key) == -1);
        REQUIRE(look(proven, key) == -1);
      };
      for (std::size_t bytes_of_key = 0; bytes_of_key <= 41; ++bytes_of_key)
        absent(key_of_length(bytes_of_key, 'x'));
      for (const std::string& key : keys) {
        absent(key + '\0'), absent(key.substr(0, key.size() / 2));
        for (std::size_t at = 0; at < key.size(); ++at) {
          std::string other = key;
          other[at] = static_cast<char>(other[at] ^ 1);
          absent(other);
        }
      }
    }
  }
}

// The format leaves the hash no adversary's match, so keys that share one are made here, as such a writer
// could.
TEST_CASE(
    "keys that share a hash are told apart, wherever among them the right one is, and give all values") {
  for (const int keys : {1, 2, 3, 5, 9}) {
    for (const int values : {1, 3, 6}) {
      Bytes bytes = build([&](typed::builder& b) {
        typed::map_builder m(b, typed::flavour::text, typed::duplicates::keep_all);
        for (int i = 0; i < keys * values; ++i) m.put("key number " + std::to_string(i % keys), any(i));
        return m.finish();
      });
      const std::uint64_t at = peek<std::uint64_t>(bytes.data.data() + 24),
                          n = static_cast<unsigned>(keys * values);
      for (int k = 0; k < keys; ++k) {
        const std::string key = "key number " + std::to_string(k);
        const std::uint64_t h = typed::hash_text(key);
        std::byte* const map = bytes.data.data() + at;
        std::memcpy(map + 16, &h, 8);  // low
        for (std::uint64_t i = 0; i < n; ++i) std::memcpy(map + typed::kMapHeadBytes + 32 * i, &h, 8);
        std::byte* const directory = map + typed::kMapHeadBytes + 32 * n;
        const std::uint64_t buckets = peek<std::uint64_t>(map + 32);
        for (std::uint64_t d = 0; d <= buckets; ++d) {
          const auto first = static_cast<std::uint32_t>(d ? n : 0);
          std::memcpy(directory + 4 * d, &first, 4);
        }
        CAPTURE(keys, values, k);
        CHECK(bytes.verdict() == (keys == 1 ? errc::ok : errc::unsorted));
        const auto check = [&](const auto& m) {
          CHECK(m.size() == static_cast<unsigned>(keys));
          CHECK(look(m, key) == k);
          CHECK(m.count(key) == static_cast<unsigned>(values));
          int expected = k;
          for (const auto& v : m.equal_range(key)) {
            CHECK(*v == static_cast<unsigned>(expected));
            expected += keys;
          }
          CHECK(look(m, "key number 9") == -1);
        };
        using Multi = typed::multi<typed::string_map<std::uint64_t>>;
        check(Multi::of(*typed::root(bytes.open())).value());
        const typed::verified_blob unhashed =
            typed::verify(typed::own_memory(bytes.data), {.hashes = false}).value();
        check(typed::multi<typed::string_map<std::uint64_t, typed::proven>>::of(*typed::root(unhashed))
                  .value());
      }
    }
  }
}

TEST_CASE(
    "an index that lies, from the start or after it was opened, leads to no byte outside and to no wrong "
    "key") {
  for (const std::size_t n : {1u, 4u, 5u, 12u}) {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < n; ++i) keys.push_back(key_of_length(i * 3));
    const Bytes good = map_of(keys);
    Guarded bytes(good);
    const typed::blob before = bytes.open();
    const auto opened = typed::root<Map>(before).value();
    const std::uint64_t at = opened.raw().object().position, size = good.data.size();
    std::uint64_t found = 0;
    const auto look_at_all = [&](const auto& m) {
      for (const std::string& key : keys) {
        const std::uint64_t i = m.raw().find_usual(typed::hash_text(key), key);
        (void)m.find(key), (void)m.contains(key), (void)m.raw().find(any(key));
        try {
          std::uint64_t entry;
          m.find_many(std::array<std::string_view, 1>{key}, {&entry, 1});
          REQUIRE((entry == map_view::npos || entry < n));
        } catch (const typed::failure&) {
        }
        if (i == map_view::npos) continue;
        ++found;
        REQUIRE(i < n);
        const std::uint64_t from = at + typed::kMapHeadBytes + 32 * i + 8,
                            text = from + peek<std::uint64_t>(bytes.data + from);
        REQUIRE(text >= typed::kHeaderBytes);
        REQUIRE(text + 8 + key.size() <= from);
        REQUIRE(std::memcmp(bytes.data + text + 8, key.data(), key.size()) == 0);
      }
    };
    const auto damaged = [&] {
      look_at_all(opened);
      const auto again = typed::blob::open(typed::shared_memory({bytes.data, size}));
      if (!again) return;
      if (const auto m = typed::root<Map>(*again)) look_at_all(*m);
    };
    const auto with = [&](std::uint64_t where, auto value) {
      const auto was = peek<decltype(value)>(bytes.data + where);
      std::memcpy(bytes.data + where, &value, sizeof value);
      damaged();
      std::memcpy(bytes.data + where, &was, sizeof was);
    };
    look_at_all(opened);
    if (n > 4) REQUIRE(found > 0);
    for (std::uint64_t where = at; where < size; ++where)
      for (unsigned bit = 0; bit < 8; ++bit) with(where, bytes.data[where] ^ std::byte(1u << bit));
    const std::uint64_t directory = at + typed::kMapHeadBytes + 32 * n;
    for (std::uint64_t where = directory; where + 4 <= size; where += 4)
      for (const std::uint64_t first : {std::uint64_t{0}, n - 1, n, n + 1, n + 3, n - 4, n - 5,
                                        std::uint64_t{1} << 20, std::uint64_t{UINT32_MAX}})
        with(where, static_cast<std::uint32_t>(first));
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::uint64_t from = at + typed::kMapHeadBytes + 32 * i + 8,
                          text = from + peek<std::uint64_t>(bytes.data + from);
      for (const std::uint64_t to :
           {std::uint64_t{0}, std::uint64_t{8}, std::uint64_t{56}, from - 8, from, from + 8, size - 8, size,
            std::uint64_t{0} - 8, std::uint64_t{1} << 40, std::uint64_t{1} << 63, text + 1})
        with(from, to - from);
      for (const std::uint64_t count : {std::uint64_t{0}, keys[i].size() + 1, typed::kMaxCount})
        with(text, typed::head{typed::kind::text, typed::kCodecNone, 0, count}.word());
    }
    for (const std::uint64_t low : {std::uint64_t{0}, UINT64_MAX, std::uint64_t{1} << 63}) with(at + 16, low);
  }
}

TEST_CASE("a key that lies at no multiple of 8 is refused, even where its bytes look like a text") {
  const std::string wanted = "eight by";
  std::string disguise = "....";
  const std::uint64_t word = typed::head{typed::kind::text, typed::kCodecNone, 0, wanted.size()}.word();
  disguise.append(reinterpret_cast<const char*>(&word), 8);
  disguise += wanted;
  for (char& c : disguise) CHECK((c & 0x80) == 0);  // a text that may be stored
  std::vector<std::string> keys = {wanted, disguise};
  for (std::size_t i = 0; i < 20; ++i) keys.push_back(key_of_length(20 + i));
  Bytes bytes = map_of(keys);
  const auto m = *typed::root<Map>(bytes.open());
  REQUIRE(look(m, wanted) == 0);
  const std::uint64_t entries = m.raw().object().position + typed::kMapHeadBytes;
  const auto reference = [&](const std::string& key) { return entries + 32 * m.raw().find(key).value() + 8; };
  const std::uint64_t from = reference(wanted), other = reference(disguise),
                      text = other + peek<std::uint64_t>(bytes.data.data() + other), to = text + 8 + 4 - from;
  std::memcpy(bytes.data.data() + from, &to, sizeof to);
  CHECK(m.find(wanted).code() == errc::misaligned);
  CHECK_FALSE(m.contains(wanted));
}
