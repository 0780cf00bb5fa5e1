#include "tests/support/victims.h"

#include <unistd.h>

#include "tests/support/catch.h"
#include "tests/support/leftovers.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"

namespace spillway::test {
namespace {

Words command_line(const std::string& name, const Words& args) {
  Words argv = {victim(name)};
  argv.insert(argv.end(), args.begin(), args.end());
  return argv;
}

std::string joined(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += word + " ";
  return text;
}

}  // namespace

bool managed_is_possible() {
  if (!needs_root()) return false;
  const Outcome got = run_victim("managed+24M", "works_as_usual");
  if (got.err.empty()) return true;
  skip(got.err);
  return false;
}

void require_ok(const Outcome& outcome) {
  INFO(outcome.text());
  REQUIRE(outcome.exit_code == 0);
  REQUIRE((outcome.out == "ok\n" || outcome.out.ends_with("\nok\n")));
  REQUIRE(outcome.err == "");
}

Words environment_of(const std::string& backing, const Words& more) {
  const size_t minus = std::min(backing.find('-'), backing.size());
  const size_t plus = std::min(backing.find('+'), minus);
  Words words = {"SPILLWAY_BACKING=" + backing.substr(0, plus)};
  if (plus != minus) words.push_back("SPILLWAY_LIMIT=" + backing.substr(plus + 1, minus - plus - 1));
  if (minus != backing.size()) words.push_back("SPILLWAY_MASK=" + backing.substr(minus + 1));
  // An ordinary user gets files and one line that says so.
  if (backing.starts_with("managed") && ::geteuid() != 0) words.push_back("SPILLWAY_QUIET=1");
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Outcome run_plainly(const std::string& name, const Words& args) {
  return run({.argv = command_line(name, args)});
}

Outcome run_victim(const std::string& backing, const std::string& name, const Words& args, const Words& env) {
  ScratchDir regions;
  Words all = environment_of(backing, {"SPILLWAY_DIR=" + regions.path()});
  all.insert(all.end(), env.begin(), env.end());
  const Outcome outcome = run(preloaded(all, command_line(name, args)));
  INFO("left behind by " << joined(all) << joined(command_line(name, args)) << "\n" << outcome.text());
  REQUIRE(leftovers(regions.path()) == "");
  return outcome;
}

void same_on_every_backing(const std::string& name, const Words& args, const Words& env,
                           const Words& thresholds) {
  const Outcome plain = run_plainly(name, args);
  {
    INFO("plain run of " << name << " " << joined(args));
    require_ok(plain);
  }
  for (const std::string& backing : kBackings) {
    for (const std::string& threshold : thresholds) {
      Words all = {"SPILLWAY_THRESHOLD=" + threshold};
      all.insert(all.end(), env.begin(), env.end());
      INFO("SPILLWAY_BACKING=" << backing << " " << joined(all) << name << " " << joined(args));
      const Outcome got = run_victim(backing, name, args, all);
      require_ok(got);
      REQUIRE(got.out == plain.out);
    }
  }
}

void ok_on_every_backing(const std::string& name, const Words& args, const Words& env) {
  for (const std::string& backing : kBackings) {
    INFO("SPILLWAY_BACKING=" << backing << " " << joined(env) << name << " " << joined(args));
    require_ok(run_victim(backing, name, args, env));
  }
}

}  // namespace spillway::test
