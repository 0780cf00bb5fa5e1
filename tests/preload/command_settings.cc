// Options and environment variables: what is accepted, what the program then sees, and how the rest is
// refused.
#include <filesystem>

#include "tests/preload/command_helpers.h"

using namespace spillway::test;
namespace fs = std::filesystem;

TEST_CASE("sizes are accepted as people write them and handed on in bytes", "[command]") {
  const std::vector<std::pair<std::string, std::string>> sizes = {
      {"4096", "4096"},       {"64k", "65536"},        {"100M", "104857600"}, {"2G", "2147483648"},
      {"1.5G", "1610612736"}, {"0x100000", "1048576"}, {"64KiB", "65536"},    {"1MB", "1048576"},
  };
  for (const auto& [text, bytes] : sizes) {
    INFO(text);
    REQUIRE(variable_seen("SPILLWAY_THRESHOLD", spillway_with("run --threshold " + text + " env")) == bytes);
    REQUIRE(variable_seen("SPILLWAY_THRESHOLD", spillway_with("run --threshold=" + text + " env")) == bytes);
    REQUIRE(variable_seen("SPILLWAY_THRESHOLD", spillway_with("run env", "SPILLWAY_THRESHOLD=" + text)) ==
            bytes);
    REQUIRE(variable_seen("EXM_THRESHOLD", spillway_with("run env", "EXM_THRESHOLD=" + text)) == bytes);
    REQUIRE(variable_seen("SPILLWAY_LIMIT", spillway_with("run --limit " + text + " env")) == bytes);
  }
  REQUIRE(variable_seen("SPILLWAY_LIMIT", spillway_with("run --limit 25% env")) == "25%");
}

TEST_CASE("what is not a size is refused by name, value and accepted forms", "[command]") {
  for (const std::string text :
       {"abc", "-1", "1e9x", "0", "4M4", "1.5.5G", "12Q", "99999999999999999999", "0x", "50%"}) {
    const std::string said = ": '" + text + "'*64k*1.5G*0x100000";
    requires_refusal(spillway_with("run --threshold " + text + " true"), 125, "--threshold" + said);
    requires_refusal(spillway_with("run true", "SPILLWAY_THRESHOLD=" + text), 125,
                     "SPILLWAY_THRESHOLD" + said);
    requires_refusal(exm_with("true", "EXM_THRESHOLD=" + text), 125, "EXM_THRESHOLD" + said);
    if (text == "50%") continue;
    requires_refusal(spillway_with("run --limit " + text + " true"), 125, "--limit" + said);
    requires_refusal(spillway_with("run true", "SPILLWAY_LIMIT=" + text), 125, "SPILLWAY_LIMIT" + said);
  }
  for (const std::string text : {"0%", "101%", "5.5%", "%", "-5%"})
    requires_refusal(spillway_with("run --limit " + text + " true"), 125, "--limit*" + text + "*50%");
}

TEST_CASE("other settings are refused by name, value and accepted forms as well", "[command]") {
  requires_refusal(spillway_with("run --backing swap true"), 125,
                   "--backing*'swap'*auto, managed, file or plain");
  requires_refusal(spillway_with("run true", "SPILLWAY_BACKING=File"), 125,
                   "SPILLWAY_BACKING*'File'*auto, managed, file or plain");
  requires_refusal(spillway_with("run --compress zip true"), 125, "--compress*'zip'*auto or off");
  requires_refusal(spillway_with("run --child-cow 3 true"), 125, "--child-cow*'3'*0 (shared)");
  requires_refusal(spillway_with("run true", "SPILLWAY_CHILD_COW=yes"), 125, "SPILLWAY_CHILD_COW*'yes'");
  requires_refusal(spillway_with("run true", "EXM_CHILD_COW=9"), 125, "EXM_CHILD_COW*'9'*2 (duplicate)");
  requires_refusal(spillway_with("run true", "SPILLWAY_QUIET=maybe"), 125, "SPILLWAY_QUIET*'maybe'*1 or 0");
  requires_refusal(spillway_with("run true", "SPILLWAY_MASK=tmpfile,nothing"), 125,
                   "SPILLWAY_MASK*'tmpfile,nothing'*fallocate");
}

TEST_CASE("wrong use is refused with what would be right", "[command]") {
  requires_refusal(spillway_with("run --treshold 4M true"), 125, "--treshold*did you mean --threshold?");
  requires_refusal(spillway_with("run -q true"), 125, "unknown option -q*--help");
  requires_refusal(spillway_with("run --threshold"), 125, "--threshold needs a value*SIZE");
  requires_refusal(spillway_with("run --dir= true"), 125, "--dir=*empty");
  requires_refusal(spillway_with_words({"run", "--dir", "", "true"}), 125, "--dir*needs a value");
  requires_refusal(spillway_with("run --stats= true"), 125, "--stats=*empty");
  requires_refusal(spillway_with("run --quiet=1 true"), 125, "--quiet=1*takes no value");
  requires_refusal(spillway_with("run --quiet"), 125, "which program?*spillway run");
  requires_refusal(spillway_with("run --"), 125, "which program?");
  requires_refusal(exm_with(""), 125, "which program?*usage: exm");
  requires_refusal(spillway_with("rnu true"), 125, "no command rnu*did you mean run?");
  requires_refusal(spillway_with("docter"), 125, "did you mean doctor?");
  requires_refusal(spillway_with("sort file"), 125, "no command sort*spillway run sort");
  requires_refusal(spillway_with("doctor --jsno"), 125, "--jsno*did you mean --json?");
  requires_refusal(spillway_with("doctor disk"), 125, "doctor takes no argument: disk");

  const Outcome alone = run(spillway_with(""));
  REQUIRE(alone.exit_code == 125);
  REQUIRE(alone.out.empty());
  REQUIRE(alone.err.find("Usage: spillway ") != std::string::npos);
}

TEST_CASE("help and version go to standard output and succeed", "[command]") {
  for (const char* line : {"--help", "-h", "help"}) {
    const Outcome got = run(spillway_with(line));
    REQUIRE(got.exit_code == 0);
    REQUIRE(got.err.empty());
    for (const char* word : {"Usage: spillway ", "run ", "doctor ", "trace "})
      REQUIRE(got.out.find(word) != std::string::npos);
  }
  for (const char* line : {"run --help", "help run"}) {
    const Outcome got = run(spillway_with(line));
    REQUIRE(got.exit_code == 0);
    for (const char* word :
         {"--threshold SIZE", "--limit SIZE|PERCENT", "--dir DIR", "--backing auto|managed|file|plain",
          "--weight N", "--minimum SIZE", "--stats[=FILE]", "--trace FILE", "--quiet", "--child-cow",
          "SPILLWAY_THRESHOLD", "EXM_THRESHOLD", "TMPDIR", "EXM_HOME", "125", "126", "127"}) {
      INFO(word);
      REQUIRE(got.out.find(word) != std::string::npos);
    }
  }
  const Outcome version = run(spillway_with("--version"));
  REQUIRE(version.exit_code == 0);
  REQUIRE(version.out.starts_with("spillway "));
  REQUIRE(run(exm_with("--version")).out == version.out);
}

TEST_CASE("help that cannot be written is an error", "[command]") {
  const Outcome got = run({.argv = {"sh", "-c", spillway_bin() + " --help > /dev/full"}});
  REQUIRE(got.exit_code == 125);
  REQUIRE(got.err == "spillway: cannot write to standard output\n");
}

TEST_CASE("an option wins over its variable, and our variables over exm's", "[command]") {
  REQUIRE(variable_seen("SPILLWAY_THRESHOLD",
                        spillway_with("run --threshold 1k env", "SPILLWAY_THRESHOLD=2k")) == "1024");
  // What is overridden need not be right.
  REQUIRE(variable_seen("SPILLWAY_THRESHOLD",
                        spillway_with("run --threshold 1k env", "SPILLWAY_THRESHOLD=abc EXM_THRESHOLD=x")) ==
          "1024");
  REQUIRE(variable_seen("SPILLWAY_THRESHOLD",
                        spillway_with("run env", "SPILLWAY_THRESHOLD=2k EXM_THRESHOLD=abc")) == "2048");
  // The last of two equal options.
  REQUIRE(variable_seen("SPILLWAY_THRESHOLD", spillway_with("run --threshold 1k --threshold 3k env")) ==
          "3072");
}

TEST_CASE("nothing is set that was not asked for, and an empty variable asks for nothing", "[command]") {
  const Outcome got =
      run(spillway_with("run env", "SPILLWAY_THRESHOLD= EXM_THRESHOLD= SPILLWAY_STATS= TMPDIR=/tmp"));
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  for (const std::string line : {"SPILLWAY_THRESHOLD=", "EXM_THRESHOLD=", "SPILLWAY_STATS=", "TMPDIR=/tmp"})
    REQUIRE(("\n" + got.out).find("\n" + line + "\n") != std::string::npos);
  for (const char* name :
       {"SPILLWAY_LIMIT", "SPILLWAY_DIR", "SPILLWAY_BACKING", "SPILLWAY_QUIET", "SPILLWAY_CHILD_COW"})
    REQUIRE(got.out.find(name) == std::string::npos);
}

TEST_CASE("EXM_THRESHOLD of an outer exm does not win over that of an inner one", "[command]") {
  const Outcome got = run({.argv = {exm_bin(), "sh", "-c", "EXM_THRESHOLD=2M " + exm_bin() + " env"},
                           .env = {"EXM_THRESHOLD=1M"}});
  INFO(got.text());
  REQUIRE(got.out.find("EXM_THRESHOLD=2097152\n") != std::string::npos);
  REQUIRE(got.out.find("SPILLWAY_THRESHOLD") == std::string::npos);
}

TEST_CASE("each option becomes its variable", "[command]") {
  const Outcome got =
      run(spillway_with("run --backing plain --quiet --child-cow duplicate --compress off "
                        "--limit=1G env"));
  for (const char* line : {"SPILLWAY_BACKING=plain\n", "SPILLWAY_QUIET=1\n", "SPILLWAY_CHILD_COW=2\n",
                           "SPILLWAY_COMPRESS=off\n", "SPILLWAY_LIMIT=1073741824\n"})
    REQUIRE(got.out.find(line) != std::string::npos);
  REQUIRE(variable_seen("SPILLWAY_CHILD_COW", spillway_with("run --child-cow shared env")) == "0");
  REQUIRE(variable_seen("SPILLWAY_CHILD_COW", spillway_with("run --child-cow=snapshot env")) == "1");
  REQUIRE(variable_seen("SPILLWAY_CHILD_COW", spillway_with("run --child-cow 0 env")) == "0");
  REQUIRE(variable_seen("EXM_CHILD_COW", spillway_with("run env", "EXM_CHILD_COW=duplicate")) == "2");
}

TEST_CASE("relative directories and files are made absolute, since the program may go elsewhere",
          "[command]") {
  ScratchDir dir;
  auto there = [&](const std::string& line, const std::string& variables = "") {
    Command command = spillway_with(line, variables);
    command.dir = dir.path();
    return command;
  };
  REQUIRE(variable_seen("SPILLWAY_DIR", there("run --dir spill env")) == dir / "spill");
  REQUIRE(variable_seen("SPILLWAY_DIR", there("run env", "SPILLWAY_DIR=spill")) == dir / "spill");
  REQUIRE(variable_seen("SPILLWAY_STATS", there("run --stats=report env")) == dir / "report");
  REQUIRE(variable_seen("SPILLWAY_STATS", there("run env", "SPILLWAY_STATS=report")) == dir / "report");
  // A file named 1, not the 1 that means standard error.
  REQUIRE(variable_seen("SPILLWAY_STATS", there("run --stats=1 env")) == dir / "1");
  REQUIRE(variable_seen("SPILLWAY_DIR", there("run --dir /var/tmp env")) == "/var/tmp");
}

TEST_CASE("in a directory that is gone, relative ones are refused in words, and the rest goes on",
          "[command]") {
  ScratchDir dir;
  const auto there = [&](const std::string& words) {
    Command command{.argv = {"sh", "-c", "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" run " + words,
                             spillway_bin()}};
    command.dir = dir.path();
    return command;
  };
  requires_refusal(there("--dir spill true"), 125, "'spill' is relative*directory is not there");
  REQUIRE(run(there("--dir /var/tmp true")).exit_code == 0);
}

TEST_CASE("a file for the report that cannot be written is refused before the program runs", "[command]") {
  ScratchDir dir;
  requires_refusal(spillway_with("run --stats=/no/such/report true"), 125, "--stats*/no/such/report");
  requires_refusal(spillway_with("run --stats=" + dir.path() + " true"), 125, "--stats*" + dir.path());
  requires_refusal(spillway_with("run true", "SPILLWAY_STATS=/no/such/report"), 125, "SPILLWAY_STATS");
  REQUIRE_FALSE(fs::exists(dir / "report"));
}

TEST_CASE("a directory for spill files that is missing is not the command's to refuse", "[command]") {
  const Outcome got = run(spillway_with("run --dir /no/such/directory echo ran"));
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  REQUIRE(got.out == "ran\n");
}
