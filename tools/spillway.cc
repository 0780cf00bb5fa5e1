// spillway.cc - the one command: finds the subcommand and its options, and says what is wrong with them.
//
// Linked as `exm` it is `spillway run`, so that exm's users find what they know: `exm prog args...`.
//
// Why the words are sorted before CLI11 sees them: the options of `run` end at the first word that is not
// one, and what follows belongs to the program, whatever it looks like. CLI11 would read on, and `--stats`
// would take the program's name for its file.
#include <fmt/format.h>
#include <stdio.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "spillway/version.h"
#include "tools/doctor.h"
#include "tools/failure.h"
#include "tools/pool_commands.h"
#include "tools/run.h"
#include "tools/settings.h"
#include "tools/store.h"
#include "tools/suggest.h"
#include "tools/trace.h"
#include "tools/typed.h"

namespace spillway::tools {
namespace {

using Words = std::vector<std::string>;

constexpr const char* kRunFooter =
    R"(Options end at the first word that is not one; the rest belongs to the program.
SIZE is a number with an optional unit: 4096, 64k, 64M, 1.5G, 64MiB, 0x100000.

Environment: SPILLWAY_THRESHOLD, SPILLWAY_LIMIT, SPILLWAY_WEIGHT, SPILLWAY_MINIMUM,
SPILLWAY_DIR, SPILLWAY_BACKING, SPILLWAY_MMAP (1), SPILLWAY_HEAP (1),
SPILLWAY_COMPRESS, SPILLWAY_STATS (1 or a file), SPILLWAY_TRACE, SPILLWAY_QUIET (1)
and SPILLWAY_CHILD_COW set the same; so do exm's EXM_THRESHOLD, EXM_CHILD_COW and TMPDIR.
Options win over variables, SPILLWAY_ over EXM_. SPILLWAY_PRELOAD (a file) or EXM_HOME
(a directory) name the library to preload.

Exit status: the program's own; 125 when Spillway cannot start it, 126 when it
cannot be executed or cannot take the library, 127 when it is not found.

Examples:
  spillway run sort -S 8G big.txt
  spillway run --limit 2G --stats -- python3 model.py
  exm --dir /mnt/nvme R)";

constexpr const char* kTraceFooter =
    R"(Prints how long the pager ran, its events by kind, what was read and written,
how much of what was read ahead was used, and the busiest addresses. A file of a
program that is still running, or was killed, is shown as far as it goes.

Exit status: 0; 1 when FILE cannot be read, or is no trace.

Example:
  spillway run --limit 1G --trace t -- python3 model.py
  spillway trace t -o t.svg)";

// CLI11's help with a usage line that shows where the options end.
class Help : public CLI::Formatter {
 public:
  explicit Help(const char* after_name) : after_name_(after_name) { column_width(26); }
  std::string make_usage(const CLI::App*, std::string name) const override {
    return fmt::format("\nUsage: {} {}\n", name, after_name_);
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string& value = option->get_option_text();
    return value.empty() || value[0] == '[' ? value : " " + value;  // --stats[=FILE], --limit SIZE
  }

 private:
  const char* after_name_;
};

void add_run_options(CLI::App& run) {
  run.formatter(std::make_shared<Help>("[OPTIONS] [--] PROG [ARGS...]"));
  run.footer(kRunFooter);
  for (const Setting& setting : settings()) {
    if (!setting.option) continue;
    const std::string name = std::string("--") + setting.option;
    if (!setting.placeholder) {
      run.add_flag(name, setting.help);
      continue;
    }
    // No variable for the value: it is read from the option itself (option_values).
    CLI::Option* option = run.add_option(name)->description(setting.help);
    option->option_text(setting.value_is_optional ? fmt::format("[={}]", setting.placeholder)
                                                  : setting.placeholder);
    if (setting.value_is_optional) option->expected(0, 1);
  }
}

struct Commands {
  CLI::App root;
  CLI::App* run = nullptr;
  CLI::App* doctor = nullptr;
  std::string doctor_directory;
  bool doctor_json = false;
  CLI::App* trace = nullptr;
  TraceOptions trace_options;
  CLI::App* typed = nullptr;
  bool typed_json = false;

  explicit Commands(bool as_exm) {
    constexpr const char* kRunDescription = "Run a program; its large allocations can spill to disk";
    root.name(as_exm ? "exm" : "spillway");
    root.set_help_flag("-h,--help", "Print this help");
    root.set_version_flag("--version", "spillway " SPILLWAY_VERSION_STRING, "Print the version");
    root.option_defaults()->take_last();
    if (as_exm) {
      root.description(std::string(kRunDescription) + " (as `spillway run`)");
      add_run_options(root);
      run = &root;
      return;
    }
    root.description("Spillway lets programs use more memory than the machine has.");
    root.formatter(std::make_shared<Help>("COMMAND [OPTIONS] ..."));
    std::string footer = "The pool (objects that programs share):\n";
    for (const PoolCommand& command : pool_commands())
      footer += fmt::format("  {:<24}{}\n", command.name, command.description);
    root.footer(footer + "\n`spillway COMMAND --help` tells more. `exm PROG...` is `spillway run PROG...`.");
    run = root.add_subcommand("run", kRunDescription);
    add_run_options(*run);

    doctor = root.add_subcommand("doctor", "Examine this machine: what slows spilling, and what mends it");
    doctor->formatter(std::make_shared<Help>("[OPTIONS]"));
    doctor->add_option("--dir", doctor_directory, "Examine this directory for spill files")
        ->option_text("DIR");
    doctor->add_flag("--json", doctor_json, "Print JSON");
    // Its own words are read in tools/store.cc.
    root.add_subcommand("store", "Keep keys and values in a directory that many processes read");
    doctor->footer("Exit status: 0 when programs can spill, 1 when something prevents it.");

    trace = root.add_subcommand("trace", "Show what the pager did: the file of `spillway run --trace FILE`");
    trace->formatter(std::make_shared<Help>("[OPTIONS] FILE"));
    trace->add_option("-o,--output", trace_options.picture, "Draw it: events by address and time")
        ->option_text("OUT.svg");
    trace->add_option("--width", trace_options.width, "Of the picture, in pixels (default 1200)")
        ->option_text("PIXELS");
    trace->add_option("--height", trace_options.height, "Likewise (default 800)")->option_text("PIXELS");
    trace->footer(kTraceFooter);
    typed = root.add_subcommand("typed", "Look into a typed blob: dump, verify, schema");
    typed->formatter(std::make_shared<Help>("[OPTIONS] dump|verify|schema FILE"));
    typed->add_flag("--json", typed_json, "Print JSON");
    typed->footer(kTypedFooter);
  }

  CLI::App* find(const std::string& name) {
    for (CLI::App* command : root.get_subcommands({}))
      if (command->get_name() == name) return command;
    return nullptr;
  }
  Words names() {
    Words names = {"help"};
    for (const CLI::App* command : root.get_subcommands({})) names.push_back(command->get_name());
    for (const PoolCommand& command : pool_commands()) names.push_back(command.name);
    return names;
  }
};

bool is_option(const std::string& word) { return word.size() > 1 && word[0] == '-' && word != "--"; }

[[noreturn]] void fail_for_unknown_option(const CLI::App& command, const std::string& name) {
  Words known;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& long_name : option->get_lnames()) known.push_back("--" + long_name);
  const std::string meant = nearest(name, known);
  throw Failure(kCannotStart, fmt::format("unknown option {}{}", name,
                                          meant.empty() ? "; see --help" : "; did you mean " + meant + "?"));
}

// How many of the words, from the first, are the command's options and their values.
size_t count_options(const CLI::App& command, const Words& words) {
  size_t count = 0;
  while (count < words.size() && is_option(words[count])) {
    const std::string& word = words[count];
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const CLI::Option* option = command.get_option_no_throw(name);
    if (!option) fail_for_unknown_option(command, name);
    const bool has_value = option->get_expected_max() > 0;
    if (equals != std::string::npos && (!has_value || equals + 1 == word.size()))
      throw Failure(kCannotStart,
                    fmt::format("{}: {}", word, has_value ? "the value is empty" : "takes no value"));
    const bool value_follows = option->get_expected_min() > 0 && equals == std::string::npos;
    if (value_follows && (count + 1 == words.size() || words[count + 1].empty()))
      throw Failure(kCannotStart, fmt::format("{} needs a value ({})", name, option->get_option_text()));
    count += value_follows ? 2 : 1;
  }
  return count;
}

OptionValues option_values(const CLI::App& run) {
  OptionValues values;
  for (const Setting& setting : settings()) {
    const CLI::Option* option = setting.option ? run.get_option(std::string("--") + setting.option) : nullptr;
    if (!option || option->count() == 0) continue;
    const bool bare = !setting.placeholder || option->results().empty() || option->results().back().empty();
    if (bare)
      values[setting.option] = "1";
    else
      // From the root, so that a file named 1 is not taken for the 1 that means stderr.
      values[setting.option] =
          setting.value_is_optional ? absolute_path(option->results().back()) : option->results().back();
  }
  return values;
}

int dispatch(bool as_exm, Words words) {
  Commands commands(as_exm);
  // 1. `spillway help [COMMAND]` is `spillway [COMMAND] --help`.
  if (!as_exm && !words.empty() && words[0] == "help") {
    words.erase(words.begin());
    words.push_back("--help");
  }
  if (!as_exm && !words.empty() && words[0] == "store")
    return store_command({words.begin() + 1, words.end()});
  if (!as_exm && !words.empty() && is_pool_command(words[0])) return run_pool_command(std::move(words));
  // 2. Which command.
  CLI::App* command = &commands.root;
  Words parsed;
  if (!as_exm && !words.empty() && !is_option(words[0])) {
    command = commands.find(words[0]);
    if (!command) {
      const std::string meant = nearest(words[0], commands.names());
      throw Failure(kCannotStart, fmt::format("no command {}; {}", words[0],
                                              meant.empty() ? "to run a program: spillway run " + words[0]
                                                            : "did you mean " + meant + "?"));
    }
    parsed.push_back(words[0]);
    words.erase(words.begin());
  }
  // 3. Its options, of `run` those before the program; --help and --version end here.
  const bool may_follow = command != commands.run && command != &commands.root;
  Words rest;
  for (;;) {
    const size_t options = count_options(*command, words);
    parsed.insert(parsed.end(), words.begin(), words.begin() + static_cast<ptrdiff_t>(options));
    words.erase(words.begin(), words.begin() + static_cast<ptrdiff_t>(options));
    if (!may_follow || words.empty() || words[0] == "--") break;
    rest.push_back(words[0]);
    words.erase(words.begin());
  }
  words.insert(words.begin(), rest.begin(), rest.end());
  try {
    std::reverse(parsed.begin(), parsed.end());  // the order CLI11 wants
    commands.root.parse(parsed);
  } catch (const CLI::ParseError& end) {
    if (end.get_exit_code() == 0) return commands.root.exit(end);
    throw Failure(kCannotStart, end.what());
  }
  // 4. What is left.
  if (command == commands.run) {
    if (!words.empty() && words[0] == "--") words.erase(words.begin());
    if (words.empty())
      throw Failure(kCannotStart, fmt::format("which program? usage: {} [OPTIONS] [--] PROG [ARGS...]",
                                              as_exm ? "exm" : "spillway run"));
    run_program(option_values(*commands.run), std::move(words));
  }
  if (command == commands.trace) {
    if (const auto dashes = std::find(words.begin(), words.end(), "--"); dashes != words.end())
      words.erase(dashes);
    if (words.size() != 1)
      throw Failure(kCannotStart, words.empty() ? "which file? usage: spillway trace [OPTIONS] FILE"
                                                : "trace takes one file, not " + words[1] + " as well");
    return show_trace(words[0], commands.trace_options);
  }
  if (command == commands.typed) return typed(words, commands.typed_json);
  if (!words.empty())
    throw Failure(kCannotStart, fmt::format("{} takes no argument: {}", command->get_name(), words[0]));
  if (command == commands.doctor) return doctor(commands.doctor_directory, commands.doctor_json);
  fmt::print(stderr, "{}", commands.root.help());
  return kCannotStart;
}

}  // namespace
}  // namespace spillway::tools

int main(int argc, char** argv) {
  using namespace spillway::tools;
  try {
    const std::string called_as = argc > 0 ? argv[0] : "spillway";
    const bool as_exm = called_as.substr(called_as.rfind('/') + 1) == "exm";
    const int status = dispatch(as_exm, Words(argv + (argc > 0), argv + argc));
    if (fflush(stdout) != 0) throw Failure(kCannotStart, "cannot write to standard output");
    return status;
  } catch (const Failure& failure) {
    fmt::print(stderr, "spillway: {}\n", failure.what());
    return failure.status();
  } catch (const std::exception& error) {
    fmt::print(stderr, "spillway: {}\n", error.what());
    return kCannotStart;
  }
}
