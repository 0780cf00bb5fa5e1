// typed_test.cc - typed blobs as objects of the pool: built into one, and read where they lie.
#include <spillway/typed.hpp>
#include <spillway/typed/pool.hpp>

#include "tests/pool/daemon.h"
#include "tests/support/catch.h"

using namespace spillway;
using namespace spillway::test;

namespace {

struct Reading {
  std::int64_t id = 0;
  std::vector<double> values;
};

}  // namespace

SPILLWAY_TYPED(Reading, "pool.reading", id, values);

TEST_CASE("a typed blob is built into an object and read in place from it, by another session, too") {
  Daemon daemon;
  Pool writer = daemon.pool();
  spillway_put_options options{};
  options.name = "typed/readings";
  {
    typed::pool_sink out(writer.c_pool(), options, daemon.dir() / "");
    typed::builder b(out, {.memory_bytes = 1 << 16});
    typed::map_builder map(b, typed::flavour::text, typed::duplicates::error);
    for (std::int64_t i = 0; i < 20000; ++i)
      map.put("reading " + std::to_string(i), Reading{i, {0.5 * static_cast<double>(i)}});
    const typed::ref root = map.finish();
    spillway_pin* pin = nullptr;
    CHECK(spillway_get_name(writer.c_pool(), "typed/readings", nullptr, &pin) == SPILLWAY_NOT_FOUND);
    b.finish(root);
    CHECK(out.object().id != 0);
  }
  Pool reader = daemon.pool();
  const auto look = [](const auto& map) {
    CHECK(map.size() == 20000);
    const auto found = map.find("reading 12345");
    CHECK(*found->template get<&Reading::id>() == 12345);
    CHECK((*found->template get<&Reading::values>())[0] == 6172.5);
  };
  using Map = std::map<std::string, Reading>;
  {
    const auto blob = typed::blob::open(typed::pool_region(reader.c_pool(), "typed/readings")).value();
    look(typed::root<Map>(blob).value());
    // Published objects are sealed: they may be proven where they are.
    const auto proven =
        typed::verify(typed::pool_region(reader.c_pool(), "typed/readings", typed::sharing::exclusive))
            .value();
    look(typed::root<Map>(proven).value());
    CHECK(typed::verify(typed::pool_region(reader.c_pool(), "typed/readings")).code() ==
          typed::errc::shared_memory);
    // One mapping serves both: nothing was copied.
    CHECK(blob.doc().base == proven.doc().base);
    CHECK_FALSE(blob.doc().writable());
  }
}

TEST_CASE("a build that fails leaves no object, and a full pool says so") {
  Daemon daemon({"--memory-limit", "4M", "--disk-limit", "1M"});
  Pool pool = daemon.pool();
  {
    typed::pool_sink out(pool.c_pool());
    typed::builder b(out);
    (void)b.add(typed::any("never finished"));
  }
  typed::pool_sink out(pool.c_pool());
  typed::builder b(out, {.dedupe = false});
  typed::array_builder<std::int64_t> numbers(b);
  for (std::int64_t i = 0; i < (1 << 20); ++i) numbers.add(i);
  try {
    b.finish(numbers.finish());
    FAIL("8 MiB do not fit");
  } catch (const typed::failure& f) {
    CHECK(f.code() == typed::errc::no_space);
    CHECK(std::string(f.what()).find("making an object") != std::string::npos);
  }
  CHECK(daemon.stats()["objects"] == 0);
}
