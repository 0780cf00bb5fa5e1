// settings_test.cc - what the environment asks for.
#include "libpreload/settings.h"

#include <cstdlib>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "base/os/limits.h"
#include "tests/unit/in_child.h"

#include "tests/support/catch.h"

using namespace spillway;
using Choice = Settings::BackingChoice;

namespace {

// The settings that these variables alone give, and what was said about them.
struct ReadSettings {
  ReadSettings(std::initializer_list<std::pair<const char*, const char*>> environment) {
    std::vector<std::pair<bool, std::string>> before;
    for (const char* name : kNames) {
      const char* value = getenv(name);
      before.emplace_back(value != nullptr, value != nullptr ? value : "");
      unsetenv(name);
    }
    for (const auto& [name, value] : environment) setenv(name, value, 1);
    test::CaughtStderr caught;
    settings.read_environment();
    said = caught.text();
    // As programs do to change what ps shows of them.
    for (const auto& [name, value] : environment)
      for (char* text = getenv(name); *text != '\0'; ++text) *text = '\0';
    for (size_t i = 0; i < before.size(); ++i)
      before[i].first ? setenv(kNames[i], before[i].second.c_str(), 1) : unsetenv(kNames[i]);
  }
  ReadSettings(const ReadSettings&) = delete;
  ReadSettings& operator=(const ReadSettings&) = delete;
  Settings* operator->() { return &settings; }

  Settings settings;
  std::string said;

 private:
  static constexpr const char* kNames[] = {
      "SPILLWAY_THRESHOLD", "SPILLWAY_LIMIT", "SPILLWAY_BACKING", "SPILLWAY_DIR",   "SPILLWAY_STATS",
      "SPILLWAY_CHILD_COW", "SPILLWAY_TRACE", "SPILLWAY_MASK",    "SPILLWAY_QUIET", "EXM_THRESHOLD",
      "EXM_CHILD_COW",      "TMPDIR",         "SPILLWAY_COMPRESS"};
};

bool says(const std::string& text, std::vector<const char*> words) {
  for (const char* word : words)
    if (text.find(word) == std::string::npos) return false;
  return text.starts_with("spillway: ") && text.find('\n') == text.size() - 1;
}

}  // namespace

TEST_CASE("an empty environment gives the defaults, in silence") {
  ReadSettings got{};
  CHECK(got->threshold_bytes == 4 * kMiB);
  CHECK(got->limit_bytes == 0);
  CHECK(got->backing == Choice::kAuto);
  CHECK(got->fork_mode == ForkMode::kSnapshot);
  CHECK_FALSE(got->quiet);
  CHECK_FALSE(got->stats);
  CHECK(got->directory == nullptr);
  CHECK(got.said == "");
}

TEST_CASE("variables that are set and empty count as not set") {
  ReadSettings got{
      {"SPILLWAY_THRESHOLD", ""}, {"SPILLWAY_DIR", ""}, {"TMPDIR", ""}, {"SPILLWAY_BACKING", ""}};
  CHECK(got->threshold_bytes == 4 * kMiB);
  CHECK(got->directory == nullptr);
  CHECK(got.said == "");
}

TEST_CASE("the threshold is a size, of either name, and ours wins") {
  CHECK(ReadSettings {
    { "SPILLWAY_THRESHOLD", "64k" }
  } -> threshold_bytes == 64 * kKiB);
  CHECK(ReadSettings {
    { "EXM_THRESHOLD", "100000" }
  } -> threshold_bytes == 100000);
  CHECK(ReadSettings {
    {"EXM_THRESHOLD", "1M"}, { "SPILLWAY_THRESHOLD", "2M" }
  } -> threshold_bytes == 2 * kMiB);
}

TEST_CASE("a threshold below a page counts as one of a page") {
  ReadSettings got{{"SPILLWAY_THRESHOLD", "1"}};
  CHECK(got->threshold_bytes == kPageBytes);
}

TEST_CASE("a wrong threshold is named with the forms that are accepted, and the default counts") {
  for (const char* value : {"abc", "0", "-5", "1.2.3G"}) {
    ReadSettings got{{"EXM_THRESHOLD", value}};
    INFO(value << ": " << got.said);
    CHECK(got->threshold_bytes == 4 * kMiB);
    CHECK(says(got.said, {"EXM_THRESHOLD", value, "expected", "4M"}));
  }
}

TEST_CASE("the limit is a size or a share of the memory there is") {
  CHECK(ReadSettings {
    { "SPILLWAY_LIMIT", "256M" }
  } -> limit_bytes == 256 * kMiB);
  const uint64_t half = ReadSettings {
    { "SPILLWAY_LIMIT", "50%" }
    } -> limit_bytes;
  const uint64_t all = os::memory_limit_bytes();
  CHECK(half >= all / 2 - 1);
  CHECK(half <= all / 2 + 1);
}

TEST_CASE("a wrong limit is named, and there is none") {
  for (const char* value : {"much", "0", "%"}) {
    ReadSettings got{{"SPILLWAY_LIMIT", value}};
    INFO(value << ": " << got.said);
    CHECK(got->limit_bytes == 0);
    CHECK(says(got.said, {"SPILLWAY_LIMIT", value, "expected", "%"}));
  }
}

TEST_CASE("the backing has three names and no others") {
  CHECK(ReadSettings {
    { "SPILLWAY_BACKING", "auto" }
  } -> backing == Choice::kAuto);
  CHECK(ReadSettings {
    { "SPILLWAY_BACKING", "file" }
  } -> backing == Choice::kFile);
  CHECK(ReadSettings {
    { "SPILLWAY_BACKING", "plain" }
  } -> backing == Choice::kPlain);
  ReadSettings got{{"SPILLWAY_BACKING", "tape"}};
  CHECK(got->backing == Choice::kAuto);
  CHECK(says(got.said, {"SPILLWAY_BACKING", "tape", "auto", "file", "plain"}));
}

TEST_CASE("compression is off unless it is asked for") {
  CHECK_FALSE(ReadSettings {} -> compresses);
  CHECK(ReadSettings {
    { "SPILLWAY_COMPRESS", "auto" }
  } -> compresses);
  CHECK_FALSE(ReadSettings {
    { "SPILLWAY_COMPRESS", "off" }
  } -> compresses);
  ReadSettings got{{"SPILLWAY_COMPRESS", "zip"}};
  CHECK_FALSE(got->compresses);
  CHECK(says(got.said, {"SPILLWAY_COMPRESS", "zip", "auto", "off"}));
}

TEST_CASE("the fork mode is a number, of either name, and ours wins") {
  CHECK(ReadSettings {
    { "SPILLWAY_CHILD_COW", "0" }
  } -> fork_mode == ForkMode::kShared);
  CHECK(ReadSettings {
    { "EXM_CHILD_COW", "2" }
  } -> fork_mode == ForkMode::kDuplicate);
  CHECK(ReadSettings {
    {"EXM_CHILD_COW", "2"}, { "SPILLWAY_CHILD_COW", "1" }
  } -> fork_mode == ForkMode::kSnapshot);
}

TEST_CASE("a wrong fork mode is named, and it is a snapshot") {
  for (const char* value : {"3", "yes", "1x", "99999999999999999999"}) {
    ReadSettings got{{"SPILLWAY_CHILD_COW", value}};
    INFO(value << ": " << got.said);
    CHECK(got->fork_mode == ForkMode::kSnapshot);
    CHECK(says(got.said, {"SPILLWAY_CHILD_COW", value, "0", "1", "2"}));
  }
}

TEST_CASE("the directory is SPILLWAY_DIR, else TMPDIR, and messages know which") {
  ReadSettings both{{"SPILLWAY_DIR", "/a"}, {"TMPDIR", "/b"}};
  CHECK(std::string(both->directory) == "/a");
  CHECK(std::string(both->directory_name) == "SPILLWAY_DIR");
  ReadSettings one{{"TMPDIR", "/b"}};
  CHECK(std::string(one->directory) == "/b");
  CHECK(std::string(one->directory_name) == "TMPDIR");
}

TEST_CASE("statistics go to stderr for 1, to a file for a name, nowhere for 0") {
  ReadSettings to_stderr{{"SPILLWAY_STATS", "1"}};
  CHECK(to_stderr->stats);
  CHECK(to_stderr->stats_file == nullptr);
  ReadSettings to_file{{"SPILLWAY_STATS", "/tmp/report"}};
  CHECK(to_file->stats);
  CHECK(std::string(to_file->stats_file) == "/tmp/report");
  CHECK_FALSE(ReadSettings {
    { "SPILLWAY_STATS", "0" }
  } -> stats);
}

TEST_CASE("a trace goes to the file of that name, and nowhere unless asked for") {
  CHECK(std::string(ReadSettings {
          { "SPILLWAY_TRACE", "/tmp/t" }
        } -> trace_file) == "/tmp/t");
  CHECK(ReadSettings {
    { "SPILLWAY_TRACE", "" }
  } -> trace_file == nullptr);
}

TEST_CASE("masked features are whole words between commas") {
  ReadSettings got{{"SPILLWAY_MASK", "tmpfile, punch"}};
  CHECK(got->masked.tmpfile);
  CHECK(got->masked.punch);
  CHECK_FALSE(got->masked.fallocate);
  CHECK_FALSE(got->masked.perf);
  ReadSettings other{{"SPILLWAY_MASK", "perforated,fallocate"}};
  CHECK(other->masked.fallocate);
  CHECK_FALSE(other->masked.perf);
}

TEST_CASE("a quiet process says nothing of wrong values") {
  ReadSettings got{{"SPILLWAY_QUIET", "1"}, {"SPILLWAY_THRESHOLD", "abc"}};
  CHECK(got->quiet);
  CHECK(got->threshold_bytes == 4 * kMiB);
  CHECK(got.said == "");
  CHECK_FALSE(ReadSettings {
    { "SPILLWAY_QUIET", "0" }
  } -> quiet);
}
