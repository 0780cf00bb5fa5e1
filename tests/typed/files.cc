// files.cc - where blobs live: files that appear at once, parts of files, memfds, given memory, golden files.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/wait.h"
#include "tests/typed/blobs.h"

using namespace spillway::test;
namespace typed = spillway::typed;
using typed::any;
using typed::errc;

TEST_CASE("a file appears under its name when its build has finished, and replaces the one before") {
  const ScratchDir dir;
  const std::string path = dir / "blob";
  for (int round = 0; round < 2; ++round) {
    typed::file_sink out(path);
    typed::builder b(out);
    const auto r = b.add(Address{"round", round});
    CHECK(dir.files().size() == static_cast<std::size_t>(round));  // unnamed while it is built
    b.finish(r);
    const auto blob = typed::blob::open(typed::map_file(path)).value();
    CHECK(*typed::root<Address>(blob)->get<&Address::number>() == round);
  }
  CHECK(dir.files() == std::vector<std::string>{"blob"});
  CHECK_THROWS_WITH(typed::file_sink("/no/such/folder/file"), Catch::Contains("/no/such/folder"));
  CHECK_THROWS_WITH(typed::map_file(dir / "missing"), Catch::Contains("missing"));
}

TEST_CASE("a build that is killed or fails half-way leaves nothing under the final name") {
  const ScratchDir dir;
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    typed::file_sink out(dir / "blob");
    typed::builder b(out);
    for (int i = 0; i < 200000; ++i) (void)b.add(any("text number " + std::to_string(i)));
    (void)!write(ready[1], "x", 1);
    for (;;) pause();
  }
  close(ready[1]);
  char byte;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  close(ready[0]);
  kill(child, SIGKILL);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(access((dir / "blob").c_str(), F_OK) != 0);
  {
    typed::file_sink out(dir / "other");
    typed::builder b(out);
    (void)b.add(any("some text or other"));
  }
  CHECK(access((dir / "other").c_str(), F_OK) != 0);
  // The same bytes without their header are no blob.
  Bytes bytes = build_any(any("text"));
  std::fill_n(bytes.data.begin(), 64, std::byte{0});
  CHECK(bytes.verdict() == errc::bad_magic);
}

TEST_CASE("what a killed build of the same process number left behind is in nobody's way") {
  const ScratchDir dir;
  for (int i = 0; i < 1000; ++i)
    dir.write("blob.building-" + std::to_string(::getpid()) + "-" + std::to_string(i), "left behind");
  typed::file_sink out(dir / "blob");
  typed::builder b(out);
  b.finish(b.add(Address{"still built", 7}));
  const auto blob = typed::blob::open(typed::map_file(dir / "blob")).value();
  CHECK(*typed::root<Address>(blob)->get<&Address::number>() == 7);
  CHECK(dir.files().size() == 1001);
}

TEST_CASE("blobs are built into and read from a part of a file, a memfd, an anonymous mapping") {
  const ScratchDir dir;
  const std::string path = dir.write("parts", std::string(4096, '#'));
  {
    const int fd = ::open(path.c_str(), O_RDWR);
    REQUIRE(fd >= 0);
    for (const std::uint64_t offset : {std::uint64_t{64}, std::uint64_t{2048 + 64}}) {
      typed::file_sink out(fd, offset);
      typed::builder b(out);
      b.finish(b.add(Address{"at", static_cast<std::int32_t>(offset)}));
    }
    ::close(fd);
  }
  for (const std::uint64_t offset : {std::uint64_t{64}, std::uint64_t{2048 + 64}}) {
    const auto blob = typed::blob::open(typed::map_file(path, {.offset = offset})).value();
    CHECK(*typed::root<Address>(blob)->get<&Address::number>() == static_cast<std::int32_t>(offset));
    CHECK(typed::inspect(blob));
  }
  CHECK(dir.read("parts")[0] == '#');
  CHECK_THROWS_WITH(typed::map_file(path, {.offset = 10000}), Catch::Contains("4096"));

  typed::region memory = typed::map_anonymous(1 << 16, true);
  typed::span_sink into({memory.base, memory.bytes});
  typed::builder b(into);
  b.finish(b.add(Address{"anonymous", 1}));
  CHECK(*typed::root<Address>(*typed::blob::open(memory))->get<&Address::number>() == 1);

  std::vector<std::uint64_t> small(10);
  typed::span_sink too_small(std::as_writable_bytes(std::span(small)));
  CHECK_THROWS_WITH(
      [&] {
        typed::builder full(too_small);
        full.finish(full.add(Address{"a street that does not fit", 1}));
      }(),
      Catch::Contains("full"));
}

TEST_CASE("memory that others can still write is never proven") {
  const Bytes bytes = build_any(any("text"));
  const ScratchDir dir;
  const std::string path =
      dir.write("blob", std::string(reinterpret_cast<const char*>(bytes.data.data()), bytes.data.size()));
  CHECK(typed::verify(typed::map_file(path)).code() == errc::shared_memory);
  CHECK(typed::verify(typed::shared_memory(bytes.data)).code() == errc::shared_memory);
  CHECK(typed::inspect(*typed::blob::open(typed::map_file(path))));

  const int sealed = typed::sealed_memfd("blob", bytes.data);
  CHECK(typed::verify(typed::map_fd(sealed)).ok());
  ::close(sealed);
  const int open_memfd = ::memfd_create("blob", MFD_CLOEXEC);
  REQUIRE(::write(open_memfd, bytes.data.data(), bytes.data.size()) ==
          static_cast<ssize_t>(bytes.data.size()));
  CHECK(typed::verify(typed::map_fd(open_memfd)).code() == errc::shared_memory);
  ::close(open_memfd);
  const typed::region file = typed::map_file(path);
  CHECK(typed::verify(typed::copy_of({file.base, file.bytes})).ok());
}

TEST_CASE("another process finds every key that this one stored") {
  const ScratchDir dir;
  {
    typed::file_sink out(dir / "map");
    typed::builder b(out);
    b.finish(any(typed::any_map{{{1.0, "one"}, {typed::any_set{{"a", "b"}}, "set"}, {nullptr, "null"}}}));
  }
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const auto blob = typed::blob::open(typed::map_file(dir / "map")).value();
    const auto m = *typed::root(blob)->map();
    _exit(m.contains(any(true)) && m.contains(any(typed::any_set{{"b", "a"}})) && m.contains(any(nullptr)) &&
                  !m.contains(any("1"))
              ? 0
              : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("checksums find one changed bit") {
  Bytes bytes = build(
      [](typed::builder& b) {
        return b.add(any(typed::nd_array{typed::type::u8, "", 1, {100}, std::string(100, 'x')}));
      },
      {.checksum = true});
  CHECK(bytes.verdict() == errc::ok);
  bytes.data[bytes.data.size() - 40] ^= std::byte{1};
  CHECK(bytes.verdict() == errc::bad_checksum);
  CHECK(bytes.verdict({.checksum = false}) == errc::ok);
}

namespace {
struct Golden {
  std::int64_t id = 7;
  std::string name = "Ann";
  std::optional<double> weight;
  std::vector<std::int32_t> tags{1, 2, 3};
};
}  // namespace
SPILLWAY_TYPED(Golden, "golden.small", id, name, weight, tags);

namespace {

// The stored file of that name. SPILLWAY_WRITE_GOLDEN=1 writes it when it is missing: once, by the first
// release of a format version.
std::string golden(const std::string& name, const Bytes& made) {
  const std::string path = source_dir() + "/tests/typed/golden/" + name;
  if (::access(path.c_str(), F_OK) != 0 && getenv("SPILLWAY_WRITE_GOLDEN")) {
    FILE* f = fopen(path.c_str(), "wb");
    REQUIRE(f);
    REQUIRE(fwrite(made.data.data(), 1, made.data.size(), f) == made.data.size());
    REQUIRE(fclose(f) == 0);
  }
  const std::string stored = read_file(path);
  REQUIRE_FALSE(stored.empty());
  CHECK(stored == std::string(reinterpret_cast<const char*>(made.data.data()), made.data.size()));
  return stored;
}

}  // namespace

// docs/typed_format.md explains these bytes word by word, and Python writes the same ones.
TEST_CASE("the worked example of the format's page is what the writer writes") {
  const std::string stored = golden("small.spw", build([](typed::builder& b) { return b.add(Golden{}); }));
  // The page's hex dump is of these very bytes.
  const std::string page = read_file(source_dir() + "/docs/typed_format.md");
  for (std::size_t at = 0; at < stored.size(); at += 16) {
    std::string line;
    char shown[8];
    for (std::size_t i = at; i < at + 16 && i < stored.size(); ++i) {
      std::snprintf(shown, sizeof shown, "%s%02x", i > at ? (i == at + 8 ? "  " : " ") : "",
                    static_cast<unsigned char>(stored[i]));
      line += shown;
    }
    INFO(line);
    CHECK(page.find(line) != std::string::npos);
  }
}

// Python writes the same bytes from datetimes, so what either stores is what the other reads.
TEST_CASE("times with and without a zone are the same bytes from C++ and from Python") {
  const std::vector<any> times = {
      typed::instant{2840140800000000, typed::unit::us, 0},      // 2060-01-01, UTC
      typed::instant{1719815400000007, typed::unit::us, 19800},  // 2024-07-01T12:00:00.000007+05:30
      typed::instant{1729992600000000, typed::unit::us, 3600,
                     "Europe/Berlin"},  // 02:30 for the second time that night
      typed::instant{-2198641276000000, typed::unit::us, 20476, "Asia/Kathmandu"},  // 1900-05-01
      typed::instant{5, typed::unit::ns, 3600, "Europe/Berlin"},
      typed::local_time{-2208981415999995, typed::unit::us},  // 1900-01-01T02:03:04.000005, wherever
      typed::time_of_day{3600000000000, -7200},
      typed::date::civil(2060, 12, 31)};
  Bytes stored;
  const std::string bytes =
      golden("times.spw", build([&](typed::builder& b) { return b.add(any(typed::any_list{times})); }));
  stored.data.resize(bytes.size());
  std::memcpy(stored.data.data(), bytes.data(), bytes.size());
  const auto blob = stored.verify();
  const auto list = *typed::root(blob)->list();
  REQUIRE(list.size() == times.size());
  for (std::size_t i = 0; i < times.size(); ++i) CHECK(*list[i].clone() == times[i]);
  const typed::instant berlin = *list[2].instant();
  CHECK((berlin.ticks == 1729992600000000 && berlin.offset_s == 3600 && berlin.zone == "Europe/Berlin"));
}

TEST_CASE("golden files of every format version are still readable, and still what the writer writes") {
  const auto make = [] {
    Everything e;
    e.i64 = -5, e.text = "golden", e.names = {"one", "a name longer than eight"}, e.numbers = {1, 2, 3},
    e.lucky = {1, 2, 100};
    e.by_name = {{"a", 1}, {"b", 2}}, e.home = {"Golden Gate", 37}, e.maybe_number = 4;
    e.anything = typed::any_map{
        {{1, typed::any_tuple{{true, 2.5, nullptr}}},
         {"nd", typed::nd_array{typed::type::f32, "", 4, {2, 1}, std::string("\0\0\x80\x3f\0\0\0\x40", 8)}}}};
    e.day = typed::date::civil(2060, 1, 1), e.when = {1, typed::unit::s, 0, "UTC"},
    e.price = typed::decimal::parse("19.90").value();
    return build(
        [&](typed::builder& b) {
          b.set_user_data(any("user data"));
          return b.add(e);
        },
        {.checksum = true});
  };
  golden("v1.spw", make());
  const typed::region file = typed::map_file(source_dir() + "/tests/typed/golden/v1.spw");
  const auto blob = typed::verify(typed::copy_of({file.base, file.bytes})).value();
  const Everything e = typed::root<Everything>(blob)->clone();
  CHECK(e.text == "golden");
  CHECK(e.names[1] == "a name longer than eight");
  CHECK(e.lucky == std::set<std::int64_t>{1, 2, 100});
  CHECK(e.by_name.at("b") == 2);
  CHECK(e.home.number == 37);
  CHECK(e.when.zone == "UTC");
  CHECK(e.price.str() == "19.90");
  CHECK(*typed::user_data(blob)->text()->str() == "user data");
}
