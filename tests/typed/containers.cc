// containers.cc - what is built by streaming: indexes, multimaps, merges, sections, dedupe, rollback.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "tests/support/scratch_dir.h"
#include "tests/typed/blobs.h"

using namespace spillway::test;
namespace typed = spillway::typed;
using typed::any;
using typed::duplicates;
using typed::errc;
using typed::flavour;

namespace {
std::vector<std::uint64_t> numbers(std::uint64_t n, int order) {
  std::vector<std::uint64_t> v(n);
  for (std::uint64_t i = 0; i < n; ++i) v[i] = i * 3;
  if (order == 1) std::reverse(v.begin(), v.end());
  if (order == 2) std::shuffle(v.begin(), v.end(), std::mt19937_64(1));
  return v;
}
std::map<std::string, int> counts(const typed::map_view& m) {
  std::map<std::string, int> out;
  for (std::uint64_t i = 0; i < m.entries(); ++i) ++out[std::string(*m.key(i).text()->view())];
  return out;
}
}  // namespace

TEST_CASE("look-ups among two million keys, whatever their order was, find all and only the right ones") {
  constexpr std::uint64_t kKeys = 2000000;
  for (int order = 0; order < 3; ++order) {
    const Bytes bytes = build(
        [&](typed::builder& b) {
          typed::map_builder m(b, flavour::uint, duplicates::error);
          for (const std::uint64_t k : numbers(kKeys, order))
            m.put_item(k, b.encode(static_cast<std::int64_t>(k) * 2));
          return m.finish();
        },
        {.memory_bytes = order == 2 ? 16u << 20 : 512u << 20});
    const auto blob = bytes.verify();
    const auto m = *typed::root<std::map<std::uint64_t, std::int64_t>>(blob);
    REQUIRE(m.size() == kKeys);
    std::uint64_t wrong = 0;
    for (std::uint64_t k = 0; k < 3 * kKeys; ++k) {
      const auto got = m.raw().find(k).value();
      if (k % 3 == 0)
        wrong += got == typed::map_view::npos || *m.value_at(got) != static_cast<std::int64_t>(k) * 2;
      else
        wrong += got != typed::map_view::npos;
    }
    CHECK(wrong == 0);
    CHECK_FALSE(m.contains(UINT64_MAX));
    std::uint64_t last = 0;
    bool ascending = true;
    for (std::uint64_t i = 0; i < m.entries(); ++i) {
      const std::uint64_t k = *m.key_at(i).uinteger();
      ascending = ascending && (i == 0 || k > last);
      last = k;
    }
    CHECK(ascending);
  }
}

TEST_CASE("two hundred thousand text keys, sorted in little memory, are found one by one and in batches") {
  constexpr int kKeys = 200000;
  const Bytes bytes = build(
      [](typed::builder& b) {
        typed::map_builder m(b, flavour::text, duplicates::error);
        for (const std::uint64_t k : numbers(kKeys, 2)) m.put("key " + std::to_string(k), any(k));
        return m.finish();
      },
      {.memory_bytes = 1 << 20});
  const auto blob = bytes.verify();
  const auto m = *typed::root<std::map<std::string, std::uint64_t>>(blob);
  REQUIRE(m.size() == kKeys);
  CHECK(static_cast<double>(m.raw().index_bytes()) / kKeys <= 24);
  std::vector<std::string> keys;
  for (int i = 0; i < 3 * kKeys; ++i) keys.push_back("key " + std::to_string(i));
  std::vector<std::string_view> views(keys.begin(), keys.end());
  std::vector<std::uint64_t> found(views.size());
  m.find_many(views, found);
  std::uint64_t wrong = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto one = m.find(views[i]);
    if (i % 3 == 0)
      wrong += !one || *one != i || *m.value_at(found[i]) != i;
    else
      wrong += one.code() != errc::no_such || found[i] != typed::map_view::npos;
  }
  CHECK(wrong == 0);
}

TEST_CASE("lists and maps larger than the builder's memory go through scratch files") {
  const spillway::test::ScratchDir scratch;
  const typed::build_options little{.memory_bytes = 4096, .scratch = scratch.path()};
  const Bytes bytes = build(
      [](typed::builder& b) {
        typed::list_builder list(b);
        for (int i = 0; i < 100000; ++i) list.add(any("item number " + std::to_string(i % 1000)));
        return list.finish();
      },
      little);
  const auto blob = bytes.verify();
  const auto list = *typed::root(blob)->list();
  REQUIRE(list.size() == 100000);
  CHECK(*list[99999].text()->view() == "item number 999");
  CHECK(scratch.files().empty());

  const Bytes objects = build(
      [](typed::builder& b) {
        typed::map_builder m(b, flavour::object, duplicates::error);
        for (int i = 0; i < 20000; ++i) m.put(any(typed::any_tuple{{i, "x"}}), any(i));
        return m.finish();
      },
      little);
  const auto m = *typed::root(objects.verify())->map();
  CHECK(m.size() == 20000);
  CHECK(m.contains(any(typed::any_tuple{{19999.0, "x"}})));
  CHECK_FALSE(m.contains(any(typed::any_tuple{{20000, "x"}})));

  CHECK_THROWS_WITH(build(
                        [](typed::builder& b) {
                          typed::array_builder<double> a(b);
                          for (int i = 0; i < 10000; ++i) a.add(i);
                          return a.finish();
                        },
                        {.memory_bytes = 4096, .scratch = "/no/such/directory"}),
                    Catch::Contains("/no/such/directory"));
}

// Sanitizers keep more than any such limit for themselves.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("a map and an array far larger than the memory they may take are built in a limited process") {
  const spillway::test::ScratchDir dir;
  const std::string path = dir / "large";
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::uint64_t pages[6] = {};
    FILE* statm = fopen("/proc/self/statm", "r");
    for (std::uint64_t& n : pages)
      if (!statm || fscanf(statm, "%lu", &n) != 1) _exit(2);
    const rlim_t most = pages[5] * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) + (16 << 20);
    const rlimit limit{most, most};
    if (setrlimit(RLIMIT_DATA, &limit) != 0) _exit(3);
    try {
      typed::file_sink out(path);
      typed::builder b(out,
                       {.dedupe = false, .compress = false, .memory_bytes = 1 << 20, .scratch = dir.path()});
      typed::map_builder m(b, flavour::text, duplicates::error);
      for (int i = 0; i < 400000; ++i) m.put("key " + std::to_string(i), any(std::string(100, 'x')));
      const typed::ref map = m.finish();
      typed::array_builder<std::int64_t> a(b);
      for (std::int64_t i = 0; i < 4000000; ++i) a.add(i);
      b.finish(b.list(std::vector<typed::item>{typed::ref_item(map), typed::ref_item(a.finish())}));
      _exit(0);
    } catch (...) {
      _exit(1);
    }
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  const auto file = typed::map_file(path);
  CHECK(file.bytes > (64u << 20));
  const auto blob = typed::blob::open(file).value();
  const auto list = *typed::root(blob)->list();
  CHECK(list[0].map()->size() == 400000);
  CHECK(list[0].map()->contains(any("key 399999")));
  CHECK(*(*list[1].list())[3999999].integer() == 3999999);
}
#endif

TEST_CASE("multimaps give every value of a key, in the order they came, and drop equal pairs when asked") {
  for (const auto policy : {duplicates::keep_all, duplicates::keep_distinct}) {
    const Bytes bytes = build([&](typed::builder& b) {
      typed::map_builder m(b, flavour::text, policy);
      for (int i = 0; i < 1000; ++i) m.put("k" + std::to_string(i % 10), any(i % 50));
      return m.finish();
    });
    const auto blob = bytes.verify();
    const auto m = *typed::multi<typed::string_map<std::int64_t>>::of(*typed::root(blob));
    const int each = policy == duplicates::keep_all ? 100 : 5;
    CHECK(m.size() == 10);
    CHECK(m.entries() == static_cast<unsigned>(10 * each));
    CHECK(m.count("k3") == static_cast<unsigned>(each));
    CHECK(m.count("none") == 0);
    std::vector<std::int64_t> values;
    for (const auto& v : m.equal_range("k3")) values.push_back(*v);
    REQUIRE(values.size() == static_cast<std::size_t>(each));
    CHECK(std::vector<std::int64_t>(values.begin(), values.begin() + 5) ==
          std::vector<std::int64_t>{3, 13, 23, 33, 43});
    for (const auto& [key, n] : counts(m.raw())) CHECK(n == each);
  }
  // The same bytes as a simple map's, but for the flag; numbers and any keys too.
  const Bytes bytes = build([](typed::builder& b) {
    typed::map_builder m(b, flavour::uint, duplicates::keep_all);
    for (int i = 0; i < 10; ++i) m.put(5, any(i));
    return m.finish();
  });
  CHECK(typed::multi<typed::uint_map<std::int64_t>>::of(*typed::root(bytes.verify()))->count(5u) == 10);
}

TEST_CASE("approximate multimaps always include the true values, and say how often they include others") {
  for (const unsigned bits : {8u, 16u, 64u}) {
    const Bytes bytes = build([&](typed::builder& b) {
      typed::map_builder m(b, flavour::approx, duplicates::keep_all, bits);
      for (int i = 0; i < 2000; ++i) m.put("key" + std::to_string(i), any(i));
      return m.finish();
    });
    const auto blob = bytes.verify();
    const auto m = *typed::approx_string_multimap<std::int64_t>::of(*typed::root(blob));
    for (int i = 0; i < 2000; ++i) {
      bool found = false;
      for (const auto& v : m.equal_range("key" + std::to_string(i))) found = found || *v == i;
      REQUIRE(found);
    }
    int answered = 0;
    for (int i = 0; i < 20000; ++i) answered += m.may_contain("other" + std::to_string(i));
    const double rate = answered / 20000.0;
    CHECK(rate <= m.false_rate() * 1.5 + 0.001);
    CHECK(rate >= m.false_rate() / 1.5 - 0.001);
    if (bits == 64) CHECK(m.false_rate() < 1e-12);
    if (bits == 8) CHECK(m.false_rate() > 0.9);
  }
}

TEST_CASE("merging none, one, two and many maps keeps what the policy says") {
  std::vector<Bytes> parts;
  for (int p = 0; p < 5; ++p)
    parts.push_back(build([&](typed::builder& b) {
      typed::map_builder m(b, flavour::text, duplicates::error);
      for (int i = 0; i < 100; ++i)
        m.put("key" + std::to_string(i + 50 * p), any("from " + std::to_string(p)));
      return m.finish();
    }));
  std::vector<typed::blob> blobs;
  for (const Bytes& p : parts) blobs.push_back(p.open());
  std::vector<typed::map_view> maps;
  for (const auto& b : blobs) maps.push_back(*typed::root(b)->map());
  const auto merged = [&](std::size_t n, duplicates policy) {
    return build([&](typed::builder& b) { return typed::merge(std::span(maps).first(n), b, policy); });
  };
  const auto at = [](const Bytes& bytes, const char* key) {
    const auto blob = bytes.verify();
    return std::string(*typed::root<std::map<std::string, std::string>>(blob)->find(key)->str());
  };
  for (std::size_t n = 0; n <= 5; ++n) {
    const Bytes first = merged(n, duplicates::first), all = merged(n, duplicates::keep_all);
    const std::uint64_t keys = n ? 100 + 50 * (n - 1) : 0;
    CHECK(typed::root(first.verify())->map()->size() == keys);
    CHECK(typed::root(all.verify())->map()->size() == keys);
    CHECK(typed::root(all.verify())->map()->entries() == 100 * n);
  }
  CHECK(at(merged(2, duplicates::first), "key60") == "from 0");
  CHECK(at(merged(2, duplicates::last), "key60") == "from 1");
  CHECK_THROWS_WITH(merged(2, duplicates::error), Catch::Contains("twice"));
  CHECK(typed::root(merged(1, duplicates::error).verify())->map()->size() == 100);
  // Kinds of maps do not mix.
  const Bytes other = build(
      [](typed::builder& b) { return typed::map_builder(b, flavour::uint, duplicates::error).finish(); });
  const auto other_blob = other.open();
  maps.push_back(*typed::root(other_blob)->map());
  CHECK_THROWS_AS(merged(6, duplicates::first), typed::failure);
}

TEST_CASE("equal objects are stored once, also when they refer to others") {
  const std::string text = "the same text, longer than a slot";
  const auto list_of = [&](int n) {
    std::vector<any> items;
    for (int i = 0; i < n; ++i)
      items.push_back(typed::any_list{{any(text), any(typed::any_map{{{text, 1}}})}});
    return any(typed::any_list{items});
  };
  CHECK(build_any(list_of(1000)).data.size() <= build_any(list_of(1)).data.size() + 999 * 16 + 8);
  const Bytes twice = build([&](typed::builder& b) { return b.add(list_of(2)); }, {.dedupe = false});
  CHECK(twice.data.size() > build_any(list_of(2)).data.size() + text.size());
  // Equal content of another type is another object: a tuple is no list.
  const Bytes apart = build_any(typed::any_list{{typed::any_tuple{{1, 2}}, typed::any_list{{1, 2}}}});
  const auto list = *typed::root(apart.open())->list();
  CHECK(*list[0].what() == typed::what::tuple);
  CHECK(*list[1].what() == typed::what::list);
}

TEST_CASE("a failed add leaves nothing behind, and what follows is intact") {
  typed::memory_sink out;
  typed::builder b(out);
  const auto before = b.add(any("a text that stays in the blob"));
  const std::uint64_t position = out.position();
  CHECK_THROWS_AS(b.add(any(typed::any_list{{any("a text that goes away"), any(typed::date{99999999})}})),
                  typed::failure);
  CHECK(out.position() == position);
  {
    auto save = b.savepoint();
    (void)b.add(any("another that goes away"));
    CHECK(out.position() > position);
  }
  CHECK(out.position() == position);
  // The table has forgotten them too: the same text again is a new object, not a reference to bytes that are
  // gone.
  const auto again =
      b.add(any(typed::any_list{{any("a text that goes away"), any(before), any("another that goes away")}}));
  b.finish(again);
  const Bytes bytes{out.take()};
  const auto blob = bytes.verify();
  CHECK(*typed::root(blob)->list()->at(0)->text()->view() == "a text that goes away");
  CHECK(*typed::root(blob)->list()->at(1)->text()->view() == "a text that stays in the blob");
}

TEST_CASE("of thousands of objects that were taken back none is referred to again, of the others all are") {
  const auto text = [](const char* what, int i) { return what + std::to_string(i); };
  typed::memory_sink out;
  typed::builder b(out);
  std::vector<typed::ref> kept;
  for (int i = 0; i < 3000; ++i) kept.push_back(b.text(text("kept ", i)));
  const std::uint64_t position = out.position();
  {
    const auto save = b.savepoint();
    for (int i = 0; i < 5000; ++i) (void)b.text(text("gone ", i));
  }
  REQUIRE(out.position() == position);
  for (int i = 0; i < 3000; ++i) REQUIRE(b.text(text("kept ", i)) == kept[static_cast<std::size_t>(i)]);
  REQUIRE(out.position() == position);
  for (int i = 4999; i >= 0; --i) {
    const std::uint64_t end = out.position();
    REQUIRE(b.text(text("gone ", i)).position == end);
  }
}

TEST_CASE("a reference of another builder, or to what was rolled back, is refused at the end") {
  typed::memory_sink out, other_out;
  typed::builder b(out), other(other_out);
  (void)other.add(any("so that what follows lies elsewhere in the other blob"));
  const typed::ref foreign = other.add(any(typed::any_list{{any("a"), any("b")}}));
  (void)b.add(any(
      "a text that is long enough to have an object of its own, so that there is something at many places"));
  CHECK_THROWS_WITH(b.finish(foreign), Catch::Contains("expected a reference that this builder gave"));
  typed::ref gone;
  {
    const auto save = b.savepoint();
    gone = b.add(any("a text that goes away again, however long it is"));
  }
  CHECK_THROWS_WITH(b.finish(gone), Catch::Contains("what is still there"));
  const typed::ref mine = b.add(any(typed::any_list{{any("mine")}}));
  b.finish(mine);
  const Bytes bytes{out.take()};
  CHECK(*typed::root(bytes.verify())->list()->at(0)->text()->view() == "mine");
}

TEST_CASE("a table of dedupe hashes that is full starts anew and stays right") {
  const Bytes bytes = build(
      [](typed::builder& b) {
        typed::list_builder list(b);
        for (int i = 0; i < 50000; ++i) list.add(any("text number " + std::to_string(i % 5000)));
        return list.finish();
      },
      {.dedupe_bytes = 1 << 14});
  const auto blob = bytes.verify();
  const auto list = *typed::root(blob)->list();
  for (std::uint64_t i = 0; i < list.size(); i += 997)
    CHECK(*list[i].text()->view() == "text number " + std::to_string(i % 5000));
}

TEST_CASE("sections built apart are put together by memcpy") {
  typed::registry types;
  types.index_of<Address>();
  std::vector<typed::section> sections;
  std::vector<typed::ref_to<Address>> roots;
  for (int i = 0; i < 4; ++i) {
    typed::pool_builder p(types);
    roots.push_back(p.build().add(Address{"Street number " + std::to_string(i), i}));
    sections.push_back(p.take());
  }
  const Bytes bytes = build([&](typed::builder& b) {
    std::vector<typed::item> items;
    for (int i = 3; i >= 0; --i) {
      const auto at = typed::append(b, sections[static_cast<std::size_t>(i)]);
      items.push_back(typed::ref_item(at(roots[static_cast<std::size_t>(i)])));
    }
    return b.list(items);
  });
  const auto blob = bytes.verify();
  const auto list = *typed::root<std::vector<Address>>(blob);
  REQUIRE(list.size() == 4);
  CHECK(*list[0]->get<&Address::street>()->view() == "Street number 3");
  CHECK(*list[3]->get<&Address::number>() == 0);
  typed::pool_builder stranger;
  (void)stranger.build().add(Everything{});
  const typed::section alien = stranger.take();
  CHECK_THROWS_AS(build([&](typed::builder& b) {
                    (void)b.add(Address{});
                    typed::append(b, alien);
                    return typed::ref{};
                  }),
                  typed::failure);
}
