#include "pooldaemon/options.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <cstring>
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "base/os/limits.h"
#include "base/os/process.h"
#include "libpool/wire/socket_path.h"
#include "pooldaemon/kept_settings.h"

namespace spillway::pool {
namespace {

constexpr uint64_t kClientsIdleExitS = 600;

std::string flag_of(const Setting& s) {
  std::string flag = std::string("--") + s.name;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string variable_of(const Setting& s) {
  std::string variable = std::string("SPILLWAY_POOL_") + s.name;
  for (char& c : variable) c = static_cast<char>(toupper(c));
  return variable;
}

// `memory_limit = "4G"`, `io_threads = 4`, `spill_dirs = ["/a", "/b=10G"]`.
std::string value_text(const toml::node& node, bool& good) {
  good = true;
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto number = node.value_exact<int64_t>()) return std::to_string(*number);
  if (const auto flag = node.value_exact<bool>()) return *flag ? "1" : "0";
  if (const toml::array* const list = node.as_array()) {
    std::string joined;
    for (const toml::node& item : *list) {
      const auto text = item.value_exact<std::string>();
      if (!text) good = false;
      joined += (joined.empty() ? "" : ",") + text.value_or("");
    }
    return joined;
  }
  good = false;
  return "";
}

std::string read_file(const std::string& path, Options& options) {
  const toml::parse_result file = toml::parse_file(path);
  if (!file)
    return fmt::format("{}:{}: {}", path, static_cast<unsigned>(file.error().source().begin.line),
                       file.error().description());
  for (const auto& [key, node] : file.table()) {
    const std::string name(key.str());
    bool good = false;
    const std::string text = value_text(node, good);
    const std::string where =
        fmt::format("{}:{}: {}", path, static_cast<unsigned>(node.source().begin.line), name);
    if (!good) return where + ": expected a string, a whole number, true, false, or a list of strings";
    if (name == "socket") {
      options.socket = text;
      continue;
    }
    const Setting* const setting = find_setting(name);
    if (setting == nullptr) return where + ": no such setting; see spillwayd --help";
    if (std::string why = setting->set(options.config, text); !why.empty()) return where + ": " + why;
    options.given.push_back({name, text});
  }
  return "";
}

std::string default_directory() { return fmt::format("/var/tmp/spillway-{}/pool", os::user_id()); }

// What was not said.
std::string complete(Options& options, bool by_client) {
  Config& config = options.config;
  const bool has_idle_exit =
      std::any_of(options.given.begin(), options.given.end(), [](auto& g) { return g.first == "idle_exit"; });
  if (by_client && !has_idle_exit) config.idle_exit_s = kClientsIdleExitS;
  if (config.memory_limit == 0) config.memory_limit = os::memory_limit_bytes() / 2;
  if (config.directories.empty()) config.directories.push_back({default_directory()});
  return check(config);
}

}  // namespace

std::string read_options(int argc, char** argv, Options& options) {
  // 1. The flags, as pairs; --config comes before all others, wherever it stands.
  std::vector<std::pair<std::string, std::string>> flags;
  std::string file;
  bool by_client = false;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i], value;
    if (word == "-h" || word == "--help") return options.help = true, "";
    if (word == "--version") return options.version = true, "";
    if (const char* equals = std::strchr(argv[i], '=')) {
      value = equals + 1;
      word.resize(static_cast<size_t>(equals - argv[i]));
    } else if (word.starts_with("--") && i + 1 < argc) {
      value = argv[++i];
    } else {
      return word + (word.starts_with("--") ? " needs a value" : ": no such option") +
             "; see spillwayd --help";
    }
    if (word == "--config")
      file = value;
    else if (word == "--started-by-client")
      by_client = value == "1";
    else
      flags.push_back({word, value});
  }
  // A client that finds no daemon wants the one that was there, when that did not end by anybody's wish.
  if (by_client) {
    const auto socket =
        std::find_if(flags.begin(), flags.end(), [](auto& f) { return f.first == "--socket"; });
    if (socket != flags.end()) options.socket = socket->second;
    const std::string kept =
        settings_path(options.socket.empty() ? wire::default_socket_path() : options.socket);
    if (are_kept_settings(kept)) {
      if (std::string why = read_file(kept, options); !why.empty()) return why;
      return complete(options, by_client);
    }
  }
  if (const char* named = getenv("SPILLWAY_POOL_CONFIG"); file.empty() && named != nullptr) file = named;
  // 2. File, environment, flags.
  if (!file.empty())
    if (std::string why = read_file(file, options); !why.empty()) return why;
  for (const Setting& setting : settings())
    if (const char* value = getenv(variable_of(setting).c_str()); value != nullptr && *value) {
      if (std::string why = setting.set(options.config, value); !why.empty())
        return variable_of(setting) + ": " + why;
      options.given.push_back({setting.name, value});
    }
  for (const auto& [flag, value] : flags) {
    if (flag == "--socket") {
      options.socket = value;
      continue;
    }
    const auto& all = settings();
    const auto setting =
        std::find_if(all.begin(), all.end(), [&](const Setting& s) { return flag_of(s) == flag; });
    if (setting == all.end()) return flag + ": no such option; see spillwayd --help";
    if (std::string why = setting->set(options.config, value); !why.empty()) return flag + ": " + why;
    options.given.push_back({setting->name, value});
  }
  return complete(options, by_client);
}

std::string help_text() {
  std::string text =
      "Usage: spillwayd [OPTIONS]\n\n"
      "Keeps the objects of this user's programs (libspillway, spillway put) in memory, spills the least "
      "recently\n"
      "used ones to disk when memory is short, and finds what is on disk again after a restart.\n\n"
      "  --socket PATH\n      Where to listen (default: $SPILLWAY_SOCKET, "
      "$XDG_RUNTIME_DIR/spillway/pool.sock,\n"
      "      /tmp/spillway-UID/pool.sock)\n"
      "  --config FILE\n      A TOML file with settings by the names below, with _ for - (also "
      "$SPILLWAY_POOL_CONFIG)\n"
      "  --started-by-client 0|1\n      As the library starts it: with the settings of the daemon that was "
      "there "
      "before, if it was killed or idle\n";
  for (const Setting& setting : settings())
    text += fmt::format("  {} {}\n      {}{}\n", flag_of(setting), setting.value, setting.help,
                        setting.while_running ? "" : ". Not while it runs");
  text +=
      "  --help, --version\n\n"
      "Each has a variable, too: --memory-limit is SPILLWAY_POOL_MEMORY_LIMIT. Flags win over variables, "
      "variables over\n"
      "the file. SIGTERM ends it in order: what has a name is written first; a second one ends it at once.\n"
      "Exit status: 0 ended in order, 1 it cannot start, 2 wrong usage, 3 another daemon has the socket,\n"
      "4 it ended, and objects that could not be written are lost.\n";
  return text;
}

}  // namespace spillway::pool
