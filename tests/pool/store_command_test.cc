// `spillway store` in the hands of somebody careless: every refusal says what was expected, and harms
// nothing.
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <spillway/store.hpp>

#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

Outcome store(std::vector<std::string> words, const std::string& input = "", uid_t uid = 0) {
  words.insert(words.begin(), {spillway_bin(), "store"});
  return run({.argv = words, .input = input, .uid = uid});
}

struct Refusal {
  std::vector<std::string> words;
  std::string says;
};

}  // namespace

TEST_CASE("spillway store: what cannot be is refused in words that say what can") {
  ScratchDir dir;
  const std::string at = dir / "s", key(65'537, 'k');
  REQUIRE(store({"put", at, "k", "v"}).exit_code == 0);
  std::ofstream(dir / "file") << "x";
  fs::create_directory(dir / "full");
  std::ofstream(dir / "full/mine") << "x";
  const Refusal refusals[] = {
      {{"put"}, "DIR is required"},
      {{"put", at}, "KEY is required"},
      {{"put", "", "k", "v"}, "an empty path"},
      {{"get", "", "k"}, "an empty path"},
      {{"put", dir / "file", "k", "v"}, "Not a directory"},
      {{"put", dir / "full", "k", "v"}, "not empty (mine); a new store needs a directory of its own"},
      {{"put", at, key, "v"}, "a key of 65537 bytes; at most 65536"},
      {{"put", at, "k", "v", "--ttl", "5y"}, "a time such as 500ms, 30s"},
      {{"put", at, "k", "v", "--ttl", "nan"}, "a time such as 500ms, 30s"},
      {{"put", at, "k", "v", "--ttl", "-5s"}, "a time such as 500ms, 30s"},
      {{"put", at, "k", "v", "--align", "3"}, "a power of two up to 4096"},
      {{"put", at, "k", "v", "--align", "8192"}, "a power of two up to 4096"},
      {{"put", at, "k", "v", "--durability", "maybe"}, "{async,group,sync}"},
      {{"put", at, "k", "v", "--file", "x"}, "not from both"},
      {{"put", at, "k", "--file", dir / "none"}, "No such file"},
      {{"put", at, "k", "--file", dir.path()}, "Is a directory"},
      {{"put", at, "k", "v", "more"}, "more"},
      {{"put", dir / "n", "k", "v", "--ttl", "5y"}, "a time such as 500ms, 30s"},
      {{"put", dir / "n", "k", "v", "--segment-size", "1"}, "65536 to 268435456 are possible"},
      {{"put", dir / "n", "k", "v", "--segment-size", "abc"}, "expected a size such as"},
      {{"get", dir / "n", "k"}, "no store here"},
      {{"rm", dir / "n", "k"}, "no store here"},
      {{"ls", dir / "n"}, "no store here"},
      {{"stat", dir / "n"}, "no store here"},
      {{"verify", dir / "n"}, "no store here"},
      {{"compact", dir / "n"}, "no store here"},
      {{"dump", dir / "n"}, "no store here"},
      {{"backup", dir / "n", dir / "b"}, "no store here"},
      {{"backup", at, dir / "full"}, "missing or empty"},
      {{"backup", at, at}, "outside the store"},
      {{"bench", dir / "b", "--keys", "0"}, "a number above 0"},
      {{"stta", at}, "did you mean stat?"},
  };
  for (const Refusal& refusal : refusals) {
    const Outcome outcome = store(refusal.words);
    INFO(outcome.text());
    CHECK(outcome.exit_code == 125);
    CHECK(outcome.out.empty());
    CHECK_THAT(outcome.err, Catch::Contains(refusal.says));
  }
  CHECK_FALSE(fs::exists(dir / "n"));
  CHECK(store({"get", at, "none"}).exit_code == 1);
  CHECK(store({"rm", at, "none"}).exit_code == 1);
  CHECK(store({"get", at, "k"}).out == "v");
}

TEST_CASE(
    "spillway store: a damaged store lists all its other keys, and any directory has its state as JSON") {
  ScratchDir dir;
  const std::string at = dir / "s\xff";
  REQUIRE(store({"put", at, "a", "1"}).exit_code == 0);
  REQUIRE(store({"put", at, "b", "damaged"}).exit_code == 0);
  REQUIRE(store({"put", at, "c", "3"}).exit_code == 0);
  for (const char* command : {"stat", "verify"}) {
    const Outcome told = store({command, at, "--json"});
    INFO(told.text());
    CHECK(told.exit_code == 0);
    CHECK_THAT(told.out, Catch::Contains("\"segments\""));
  }
  for (const auto& entry : fs::directory_iterator(at)) {
    const std::string bytes = read_file(entry.path());
    const size_t place = bytes.find("damaged");
    if (place == std::string::npos) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(place));
    file << "D";
  }
  const Outcome listed = store({"ls", at});
  INFO(listed.text());
  CHECK(listed.exit_code == 1);
  CHECK(listed.out == "a\nc\n");
  CHECK_THAT(listed.err, Catch::Contains("checksum"));
}

TEST_CASE("spillway store: any bytes are keys and values, also through another process that serves") {
  ScratchDir dir;
  const std::string binary("\0\xff\n\\'\"", 6), at = dir / "s";
  auto each = [&] {
    CHECK(store({"put", at, ""}, "").exit_code == 0);
    CHECK(store({"get", at, ""}).out.empty());
    CHECK(store({"put", at, "\xff\xfe"}, binary).exit_code == 0);
    CHECK(store({"get", at, "\xff\xfe"}).out == binary);
    CHECK(store({"put", at, std::string(65'536, 'k'), "--align", "4096"}, std::string(2'000'000, 'v'))
              .exit_code == 0);
    CHECK(store({"get", at, std::string(65'536, 'k')}).out == std::string(2'000'000, 'v'));
    CHECK(store({"rm", at, std::string(65'536, 'k')}).exit_code == 0);
    CHECK(store({"put", at, "short", "lived", "--ttl", "1ms"}).exit_code == 0);
    CHECK(wait_until([&] { return store({"get", at, "short"}).exit_code == 1; }));
    CHECK(store({"ls", "-0", at}).out == std::string("\0\xff\xfe\0", 4));
    CHECK(store({"compact", at}).exit_code == 0);
    CHECK(store({"verify", at}).exit_code == 0);
  };
  each();
  Running server({.argv = {spillway_bin(), "store", "serve", at}});
  REQUIRE(wait_until([&] { return server.out().find("until it is ended") != std::string::npos; }));
  each();
  CHECK(store({"stat", at}).out.find("process " + std::to_string(server.pid())) != std::string::npos);
  const Outcome second = store({"serve", at});
  CHECK(second.exit_code == 1);
  CHECK_THAT(second.out, Catch::Contains("writes already"));
  ::kill(server.pid(), SIGTERM);
  CHECK(server.wait().exit_code == 0);
  CHECK(store({"get", at, "\xff\xfe"}).out == binary);
}

TEST_CASE("spillway store: a directory that may only be read is read, and writing to it is refused") {
  ScratchDir dir;
  const std::string at = dir / "s";
  REQUIRE(store({"put", at, "k", "v"}).exit_code == 0);
  if (::geteuid() == 0) {
    // Root writes where it likes; somebody else may read what is shown to him.
    ::chmod(dir.path().c_str(), 0755);
    ::chmod(at.c_str(), 0755);
    for (const auto& entry : fs::directory_iterator(at)) ::chmod(entry.path().c_str(), 0644);
    const Outcome got = store({"get", at, "k"}, "", kNobody);
    INFO(got.text());
    CHECK(got.out == "v");
    const Outcome put = store({"put", at, "k", "w"}, "", kNobody);
    INFO(put.text());
    CHECK(put.exit_code == 125);
    CHECK_THAT(put.err, Catch::Contains("LOCK: Permission denied"));
  }
  CHECK(store({"get", at, "k"}).out == "v");
}

TEST_CASE("spillway store: a store of another version or a damaged one is told, never guessed at") {
  ScratchDir dir;
  const std::string at = dir / "s";
  REQUIRE(store({"put", at, "k", std::string(5000, 'v')}).exit_code == 0);
  for (const auto& entry : fs::directory_iterator(at))
    if (entry.path().filename().string().rfind("seg-", 0) == 0) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(2000);
      file.put('x');
    }
  const Outcome got = store({"get", at, "k"});
  INFO(got.text());
  CHECK(got.exit_code == 125);
  CHECK(got.out.empty());
  CHECK_THAT(got.err, Catch::Contains("seg-") && Catch::Contains("at byte") && Catch::Contains("checksum"));
  const Outcome verified = store({"verify", at});
  CHECK(verified.exit_code == 1);
  CHECK_THAT(verified.out, Catch::Contains("1 findings"));
  CHECK(store({"put", at, "k", "new"}).exit_code == 0);
  CHECK(store({"get", at, "k"}).out == "new");
}

TEST_CASE("spillway store: a file that get names is all of the value, or is what it was") {
  ScratchDir dir;
  const std::string at = dir / "s", large(3'000'000, 'v');
  REQUIRE(store({"put", at, "large"}, large).exit_code == 0);
  REQUIRE(store({"put", at, "small", "s"}).exit_code == 0);
  std::ofstream(dir / "old") << "what it was";
  const auto get = [&](const char* key, const std::string& file, const std::string& limit) {
    return run({.argv = {"/bin/sh", "-c", limit + "exec \"$0\" store get \"$1\" \"$2\" -o \"$3\"",
                         spillway_bin(), at, key, file}});
  };
  for (const char* name : {"new", "old"}) {
    const Outcome outcome = get("large", dir / name, "trap '' XFSZ; ulimit -f 1000; ");
    INFO(outcome.text());
    CHECK(outcome.exit_code == 125);
    CHECK_THAT(outcome.err, Catch::Contains("File too large"));
  }
  CHECK_FALSE(fs::exists(dir / "new"));
  CHECK(read_file(dir / "old") == "what it was");
  fs::create_symlink(dir / "old", dir / "link");
  CHECK(get("large", dir / "link", "").exit_code == 0);
  CHECK(fs::is_symlink(dir / "link"));
  CHECK(read_file(dir / "old") == large);
  CHECK(get("small", dir / "new", "").exit_code == 0);
  CHECK(read_file(dir / "new") == "s");
  CHECK(get("small", dir.path(), "").exit_code == 125);
  CHECK(get("none", dir / "none", "").exit_code == 1);
  CHECK_FALSE(fs::exists(dir / "none"));
  for (const auto& entry : fs::directory_iterator(dir.path()))
    CHECK_THAT(entry.path().filename().string(), !Catch::Contains(".tmp"));
}

TEST_CASE("spillway store: another user is told whom a store is for, whatever its directory permits") {
  if (!needs_root()) return;
  ScratchDir dir;
  const std::string at = dir / "s";
  REQUIRE(store({"put", at, "k", "v"}).exit_code == 0);
  for (const std::string& path : {dir.path(), at}) REQUIRE(::chmod(path.c_str(), 0777) == 0);
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"get", at, "k"}, {"ls", at}, {"put", at, "k", "w"}, {"verify", at}, {"backup", at, dir / "b"}}) {
    const Outcome outcome = store(words, "", 65'534);
    INFO(words[0] << ": " << outcome.text());
    CHECK(outcome.exit_code == 125);
    CHECK(outcome.out.empty());
    CHECK_THAT(outcome.err, Catch::Contains("a store is for the user alone who made it"));
  }
  CHECK(store({"get", at, "k"}).out == "v");
}
