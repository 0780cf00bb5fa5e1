// hostile.cc - damaged and malicious bytes: each kind is refused by verify(), and harmless to checked views.
#include <random>

#include "tests/typed/blobs.h"

using namespace spillway::test;
namespace typed = spillway::typed;
using typed::any;
using typed::errc;
using typed::head;
using typed::kind;

namespace {

// A blob written by hand, word by word.
struct Forge {
  std::vector<std::uint64_t> words = std::vector<std::uint64_t>(8);

  std::uint64_t at() const { return words.size() * 8; }
  // An object; `refs` are indexes of body words that hold absolute positions.
  std::uint64_t object(head h, std::vector<std::uint64_t> body, std::vector<std::size_t> refs = {}) {
    const std::uint64_t position = at();
    words.push_back(h.word());
    for (const std::size_t r : refs) body[r] -= position + 8 + 8 * r;
    words.insert(words.end(), body.begin(), body.end());
    return position;
  }
  // A list of references to one object, n times.
  std::uint64_t list(std::uint64_t target, std::uint64_t n, std::uint8_t depth) {
    std::vector<std::uint64_t> body;
    std::vector<std::size_t> refs;
    for (std::uint64_t i = 0; i < n; ++i) {
      body.push_back(static_cast<std::uint64_t>(typed::code::ref));
      refs.push_back(body.size());
      body.push_back(target);
    }
    return object({kind::list, 0, depth, n}, body, refs);
  }
  std::uint64_t text(const char* eight) {
    std::uint64_t w;
    std::memcpy(&w, eight, 8);
    return object({kind::text, 0, 0, 8}, {w});
  }
  Bytes finish(std::uint64_t root, std::uint64_t schema = 0) {
    typed::file_header h{};
    std::memcpy(h.magic, typed::kMagic, 8);
    h.endian = typed::kEndianMark, h.version = 1, h.min_reader = 1, h.total_bytes = at(), h.root = root,
    h.schema = schema;
    std::memcpy(words.data(), &h, sizeof h);
    Bytes bytes;
    bytes.data.resize(at());
    std::memcpy(bytes.data.data(), words.data(), at());
    return bytes;
  }
};

// Walks everything a blob offers through checked views; whatever it meets, it ends. The count of values met.
std::uint64_t walk(const Bytes& bytes) {
  const auto blob = typed::blob::open(typed::shared_memory(bytes.data));
  if (!blob) return 0;
  std::uint64_t length = 0;
  for (const bool json : {false, true})
    if (const auto root = typed::root(*blob))
      typed::dumper([&](std::string_view s) { length += s.size(); }, {.json = json, .max_values = 2000})
          .dump(*root);
  if (const auto root = typed::root(*blob)) {
    (void)root->clone(100000);
    if (const auto m = root->map())
      for (const any& key : {any("text"), any(1), any(typed::any_tuple{{1, "x"}})}) (void)m->find(key);
    if (const auto s = root->set()) (void)s->contains(any(5)), (void)s->equals(*s);
  }
  (void)typed::root<Everything>(*blob);
  return length;
}

errc verdict(const Bytes& bytes, const typed::verify_options& o = {}) {
  walk(bytes);
  return bytes.verdict(o);
}

template <class T>
void poke(Bytes& bytes, std::uint64_t at, T value) {
  std::memcpy(bytes.data.data() + at, &value, sizeof value);
}
template <class T>
T peek(const Bytes& bytes, std::uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data.data() + at, sizeof value);
  return value;
}
std::uint64_t root_of(const Bytes& bytes) { return peek<std::uint64_t>(bytes, 24); }

}  // namespace

TEST_CASE("truncated input is refused at every length") {
  const Bytes whole = build([](typed::builder& b) { return b.add(Address{"a street of some length", 1}); });
  for (std::size_t n = 0; n < whole.data.size(); ++n) {
    Bytes cut{{whole.data.begin(), whole.data.begin() + static_cast<std::ptrdiff_t>(n)}};
    CHECK(verdict(cut) == errc::truncated);
  }
  // Also when the header was made to agree.
  for (std::size_t n = 64; n < whole.data.size(); n += 8) {
    Bytes cut{{whole.data.begin(), whole.data.begin() + static_cast<std::ptrdiff_t>(n)}};
    poke(cut, 16, std::uint64_t{n});
    CHECK(verdict(cut) != errc::ok);
  }
}

TEST_CASE("wrong magic, byte order, version, sizes and alignment are refused at open") {
  const Bytes good = build_any(any("a text of some length"));
  const auto with = [&](std::uint64_t at, auto value) {
    Bytes b = good;
    poke(b, at, value);
    return verdict(b);
  };
  CHECK(with(0, std::uint8_t{0x88}) == errc::bad_magic);
  CHECK(with(8, std::uint32_t{0x04030201}) == errc::foreign_endian);
  CHECK(with(14, std::uint16_t{2}) == errc::newer_version);
  CHECK(with(12, std::uint16_t{2}) == errc::ok);  // a newer writer that old readers may read
  CHECK(with(16, std::uint64_t{good.data.size() + 8}) == errc::truncated);
  CHECK(with(16, UINT64_MAX) == errc::truncated);
  CHECK(with(16, std::uint64_t{8}) == errc::out_of_range);
  CHECK(with(16, std::uint64_t{good.data.size() - 4}) == errc::out_of_range);
  for (const std::uint64_t root : {std::uint64_t{8}, std::uint64_t{68}, std::uint64_t{good.data.size()},
                                   UINT64_MAX, std::uint64_t{1} << 63}) {
    CHECK(with(24, root) == errc::out_of_range);
    CHECK(with(32, root) == errc::out_of_range);
    CHECK(with(40, root) == errc::out_of_range);
  }
  CHECK(with(56, std::uint32_t{2}) == errc::bad_tag);
  CHECK(with(60, std::uint32_t{1}) == errc::bad_tag);
  Bytes shifted;
  shifted.data.resize(good.data.size() + 4);
  std::copy(good.data.begin(), good.data.end(), shifted.data.begin() + 4);
  CHECK(typed::blob::open(typed::shared_memory(std::span(shifted.data).subspan(4))).code() ==
        errc::misaligned);
  CHECK_THAT(typed::blob::open(typed::shared_memory({})).error().message(), Catch::Contains("64 bytes"));
}

TEST_CASE("references out of range, misaligned, forward, to no object, or to themselves are refused") {
  Forge f;
  const std::uint64_t text = f.text("12345678");
  const std::uint64_t list = f.list(text, 1, 1);
  const Bytes good = f.finish(list);
  REQUIRE(verdict(good) == errc::ok);
  const auto with = [&](std::uint64_t target) {
    Bytes b = good;
    poke(b, list + 16, target - (list + 16));
    return verdict(b);
  };
  CHECK(with(text + 4) == errc::misaligned);
  CHECK(with(text + 8) == errc::out_of_range);  // the middle of the text
  CHECK(with(0) == errc::out_of_range);         // the header
  CHECK(with(56) == errc::out_of_range);
  CHECK(with(list) == errc::forward);  // itself
  CHECK(with(list + 16) == errc::forward);
  CHECK(with(good.data.size()) == errc::forward);
  CHECK(with(std::uint64_t{1} << 62) == errc::forward);
  CHECK(with(std::uint64_t{0} - 8) == errc::forward);
}

TEST_CASE("cycles cannot be written down: one of two references would point forward") {
  Forge f;
  const std::uint64_t first = f.list(0, 1, 1);
  const std::uint64_t second = f.list(first, 1, 2);
  Bytes bytes = f.finish(second);
  poke(bytes, first + 16, second - (first + 16));
  CHECK(verdict(bytes) == errc::forward);
}

TEST_CASE("counts that overflow, or reach past the end, are refused") {
  for (const kind k :
       {kind::text, kind::bytes, kind::buffer, kind::list, kind::set_bits, kind::set_blocks, kind::map,
        kind::record, kind::nd, kind::decimal, kind::schema, kind::array, kind::set_sorted}) {
    for (const std::uint64_t count :
         {std::uint64_t{100}, std::uint64_t{1} << 20, typed::kMaxCount, typed::kMaxCount / 16 + 1}) {
      Forge f;
      const std::uint64_t at = f.object({k,
                                         k == kind::array || k == kind::set_sorted ? std::uint8_t{5}
                                         : k == kind::map                          ? std::uint8_t{2}
                                                                                   : std::uint8_t{0},
                                         1, count},
                                        {0, 0, 0, 0, 0, 0});
      CHECK(verdict(f.finish(at)) == errc::out_of_range);
    }
  }
  // 2^40 elements of a type without a size, directories and shapes that overflow.
  Forge none;
  CHECK(verdict(none.finish(none.object({kind::array, 0, 0, typed::kMaxCount}, {0}))) == errc::bad_tag);
  Forge map;
  CHECK(verdict(map.finish(map.object({kind::map, 2, 0, 1}, {1, 0, 64 << 8, UINT64_MAX, 0, 0, 0, 0}))) ==
        errc::out_of_range);
  Forge nd;
  CHECK(
      verdict(nd.finish(nd.object({kind::nd, 11, 0, 3}, {0, 8, std::uint64_t{1} << 40, std::uint64_t{1} << 40,
                                                         std::uint64_t{1} << 40, 0}))) == errc::out_of_range);
  Forge empty;
  CHECK(verdict(empty.finish(empty.object({kind::nd, 11, 0, 3}, {0, 8, 0, UINT64_MAX, UINT64_MAX, 0, 0, 0, 0,
                                                                 0, 0, 0, 0, 0, 0, 0}))) == errc::ok);
}

TEST_CASE("deep chains end at the format's depth, without a stack that grows") {
  // As deep as the format goes, and one deeper than the caller allows.
  any chain = 1;
  for (int i = 0; i < 255; ++i) chain = typed::any_list{{chain, nullptr}};
  const Bytes deep = build_any(chain);
  CHECK(verdict(deep) == errc::ok);
  CHECK(verdict(deep, {.max_depth = 253}) == errc::too_deep);
  CHECK_THROWS_WITH(build_any(typed::any_list{{chain, nullptr}}), Catch::Contains("255"));
  // A million references deep: the depth in the headers must fall, and cannot.
  Forge f;
  std::uint64_t at = f.text("12345678");
  for (int i = 0; i < 1000000; ++i) at = f.list(at, 1, static_cast<std::uint8_t>(std::min(i + 1, 255)));
  CHECK(verdict(f.finish(at)) == errc::too_deep);
}

TEST_CASE("a small blob that expands to 2^40 values is refused") {
  Forge f;
  std::uint64_t at = f.text("12345678");
  for (std::uint8_t i = 1; i <= 40; ++i) at = f.list(at, 2, i);
  const Bytes bytes = f.finish(at);
  CHECK(verdict(bytes) == errc::too_much);
  CHECK(verdict(bytes, {.max_visits = 1e14}) == errc::ok);
  CHECK(typed::root(bytes.open())->clone(100000).code() == errc::too_much);
}

TEST_CASE("unsorted sets and indexes, and directories that lie, are refused") {
  Bytes set = build([](typed::builder& b) { return b.number_set({1.5, 2.5, 3.5}); });
  poke(set, root_of(set) + 8, 9.5);
  CHECK(verdict(set) == errc::unsorted);
  poke(set, root_of(set) + 8, 2.5);
  CHECK(verdict(set) == errc::unsorted);  // twice
  poke(set, root_of(set) + 8, std::numeric_limits<double>::quiet_NaN());
  CHECK(verdict(set) == errc::unsorted);

  const Bytes map = build([](typed::builder& b) {
    typed::map_builder m(b, typed::flavour::text, typed::duplicates::error);
    for (int i = 0; i < 20; ++i) m.put("key " + std::to_string(i), any(i));
    return m.finish();
  });
  const std::uint64_t at = root_of(map), entries = at + typed::kMapHeadBytes, directory = entries + 20 * 32;
  const auto with = [&](std::uint64_t where, auto value) {
    Bytes b = map;
    poke(b, where, value);
    return verdict(b);
  };
  REQUIRE(verdict(map) == errc::ok);
  CHECK(with(entries, UINT64_MAX) == errc::unsorted);  // an entry out of order
  CHECK(with(entries + 32 * 19, peek<std::uint64_t>(map, entries + 32 * 19) + 1) ==
        errc::unsorted);  // a hash that is not the key's
  CHECK(with(directory, std::uint32_t{1}) == errc::unsorted);
  CHECK(with(directory + 4, UINT32_MAX) == errc::unsorted);
  CHECK(with(at + 8, std::uint64_t{19}) == errc::contradiction);  // the number of keys
  CHECK(with(at + 8, std::uint64_t{21}) == errc::out_of_range);
  CHECK(with(at + 16, std::uint64_t{UINT64_MAX}) == errc::unsorted);
  CHECK(with(at + 24, std::uint8_t{64}) == errc::out_of_range);  // the shift
  CHECK(with(at + 25, std::uint8_t{0}) == errc::out_of_range);
  CHECK(with(at + 32, std::uint64_t{1} << 40) == errc::out_of_range);
  CHECK(with(at + 1, std::uint8_t{7}) == errc::bad_tag);
  // The same key twice.
  const Bytes twice = build([](typed::builder& b) {
    typed::map_builder m(b, typed::flavour::uint, typed::duplicates::keep_all);
    for (int i = 0; i < 2; ++i) m.put(7, any(i));
    return m.finish();
  });
  Bytes simple = twice;
  poke(simple, root_of(simple) + 1, static_cast<std::uint8_t>(typed::flavour::uint));
  CHECK(verdict(simple) == errc::duplicate);
}

TEST_CASE("bad UTF-8, wrong tags, contradicting bits and impossible values are refused") {
  const Bytes text = build_any(any("a text of some length"));
  for (const char* bad : {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    Bytes b = text;
    std::memcpy(b.data.data() + root_of(b) + 8 + 21 - std::strlen(bad), bad, std::strlen(bad));
    CHECK(verdict(b) == errc::bad_utf8);
  }
  const Bytes short_text = build_any(any("short"));
  Bytes b = short_text;
  b.data[root_of(b) + 16] = std::byte{0xff};
  CHECK(verdict(b) == errc::bad_utf8);
  b = short_text;
  poke(b, root_of(b) + 12, std::int32_t{9});
  CHECK(verdict(b) == errc::bad_value);
  b = short_text;
  for (const std::uint8_t code : {0, 13, 15, 17, 255}) {
    b.data[root_of(b) + 8] = std::byte{code};
    CHECK(verdict(b) == errc::bad_tag);
  }
  b = short_text;
  poke(b, root_of(b), std::uint8_t{16});
  CHECK(verdict(b) == errc::bad_tag);

  // Presence bits of a record.
  const Bytes record = build([](typed::builder& builder) {
    return builder.add(Address{"a street of some length", 1});
  });
  const std::uint64_t at = root_of(record);
  const auto with = [&](std::uint64_t where, auto value) {
    Bytes changed = record;
    poke(changed, where, value);
    return verdict(changed);
  };
  CHECK(with(at + 8, std::uint8_t{0}) == errc::contradiction);    // absent, yet its bytes are there
  CHECK(with(at + 8, std::uint8_t{7}) == errc::contradiction);    // a third field
  CHECK(with(at + 9, std::uint8_t{1}) == errc::contradiction);    // null, yet its bytes are there
  CHECK(with(at + 9, std::uint8_t{4}) == errc::contradiction);    // null, yet absent
  CHECK(with(at + 16, std::uint64_t{0}) == errc::contradiction);  // set, yet it refers to nothing
  CHECK(with(at + 3, std::uint64_t{9}) == errc::out_of_range);    // a type the schema does not have
  // The street refers to an object that is no text.
  Bytes wrong = build([](typed::builder& builder) {
    const auto first = builder.bytes("a text of some length, but bytes");
    (void)first;
    return builder.add(Address{"a street of some length", 1});
  });
  poke(wrong, root_of(wrong) + 16, 64 - (root_of(wrong) + 16));
  CHECK(verdict(wrong) == errc::bad_tag);

  // Bitmaps.
  Bytes bits = build([](typed::builder& builder) {
    return builder.integer_set({0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,
                                17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 100});
  });
  REQUIRE(head::of(peek<std::uint64_t>(bits, root_of(bits))).kind == kind::set_bits);
  const std::uint64_t set = root_of(bits);
  const auto with_bits = [&](std::uint64_t where, std::uint64_t value) {
    Bytes changed = bits;
    poke(changed, set + where, value);
    return verdict(changed);
  };
  CHECK(with_bits(16, 32) == errc::contradiction);
  CHECK(with_bits(16, UINT64_MAX) == errc::contradiction);
  CHECK(with_bits(8, 1) == errc::contradiction);
  CHECK(with_bits(8, std::uint64_t{INT64_MAX} - 63) == errc::contradiction);
  CHECK(with_bits(24, 0) == errc::contradiction);

  // Decimals, dates, times, bools.
  Bytes decimal = build_any(typed::decimal::parse("123").value());
  poke(decimal, root_of(decimal) + 16, std::uint8_t{0xA2});
  CHECK(verdict(decimal) == errc::bad_value);
  poke(decimal, root_of(decimal) + 1, std::uint8_t{6});
  CHECK(verdict(decimal) == errc::bad_tag);
  Bytes date = build_any(typed::date{0});
  poke(date, root_of(date) + 16, std::int64_t{2932897});
  CHECK(verdict(date) == errc::bad_value);
  Bytes time = build_any(typed::instant{0, typed::unit::s});
  poke(time, root_of(time) + 16, std::int64_t{253402300800});
  CHECK(verdict(time) == errc::bad_value);
  Bytes flag = build_any(any(true));
  poke(flag, root_of(flag) + 16, std::uint64_t{2});
  CHECK(verdict(flag) == errc::bad_value);
}

TEST_CASE("compression bombs and torn blocks are refused unread") {
  const Bytes good = build_any(any(std::string(100000, 'x')));
  REQUIRE(verdict(good) == errc::ok);
  Bytes bomb = good;
  poke(bomb, root_of(bomb) + 8, std::uint64_t{1} << 60);
  CHECK(verdict(bomb) == errc::too_much);
  poke(bomb, root_of(bomb) + 8, std::uint64_t{100001});
  CHECK(verdict(bomb) == errc::bad_value);
  CHECK(verdict(good, {.max_expanded_bytes = 99999}) == errc::too_much);
  Bytes torn = good;
  std::memset(torn.data.data() + root_of(torn) + 16, 0xff, 8);
  CHECK(verdict(torn) != errc::ok);
  Bytes codec = good;
  poke(codec, root_of(codec) + 1, std::uint8_t{2});
  CHECK(verdict(codec) == errc::bad_tag);
}

TEST_CASE(
    "schemas whose fields overlap, leave their record, repeat or refer to nothing are refused at open") {
  const Bytes good = build([](typed::builder& b) { return b.add(Address{"x", 1}); });
  const std::uint64_t schema = peek<std::uint64_t>(good, 32), fields = schema + 16 + 24;
  REQUIRE(verdict(good) == errc::ok);
  const auto with = [&](std::uint64_t where, auto value) {
    Bytes b = good;
    poke(b, where, value);
    return verdict(b);
  };
  CHECK(with(fields + 24 + 12, peek<std::uint32_t>(good, fields + 12)) == errc::contradiction);  // overlap
  CHECK(with(fields + 12, std::uint32_t{8}) == errc::out_of_range);  // in the presence bits
  CHECK(with(fields + 12, std::uint32_t{4096}) == errc::out_of_range);
  CHECK(with(fields + 12, std::uint32_t{UINT32_MAX - 3}) == errc::out_of_range);
  CHECK(with(fields + 12, std::uint32_t{17}) == errc::out_of_range);  // misaligned
  CHECK(with(fields + 24 + 8, std::uint32_t{1}) == errc::duplicate);  // the other's number
  CHECK(with(fields + 16, std::uint8_t{99}) == errc::bad_tag);
  CHECK(with(fields + 20, std::uint32_t{5}) == errc::out_of_range);  // a type that is not there
  CHECK(with(schema + 16 + 12, std::uint32_t{12}) == errc::bad_value);
  CHECK(with(schema + 16 + 12, std::uint32_t{1 << 29}) == errc::bad_value);
  CHECK(with(schema + 16 + 8, std::uint32_t{UINT32_MAX}) == errc::out_of_range);
  CHECK(with(schema + 8, std::uint64_t{1} << 40) == errc::out_of_range);
  CHECK(with(schema + 16, std::uint64_t{8}) != errc::ok);  // a name that points forward
  CHECK(with(32, root_of(good)) == errc::out_of_range);    // a record, before any type is known
}

TEST_CASE("bytes that are no object, and junk behind objects, are refused") {
  Forge f;
  const std::uint64_t text = f.text("12345678");
  f.words.push_back(0);  // padding is allowed
  REQUIRE(verdict(f.finish(text)) == errc::ok);
  f.words.push_back(0x1234);
  CHECK(verdict(f.finish(text)) != errc::ok);
  Bytes tail = build_any(any("a text of 20 letters"));
  tail.data[root_of(tail) + 8 + 20] = std::byte{1};
  CHECK(verdict(tail) == errc::contradiction);
}

TEST_CASE("random damage to real blobs never harms a reader, and what verify passes is readable") {
  Everything e;
  e.text = "text", e.names = {"a", "a name longer than eight bytes"}, e.lucky = {1, 2, 3, 500},
  e.by_name = {{"a", 1}, {"b", 2}};
  e.by_real = {{0.5, "half"}}, e.home = {"street", 3}, e.next = std::make_unique<Everything>(),
  e.price = typed::decimal::parse("1.5").value();
  e.anything = typed::any_map{{{1, typed::any_tuple{{true, typed::any_set{{1, "x"}}}}},
                               {"nd", typed::nd_array{typed::type::i16, "", 2, {2, 2}, "abcdefgh"}}}};
  e.when = {1, typed::unit::s, 0, "UTC"}, e.raw.data = std::string(2000, 'r');
  const Bytes good = build([&](typed::builder& b) { return b.add(e); });
  std::mt19937 random(42);
  int passed = 0;
  for (int round = 0; round < 8000; ++round) {
    Bytes bad = good;
    for (unsigned n = random() % 3 + 1; n; --n) {
      const std::size_t at = random() % bad.data.size();
      if (random() % 2)
        bad.data[at] = static_cast<std::byte>(random());
      else
        poke(bad, at & ~std::size_t{7},
             static_cast<std::uint64_t>(std::int64_t{static_cast<std::int32_t>(random())} >> random() % 32));
    }
    walk(bad);
    const auto verified = typed::verify(typed::own_memory(bad.data));
    if (!verified) continue;
    ++passed;
    if (const auto root = typed::root(*verified)) {
      const auto copy = root->clone();
      CHECK((copy.ok() || copy.code() == errc::too_much));
    }
  }
  CHECK(passed > 0);
}

TEST_CASE("each byte of a small blob, with each of its bits changed, never harms a reader") {
  const auto small = typed::any_map{
      {{"key", typed::any_list{{1, "a text of 20 letters", nullptr}}}, {2.5, typed::any_set{{1, "x"}}}}};
  for (const Bytes& good : {build_any(any(small)), build([](typed::builder& b) {
                              return b.add(Address{"street", 1});
                            })}) {
    REQUIRE(verdict(good) == errc::ok);
    std::size_t refused = 0;
    for (std::size_t at = 0; at < good.data.size(); ++at)
      for (unsigned bit = 0; bit < 8; ++bit) {
        Bytes bad = good;
        bad.data[at] ^= std::byte(1u << bit);
        refused += verdict(bad) != errc::ok;
      }
    CHECK(refused > good.data.size());  // the rest are other values, as good as these
  }
}
