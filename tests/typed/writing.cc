// writing.cc - fields written in place, from one process and from two.
#include <sys/wait.h>
#include <unistd.h>

#include "tests/typed/blobs.h"

using namespace spillway::test;
namespace typed = spillway::typed;
using typed::errc;

namespace {
struct Counters {
  std::int64_t total = 0;
  std::uint8_t small = 0;
  double sum = 0;
  bool on = false;
  std::optional<std::int32_t> nothing;
  typed::maybe<std::int32_t> never;
  std::string name = "counters";
};
struct WideCounters {
  std::optional<std::int64_t> total;
  std::int64_t small = 0;
};
}  // namespace
SPILLWAY_TYPED(Counters, "counters", total, small, sum, on, nothing, never, name);
SPILLWAY_TYPED(WideCounters, "counters", total, small);

TEST_CASE("fields of fixed size are set, exchanged and added to in place; anything else is an error") {
  Bytes bytes = build([](typed::builder& b) { return b.add(Counters{}); });
  const auto blob = typed::blob::open(typed::writable_memory(bytes.data)).value();
  const auto v = *typed::root<Counters>(blob);
  REQUIRE(v.set<&Counters::total>(5));
  CHECK(*v.add<&Counters::total>(-7) == 5);
  CHECK(*v.get<&Counters::total>() == -2);
  std::int64_t expected = 0;
  CHECK_FALSE(*v.compare_exchange<&Counters::total>(expected, 9));
  CHECK(expected == -2);
  CHECK(*v.compare_exchange<&Counters::total>(expected, 9));
  CHECK(*v.get<&Counters::total>() == 9);
  REQUIRE(v.set<&Counters::small>(255));
  CHECK(*v.add<&Counters::small>(1) == 255);
  CHECK(*v.get<&Counters::small>() == 0);
  CHECK(*v.add<&Counters::sum>(1.5) == 0);
  CHECK(*v.get<&Counters::sum>() == 1.5);
  REQUIRE(v.set<&Counters::on>(true));
  CHECK(*v.get<&Counters::on>());

  CHECK(v.set<&Counters::nothing>(1).code() == errc::null_value);
  CHECK(v.set<&Counters::never>(1).code() == errc::absent);
  CHECK_THAT(v.set<&Counters::never>(1).error().message(), Catch::Contains("never"));
  CHECK(v.add<&Counters::nothing>(1).code() == errc::null_value);
  CHECK(v.add<&Counters::never>(1).code() == errc::absent);
  std::int32_t any_value = 0;
  CHECK(v.compare_exchange<&Counters::nothing>(any_value, 1).code() == errc::null_value);
  CHECK(v.compare_exchange<&Counters::never>(any_value, 1).code() == errc::absent);
  // Read as another width, it cannot be written in place.
  const auto wide = *typed::root<WideCounters>(blob);
  CHECK(*wide.get<&WideCounters::small>() == 0);
  CHECK(wide.set<&WideCounters::small>(1).code() == errc::wrong_type);
  CHECK(bytes.verdict() == errc::ok);
}

TEST_CASE("read-only, proven and checksummed blobs are not written") {
  Bytes bytes = build([](typed::builder& b) { return b.add(Counters{}); });
  CHECK(typed::root<Counters>(bytes.open())->set<&Counters::total>(1).code() == errc::read_only);
  CHECK(typed::root<Counters>(bytes.verify())->set<&Counters::total>(1).code() == errc::read_only);
  Bytes summed = build([](typed::builder& b) { return b.add(Counters{}); }, {.checksum = true});
  const auto blob = typed::blob::open(typed::writable_memory(summed.data)).value();
  CHECK(typed::root<Counters>(blob)->set<&Counters::total>(1).code() == errc::read_only);
}

TEST_CASE("two processes add to one field, exchange another, and lose nothing") {
  const Bytes bytes = build([](typed::builder& b) { return b.add(Counters{}); });
  typed::region memory = typed::map_anonymous(bytes.data.size(), true);
  std::memcpy(memory.base, bytes.data.data(), bytes.data.size());
  const auto blob = typed::blob::open(memory).value();
  const auto v = *typed::root<Counters>(blob);
  constexpr int kTimes = 20000;
  const auto work = [&] {
    for (int i = 0; i < kTimes; ++i) {
      (void)v.add<&Counters::total>(1);
      (void)v.add<&Counters::sum>(1);
      std::uint8_t seen = *v.get<&Counters::small>();
      while (!*v.compare_exchange<&Counters::small>(seen, static_cast<std::uint8_t>(seen + 1))) {
      }
    }
  };
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    work();
    _exit(0);
  }
  work();
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(*v.get<&Counters::total>() == 2 * kTimes);
  CHECK(*v.get<&Counters::sum>() == 2 * kTimes);
  CHECK(*v.get<&Counters::small>() == static_cast<std::uint8_t>(2 * kTimes));
}
