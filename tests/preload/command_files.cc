// What is installed beside the command: bash completion, manual pages, the pkg-config file.
#include <algorithm>
#include <sstream>

#include "tests/preload/command_helpers.h"
#include "tests/support/needs.h"

using namespace spillway::test;

namespace {

using Words = std::vector<std::string>;

// What bash offers for the last of these words; readline has split --option=value into three. Without the
// bash-completion package, and with its _command_offset replaced by a function that shows its argument.
Words offered(const Words& line, bool with_package = false) {
  std::string script = "source " + source_dir() + "/scripts/spillway.bash-completion || exit\n";
  if (with_package) script += "_command_offset() { COMPREPLY=(\"the program at $1\"); }\n";
  script +=
      "COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)) COMPREPLY=()\n"
      "spec=$(complete -p \"$1\") || exit\n"
      "spec=${spec#*-F }; \"${spec%% *}\"\n"
      "printf '%s\\n' \"${COMPREPLY[@]}\"\n";
  Command command = {.argv = {"bash", "--norc", "-c", script, "bash"}};
  command.argv.insert(command.argv.end(), line.begin(), line.end());
  const Outcome got = run(command);
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  REQUIRE(got.err.empty());
  Words words;
  std::istringstream lines(got.out);
  for (std::string word; std::getline(lines, word);)
    if (!word.empty()) words.push_back(word);
  return words;
}

bool has(const Words& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

TEST_CASE("bash completes subcommands and the options of each", "[command]") {
  REQUIRE(offered({"spillway", "r"}) == Words{"run", "rm", "restore"});
  REQUIRE(offered({"spillway", "help", "d"}) == Words{"doctor", "drain"});
  REQUIRE(offered({"spillway", "doctor", "--j"}) == Words{"--json"});
  REQUIRE(offered({"spillway", "run", "--th"}) == Words{"--threshold"});
  REQUIRE(offered({"exm", "--th"}) == Words{"--threshold"});
  REQUIRE(offered({"spillway", "run", "--quiet", "--ba"}) == Words{"--backing"});
  REQUIRE(offered({"spillway", "trace", "--he"}) == Words{"--height", "--help"});
  REQUIRE(has(offered({"spillway", "trace", "/etc/pass"}), "/etc/passwd"));
  REQUIRE(has(offered({"spillway", "trace", "t", "-o", "/etc/pass"}), "/etc/passwd"));
  REQUIRE(has(offered({"spillway", "run", "--trace", "/etc/pass"}), "/etc/passwd"));
}

TEST_CASE("bash completes every option that the help names, and no other", "[command]") {
  std::istringstream help(run(spillway_with("run --help")).out);
  Words named;
  for (std::string word; help >> word;) {
    const size_t at = word.starts_with("-h,") ? 3 : 0;
    const std::string option = word.substr(at, word.find_first_of("=[", at) - at);
    if (option.size() > 2 && option.starts_with("--") && !has(named, option)) named.push_back(option);
  }
  Words completed = offered({"spillway", "run", "--"});
  std::sort(named.begin(), named.end());
  std::sort(completed.begin(), completed.end());
  REQUIRE(completed == named);
}

TEST_CASE("bash completes the values of options", "[command]") {
  for (const Words& start : {Words{"spillway", "run"}, Words{"exm"}}) {
    auto after = [&](Words rest) {
      rest.insert(rest.begin(), start.begin(), start.end());
      return offered(rest);
    };
    REQUIRE(after({"--backing", ""}) == Words{"auto", "managed", "file", "plain"});
    REQUIRE(after({"--backing", "=", "p"}) == Words{"plain"});
    REQUIRE(after({"--backing", "="}) == Words{"auto", "managed", "file", "plain"});
    REQUIRE(has(after({"--threshold", ""}), "64M"));
    REQUIRE(has(after({"--limit", ""}), "50%"));
    REQUIRE(has(after({"--quiet", "--dir", "/va"}), "/var"));
    REQUIRE(has(after({"--stats", "=", "/etc/pass"}), "/etc/passwd"));
  }
}

TEST_CASE("bash hands over to the program's own completion where the program begins", "[command]") {
  auto begins_at = [](size_t word) { return Words{"the program at " + std::to_string(word)}; };
  REQUIRE(offered({"spillway", "run", "so"}, true) == begins_at(2));
  REQUIRE(offered({"spillway", "run", "sort", "--re"}, true) == begins_at(2));
  REQUIRE(offered({"spillway", "run", "--quiet", "--limit", "2G", "sort", "--re"}, true) == begins_at(5));
  REQUIRE(offered({"spillway", "run", "--limit", "=", "2G", "sort", "--re"}, true) == begins_at(5));
  REQUIRE(offered({"spillway", "run", "--", "--odd"}, true) == begins_at(3));
  // --stats takes a file only after the sign.
  REQUIRE(offered({"spillway", "run", "--stats", "so"}, true) == begins_at(3));
  REQUIRE(offered({"exm", "sort", "--threshold", ""}, true) == begins_at(1));
}

TEST_CASE("bash completes programs and files without the bash-completion package as well", "[command]") {
  REQUIRE(has(offered({"exm", "sor"}), "sort"));
  REQUIRE(has(offered({"exm", "sort", "/etc/pass"}), "/etc/passwd"));
}

TEST_CASE("the manual pages are set without a complaint, and name every option", "[command]") {
  if (!needs_program("groff")) return;
  for (const char* page : {"spillway.1", "exm.1", "libspillway-preload.7"}) {
    const Outcome got = run({.argv = {"groff", "-man", "-mdoc", "-ww", "-Tascii", "-P-c", "-P-b", "-P-u",
                                      source_dir() + "/man/" + page}});
    INFO(page << "\n" << got.text());
    REQUIRE(got.exit_code == 0);
    REQUIRE(got.err.empty());
    REQUIRE(got.out.find("NAME") != std::string::npos);
    if (std::string(page) != "spillway.1") continue;
    for (const std::string& option : offered({"spillway", "run", "--"})) {
      INFO(option);
      REQUIRE((option == "--help" || got.out.find("     " + option) != std::string::npos));
    }
  }
}

TEST_CASE("pkg-config finds headers, version and the preload library", "[command]") {
  if (!needs_program("pkg-config")) return;
  ScratchDir dir;
  const Outcome made = run({.argv = {"sed", "-e", "s,@PREFIX@,/opt/spillway,", "-e", "s,@VERSION@,1.2.3,",
                                     source_dir() + "/scripts/spillway.pc.in"}});
  REQUIRE(made.exit_code == 0);
  REQUIRE(made.out.find('@') == std::string::npos);
  dir.write("spillway.pc", made.out);
  auto asked = [&](const std::string& question) {
    const Outcome got =
        run({.argv = {"pkg-config", question, "spillway"}, .env = {"PKG_CONFIG_PATH=" + dir.path()}});
    INFO(got.text());
    REQUIRE(got.exit_code == 0);
    return got.out.substr(0, got.out.find_last_not_of(" \n") + 1);
  };
  REQUIRE(asked("--modversion") == "1.2.3");
  REQUIRE(asked("--cflags") == "-I/opt/spillway/include");
  REQUIRE(asked("--variable=preload") == "/opt/spillway/lib/libspillway-preload.so");
}
