// command.cc - `spillway typed dump|verify|schema`, as a user meets it.
#include <nlohmann/json.hpp>

#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/scratch_dir.h"
#include "tests/typed/blobs.h"

using namespace spillway::test;
namespace typed = spillway::typed;
using typed::any;

namespace {
Outcome spillway_typed(std::vector<std::string> words) {
  words.insert(words.begin(), {spillway_bin(), "typed"});
  return run({.argv = words});
}
std::string sample(const ScratchDir& dir) {
  const std::string path = dir / "sample.spw";
  typed::file_sink out(path);
  typed::builder b(out);
  Colourful c;
  c.grid = {typed::type::i16, "", 2, {2}, std::string("\1\0\2\0", 4)};
  b.finish(any(typed::any_list{{typed::any_of(Address{"Main \"Street\"\n", 5}), nullptr, true, 1.0,
                                typed::decimal::parse("1.50").value(), typed::date::civil(2024, 2, 29),
                                typed::bytes{"\x01\xff"}, typed::any_set{{1, 2}}, typed::any_tuple{{1, "x"}},
                                typed::any_map{{{1, "one"}}}, std::numeric_limits<double>::infinity(),
                                typed::any_of(std::move(c)),
                                typed::instant{0, typed::unit::s, 3600, "Europe/Paris"}}}));
  return path;
}
}  // namespace

TEST_CASE("spillway typed dump prints any blob, as text and as JSON") {
  const ScratchDir dir;
  const std::string path = sample(dir);
  const Outcome text = spillway_typed({"dump", path});
  INFO(text.text());
  CHECK(text.exit_code == 0);
  for (const char* part : {"list of 13", "record \"test.address\"", "number: 5", "decimal 1.50",
                           "date 2024-02-29", "1970-01-01T01:00:00+01:00[Europe/Paris]"})
    CHECK_THAT(text.out, Catch::Contains(part));
  const Outcome json = spillway_typed({"dump", "--json", path});
  CHECK(json.exit_code == 0);
  const auto j = nlohmann::json::parse(json.out);
  CHECK(j[0]["street"] == "Main \"Street\"\n");
  CHECK(j[1].is_null());
  CHECK(j[2] == true);
  CHECK(j[4]["$decimal"] == "1.50");
  CHECK(j[6]["$bytes"] == "01ff");
  CHECK(j[7]["$set"] == std::vector<int>{1, 2});
  CHECK(j[9]["$map"][0][1] == "one");
  CHECK(j[10]["$float"] == "Infinity");
  CHECK(j[11]["grid"]["$ndarray"]["data"] == std::vector<int>{1, 2});
}

TEST_CASE("spillway typed schema and verify say what is there, and what is damaged") {
  const ScratchDir dir;
  const std::string path = sample(dir);
  CHECK_THAT(spillway_typed({"schema", path}).out, Catch::Contains("1 street: text"));
  const auto schema = nlohmann::json::parse(spillway_typed({"schema", path, "--json"}).out);
  CHECK(schema[0]["name"] == "test.address");
  CHECK(schema[0]["fields"][1]["type"] == "int32");
  const Outcome good = spillway_typed({"verify", path});
  CHECK(good.exit_code == 0);
  CHECK_THAT(good.out, Catch::Contains("whole"));
  CHECK(nlohmann::json::parse(spillway_typed({"verify", path, "--json"}).out)["whole"] == true);

  std::string bytes = dir.read("sample.spw");
  bytes[bytes.size() / 2] = static_cast<char>(0xff);
  bytes[bytes.size() / 2 + 1] = static_cast<char>(0xff);
  const Outcome bad = spillway_typed({"verify", dir.write("bad.spw", bytes)});
  CHECK(bad.exit_code == 1);
  CHECK_THAT(bad.out, Catch::Contains("damaged"));
  CHECK(spillway_typed({"verify", dir.write("short.spw", bytes.substr(0, 200))}).exit_code == 1);
  // A blob inside a file.
  const std::string inside = dir.write("inside", std::string(128, '#') + dir.read("sample.spw"));
  CHECK(spillway_typed({"verify", inside + "@128"}).exit_code == 0);
}

TEST_CASE("spillway typed says in words what it cannot do") {
  const ScratchDir dir;
  const auto refuses = [](std::vector<std::string> words, const char* says) {
    const Outcome got = spillway_typed(std::move(words));
    INFO(got.text());
    CHECK(got.exit_code == 125);
    CHECK_THAT(got.err, Catch::Contains(says));
  };
  refuses({}, "usage");
  refuses({"dmp", "x"}, "did you mean dump");
  refuses({"dump"}, "which file");
  refuses({"dump", "a", "b"}, "one file");
  refuses({"dump", "--josn", "a"}, "--josn");
  refuses({"dump", dir / "missing"}, "No such file");
  refuses({"dump", dir.write("text", std::string(100, 'x'))}, "typed blob");
  refuses({"dump", dir.write("empty", "")}, "header");
  CHECK(spillway_typed({"verify", dir / "empty"}).exit_code == 1);
  CHECK_THAT(spillway_typed({"--help"}).out, Catch::Contains("dump FILE"));
}
