#include "tools/pool_commands.h"

#include <stdlib.h>
#include <string.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <spillway/pool.hpp>

#include "tools/failure.h"
#include "tools/pool_verbs.h"

namespace spillway::tools {

const std::vector<PoolCommand>& pool_commands() {
  static const std::vector<PoolCommand> all = {
      {"ls", "List the pool's objects"},
      {"stat", "Tell all about an object of the pool"},
      {"get", "Write an object of the pool to a file or standard output"},
      {"put", "Make an object of a file or standard input"},
      {"rm", "Remove objects from the pool"},
      {"pin", "Keep objects in memory until unpin"},
      {"unpin", "Let objects leave memory again"},
      {"spill", "Move objects to disk now"},
      {"load", "Bring objects into memory"},
      {"save", "Save an object to a file of your own"},
      {"restore", "Make an object of a saved file, without reading it"},
      {"drain", "Write everything that is only in memory"},
      {"clients", "List the programs that use the pool"},
      {"top", "Watch the pool"},
      {"pool", "Start, stop, examine and configure the pool's daemon"},
  };
  return all;
}

bool is_pool_command(const std::string& name) {
  const auto& all = pool_commands();
  return std::any_of(all.begin(), all.end(), [&](const PoolCommand& c) { return name == c.name; });
}

// CLI::Range says what the type can hold.
static std::string seconds_at_most(const std::string& text) {
  char* end = nullptr;
  const double value = ::strtod(text.c_str(), &end);
  if (end != text.c_str() && *end == 0 && value >= 0 && value <= 1e9) return "";
  return text + ": expected seconds, such as 30 or 0.5, at most 1000000000";
}

int run_pool_command(std::vector<std::string> words) {
  Arguments a;
  CLI::App root;
  root.require_subcommand(1);
  root.set_help_flag("-h,--help", "Print this help");
  int (*chosen)(const Arguments&) = nullptr;
  const auto add = [&](CLI::App& parent, const char* name, const std::string& description,
                       int (*call)(const Arguments&)) {
    CLI::App* const command = parent.add_subcommand(name, description);
    command->add_option("--socket", a.socket, "The daemon's socket ($SPILLWAY_SOCKET)")->option_text("PATH");
    command->callback([&chosen, call] { chosen = call; });
    return command;
  };
  const auto description = [](const char* name) {
    for (const PoolCommand& c : pool_commands())
      if (strcmp(c.name, name) == 0) return std::string(c.description);
    return std::string();
  };
  const auto names = [&](CLI::App* command) {
    command->add_option("NAME", a.names, "Objects")->required()->option_text(" ");
  };
  const auto publishing = [&](CLI::App* command) {
    command->add_option("--tag", a.tag, "Kept with the object")->option_text("TEXT");
    command->add_option("--filters", a.filters, "What it goes through when spilled: lz4, zstd, checksum")
        ->option_text("NAMES");
    command->add_option("--hint", a.hint, "Who leaves memory first")
        ->check(CLI::IsMember({"normal", "keep", "first-to-go", "recomputable"}));
    command->add_flag("--exclusive", a.exclusive, "Refuse a name that is taken");
  };

  CLI::App* c = add(root, "ls", description("ls"), ls);
  c->add_option("PREFIX", a.prefix, "Only names that begin so")->option_text(" ");
  c->add_flag("--json", a.json_output, "Print JSON");
  c->add_flag("-a,--all", a.all, "Also those without a name");
  c = add(root, "stat", description("stat"), stat);
  names(c);
  c->add_flag("--json", a.json_output, "Print JSON");
  c = add(root, "get", description("get"), get);
  c->add_option("NAME", a.name, "The object")->required()->option_text(" ");
  c->add_option("FILE", a.file, "Where to (default: standard output)")->option_text(" ");
  c->add_option("--wait", a.wait_s, "Wait so long for the name")
      ->option_text("SECONDS")
      ->check(seconds_at_most);
  c->add_flag("-f,--force", a.force, "Overwrite the file");
  c = add(root, "put", description("put"), put);
  c->add_option("NAME", a.name, "The object; one that is there is replaced")->required()->option_text(" ");
  c->add_option("FILE", a.file, "What to read (default: standard input)")->option_text(" ");
  publishing(c);
  c->add_flag("--durable", a.durable, "On disk before it returns");
  c = add(root, "rm", description("rm"), rm);
  names(c);
  c->add_flag("-f,--force", a.force, "What is not there is no error");
  names(add(root, "pin", description("pin"), pin));
  names(add(root, "unpin", description("unpin"), unpin));
  names(add(root, "spill", description("spill"), spill));
  names(add(root, "load", description("load"), load));
  c = add(root, "save", description("save"), save);
  c->add_option("NAME", a.name, "The object")->required()->option_text(" ");
  c->add_option("FILE", a.file, "The file, in the pool's own format (spillway restore)")
      ->required()
      ->option_text(" ");
  c->add_option("--filters", a.filters, "What it goes through: lz4, zstd, checksum")->option_text("NAMES");
  c->add_flag("-f,--force", a.force, "Overwrite the file");
  c = add(root, "restore", description("restore"), restore);
  c->add_option("NAME", a.name, "The object")->required()->option_text(" ");
  c->add_option("FILE", a.file, "A saved file, or any other; it stays yours, and must stay as it is")
      ->required()
      ->option_text(" ");
  publishing(c);
  add(root, "drain", description("drain"), drain);
  add(root, "clients", description("clients"), clients);
  c = add(root, "top", description("top"), top);
  c->add_flag("--once", a.once, "Print once and end");
  CLI::App* const pool = root.add_subcommand("pool", description("pool"));
  pool->require_subcommand(1);
  c = add(*pool, "start", "Start the daemon if none runs; prints its socket", pool_start);
  c->add_option("--daemon", a.daemon, "The program ($SPILLWAY_DAEMON)")->option_text("PATH");
  c = add(*pool, "stop", "End the daemon; what was in memory is on disk then", pool_stop);
  c->add_flag("-f,--force", a.force, "Lose what cannot be written");
  c = add(*pool, "status", "What it uses and has done", pool_status);
  c->add_flag("--json", a.json_output, "Print JSON");
  c = add(*pool, "config", "Show or change settings; see spillwayd(8)", pool_config);
  c->add_option("SETTING", a.name, "Which one")->option_text(" ");
  CLI::Option* const value = c->add_option("VALUE", a.value, "Its new value")->option_text(" ");

  root.name("spillway");
  const bool known =
      words.size() > 1 &&
      !pool->get_subcommands([&](const CLI::App* verb) { return verb->get_name() == words[1]; }).empty();
  if (words[0] == "pool" && !known && (words.size() < 2 || !words[1].starts_with("-")))
    throw Failure(kCannotStart, (words.size() < 2 ? "pool" : "pool " + words[1]) +
                                    ": expected pool start, pool stop, pool status or pool config");
  try {
    std::reverse(words.begin(), words.end());
    root.parse(words);
    a.to_name = value->count() > 0;
    return chosen(a);
  } catch (const CLI::ParseError& end) {
    if (end.get_exit_code() == 0) return root.exit(end);
    throw Failure(kCannotStart, end.what());
  } catch (const Error& error) {
    throw Failure(error.status() == SPILLWAY_UNAVAILABLE ? kCannotStart : 1, error.what());
  }
}

}  // namespace spillway::tools
