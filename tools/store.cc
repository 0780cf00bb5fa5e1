#include "tools/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <spillway/size.hpp>
#include <spillway/store.hpp>

#include "tools/failure.h"
#include "tools/new_file.h"
#include "tools/store_result.h"
#include "tools/suggest.h"

namespace spillway::tools {
namespace {

constexpr int kAbsent = 1;

// As people can read it, and paste it into a shell with $'...'.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (byte < 32 || byte == 127)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out;
}

std::string json_text(std::string_view text) {
  const nlohmann::json json = std::string(text);
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string json_lines(const nlohmann::json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string read_everything(int fd, const std::string& name) {
  std::string all;
  for (;;) {
    const size_t had = all.size();
    all.resize(had + (1 << 20));
    const ssize_t n = ::read(fd, all.data() + had, all.size() - had);
    if (n < 0 && errno == EINTR) {
      all.resize(had);
      continue;
    }
    if (n < 0) throw Failure(kCannotStart, fmt::format("{}: {}", name, strerror(errno)));
    all.resize(had + static_cast<size_t>(n));
    if (n == 0) return all;
  }
}

void print_all(std::string_view bytes) {
  if (fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size())
    throw Failure(kCannotStart, fmt::format("cannot write to standard output: {}", strerror(errno)));
}

std::string human(uint64_t bytes) {
  if (bytes < 10'000) return fmt::format("{} B", bytes);
  if (bytes < 10'000'000) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / 1048576);
}

struct StoreArguments {
  std::string directory, key, value, file, output, prefix, destination, ttl,
      durability = "group", segment_size, keys = "100000", value_size = "100";
  std::vector<std::string> removed;
  uint64_t alignment = 1;
  bool has_value = false, long_list = false, null_ended = false, json = false, values = false;
};

StoreOptions options_of(const StoreArguments& words) {
  StoreOptions options;
  if (words.durability == "async")
    options.durability = Durability::kAsync;
  else if (words.durability == "sync")
    options.durability = Durability::kSync;
  if (!words.segment_size.empty()) {
    const auto bytes = parse_size(words.segment_size);
    if (!bytes)
      throw Failure(kCannotStart,
                    fmt::format("--segment-size {}: expected {}", words.segment_size, kSizeForms));
    options.segment_bytes = *bytes;
  }
  return options;
}

std::chrono::milliseconds duration_of(const std::string& text) {
  size_t end = 0;
  double number = 0;
  try {
    number = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  const std::string unit = text.substr(end);
  const double ms = unit == "ms"                  ? 1
                    : unit.empty() || unit == "s" ? 1000
                    : unit == "m"                 ? 60e3
                    : unit == "h"                 ? 3600e3
                    : unit == "d"                 ? 86400e3
                                                  : 0;
  if (end == 0 || ms == 0 || !(number * ms >= 1) || number * ms > 1e15)
    throw Failure(kCannotStart,
                  fmt::format("--ttl {}: expected a time such as 500ms, 30s, 10m, 12h or 7d", text));
  return std::chrono::milliseconds(static_cast<int64_t>(number * ms));
}

int put(const StoreArguments& words) {
  PutOptions options;
  options.alignment = words.alignment;
  if (!words.ttl.empty()) options.ttl = duration_of(words.ttl);
  std::string value = words.value;
  if (!words.file.empty() && words.has_value)
    throw Failure(kCannotStart, "put takes the value from an argument or from --file, not from both");
  if (!words.file.empty()) {
    const int fd = ::open(words.file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw Failure(kCannotStart, fmt::format("{}: {}", words.file, strerror(errno)));
    value = read_everything(fd, words.file);
    ::close(fd);
  } else if (!words.has_value) {
    value = read_everything(STDIN_FILENO, "standard input");
  }
  Store store = must(Store::open_shared(words.directory, options_of(words)));
  must(store.put(words.key, value, options));
  must(store.close());
  return 0;
}

int get(const StoreArguments& words) {
  Store store = must(Store::open_reader(words.directory));
  const Value value = must(store.get(words.key));
  if (!value.found()) {
    fmt::print(stderr, "spillway: {}: no key {}\n", words.directory, printable(words.key));
    return kAbsent;
  }
  if (words.output.empty()) {
    print_all(value.view());
    return 0;
  }
  NewFile file(words.output, true, kCannotStart);
  for (std::string_view rest = value.view(); !rest.empty();) {
    const ssize_t n = ::write(file.fd(), rest.data(), std::min<size_t>(rest.size(), 1 << 30));
    if (n < 0 && errno != EINTR)
      throw Failure(kCannotStart, fmt::format("{}: {}", words.output, strerror(errno)));
    if (n > 0) rest.remove_prefix(static_cast<size_t>(n));
  }
  file.complete();
  return 0;
}

int remove(const StoreArguments& words) {
  StoreOptions options = options_of(words);
  options.create = false;
  Store store = must(Store::open_shared(words.directory, options));
  int status = 0;
  for (const std::string& key : words.removed)
    if (!must(store.remove(key))) {
      fmt::print(stderr, "spillway: {}: no key {}\n", words.directory, printable(key));
      status = kAbsent;
    }
  must(store.close());
  return status;
}

int list(const StoreArguments& words) {
  Store store = must(Store::open_reader(words.directory));
  const Snapshot snapshot = must(store.snapshot());
  int status = 0;
  const auto show = [&](std::string_view key, const Value& value) {
    if (words.null_ended)
      print_all(std::string(key) + '\0');
    else if (words.long_list)
      print_all(fmt::format("{:>12} {:>12} {}\n", value.size(), value.sequence(), printable(key)));
    else
      print_all(printable(key) + "\n");
    return true;
  };
  must(snapshot.for_each_prefix(words.prefix, show, [&](const StoreStatus& bad) {
    fmt::print(stderr, "spillway: {}\n", bad.message());
    status = kAbsent;
  }));
  return status;
}

int stat(const StoreArguments& words) {
  Store store = must(Store::open_reader(words.directory));
  const StoreState state = must(store.state());
  if (words.json) {
    nlohmann::json json = {{"directory", state.directory},
                           {"keys", state.keys},
                           {"live_bytes", state.live_bytes},
                           {"dead_bytes", state.dead_bytes},
                           {"disk_bytes", state.disk_bytes},
                           {"index_bytes", state.index_bytes},
                           {"index_file", state.index_file},
                           {"sequence", state.sequence},
                           {"durable_sequence", state.durable_sequence},
                           {"writer_pid", state.writer_pid},
                           {"segments", nlohmann::json::array()}};
    for (const SegmentStatus& segment : state.segments)
      json["segments"].push_back({{"name", segment.name},
                                  {"capacity_bytes", segment.capacity_bytes},
                                  {"used_bytes", segment.used_bytes},
                                  {"live_bytes", segment.live_bytes},
                                  {"dead_bytes", segment.dead_bytes},
                                  {"live_records", segment.live_records},
                                  {"min_sequence", segment.min_sequence},
                                  {"max_sequence", segment.max_sequence},
                                  {"sealed", segment.is_sealed},
                                  {"one_value", segment.is_one_value},
                                  {"damaged", segment.is_damaged}});
    print_all(json_lines(json));
    return 0;
  }
  fmt::print("{}\n", state.directory);
  fmt::print("keys        {}\n", state.keys);
  fmt::print("live        {}\n", human(state.live_bytes));
  fmt::print("dead        {}\n", human(state.dead_bytes));
  fmt::print("on disk     {}\n", human(state.disk_bytes));
  fmt::print("index       {}{}{}\n", human(state.index_bytes),
             state.index_file.empty() ? ", of this process" : " in ", state.index_file);
  fmt::print("writes      {}, durable up to {}\n", state.sequence, state.durable_sequence);
  fmt::print("writer      {}\n",
             state.writer_pid == 0 ? "nobody" : fmt::format("process {}", state.writer_pid));
  if (!state.segments.empty())
    fmt::print("\n{:<22}{:>12}{:>12}{:>12}  {}\n", "segment", "used", "live", "dead", "");
  for (const SegmentStatus& segment : state.segments)
    fmt::print("{:<22}{:>12}{:>12}{:>12}  {}\n", segment.name, human(segment.used_bytes),
               human(segment.live_bytes), human(segment.dead_bytes),
               segment.is_damaged     ? "damaged"
               : segment.is_one_value ? "one value"
               : segment.is_sealed    ? "sealed"
                                      : "open");
  return 0;
}

int verify(const StoreArguments& words) {
  const VerifyReport report = must(verify_store(words.directory));
  if (words.json) {
    nlohmann::json json = {{"segments", report.segments},
                           {"records", report.records},
                           {"bytes", report.bytes},
                           {"findings", nlohmann::json::array()}};
    for (const StoreFinding& finding : report.findings)
      json["findings"].push_back(
          {{"file", finding.file}, {"offset", finding.offset}, {"what", finding.what}});
    print_all(json_lines(json));
  } else {
    for (const StoreFinding& finding : report.findings)
      fmt::print("{}: at byte {}: {}\n", finding.file, finding.offset, finding.what);
    fmt::print("{} segments, {} records, {}: {}\n", report.segments, report.records, human(report.bytes),
               report.findings.empty() ? "no damage" : fmt::format("{} findings", report.findings.size()));
  }
  return report.findings.empty() ? 0 : kAbsent;
}

int compact(const StoreArguments& words) {
  StoreOptions options;
  options.create = false;
  options.auto_compact = false;
  Store store = must(Store::open_shared(words.directory, options));
  const StoreState before = must(store.state());
  must(store.compact());
  const StoreState after = must(store.state());
  must(store.close());
  fmt::print("{}: dead {} -> {}, on disk {} -> {}\n", words.directory, human(before.dead_bytes),
             human(after.dead_bytes), human(before.disk_bytes), human(after.disk_bytes));
  return 0;
}

// For processes that come and go: while this one stays, none of them has to open the store for the others.
int serve(const StoreArguments& words) {
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ends, signal);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);  // before the store's threads are there
  Store store = must(Store::open_shared(words.directory, options_of(words)));
  const StoreState state = must(store.state());
  fmt::print("{}: {} keys; process {} writes{}\n", state.directory, state.keys, state.writer_pid,
             state.writer_pid == static_cast<uint64_t>(::getpid()) ? ", until it is ended" : " already");
  fflush(stdout);
  if (state.writer_pid != static_cast<uint64_t>(::getpid())) return kAbsent;
  int signal = 0;
  sigwait(&ends, &signal);
  must(store.close());
  return 0;
}

int backup(const StoreArguments& words) {
  Store store = must(Store::open_reader(words.directory));
  must(store.backup(words.destination));
  return 0;
}

int dump(const StoreArguments& words) {
  constexpr const char* kKinds[] = {"put", "remove", "batch-end"};
  must(dump_store(words.directory, [&](const StoredRecord& record) {
    std::string line =
        fmt::format(R"({{"file":"{}","offset":{},"sequence":{},"kind":"{}","bytes":{})", record.file,
                    record.offset, record.sequence, kKinds[static_cast<int>(record.kind)], record.bytes);
    if (record.kind != StoredRecord::Kind::kBatchEnd) line += ",\"key\":" + json_text(record.key);
    if (record.kind == StoredRecord::Kind::kPut)
      line += fmt::format(",\"value_bytes\":{}", record.value.size());
    if (record.in_batch) line += ",\"in_batch\":true";
    if (record.expires_ms != 0) line += fmt::format(",\"expires_ms\":{}", record.expires_ms);
    if (!record.intact) line += ",\"corrupt\":true";
    if (words.values && record.kind == StoredRecord::Kind::kPut)
      line += ",\"value\":" + json_text(record.value);
    print_all(line + "}\n");
  }));
  return 0;
}

int bench(const StoreArguments& words) {
  const auto keys = parse_size(words.keys), bytes = parse_size(words.value_size);
  if (!keys || *keys == 0)
    throw Failure(kCannotStart, fmt::format("--keys {}: expected a number above 0", words.keys));
  if (!bytes)
    throw Failure(kCannotStart, fmt::format("--value-size {}: expected {}", words.value_size, kSizeForms));
  return store_bench(words.directory, *keys, *bytes);
}

}  // namespace

int store_command(const std::vector<std::string>& given) {
  StoreArguments words;
  CLI::App app("Keep keys and values in a directory: one process writes, any number read.", "spillway store");
  app.set_help_flag("-h,--help", "Print this help");
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0; 1 when a key is absent, or ls or verify found damage; 125 for everything else that "
      "fails.\n"
      "`spillway store COMMAND --help` tells more.");
  struct Command {
    CLI::App* app;
    int (*run)(const StoreArguments&);
  };
  std::vector<Command> commands;
  auto add = [&](const char* name, const char* description, int (*run)(const StoreArguments&)) {
    CLI::App* command = app.add_subcommand(name, description);
    command->add_option("DIR", words.directory, "The store's directory")->required();
    commands.push_back({command, run});
    return command;
  };
  auto add_writing = [&](CLI::App* command) {
    command->add_option("--durability", words.durability, "async, group or sync (default group)")
        ->check(CLI::IsMember({"async", "group", "sync"}));
  };
  CLI::App* command = add("put", "Store a value under a key; makes the store if there is none", put);
  command->add_option("KEY", words.key, "The key")->required();
  CLI::Option* value =
      command->add_option("VALUE", words.value, "The value; without it, standard input is read");
  command->add_option("--file", words.file, "Take the value from a file");
  command->add_option("--ttl", words.ttl, "Forget it after this time: 500ms, 30s, 10m, 12h, 7d");
  command->add_option("--align", words.alignment, "Align the value in memory: a power of two up to 4096");
  command->add_option("--segment-size", words.segment_size, "Size of segments, 64k to 256M (default 256M)");
  add_writing(command);
  command = add("get", "Print the value of a key", get);
  command->add_option("KEY", words.key, "The key")->required();
  command->add_option("-o,--output", words.output, "Write it to a file");
  command = add("rm", "Remove keys", remove);
  command->add_option("KEY", words.removed, "The keys")->required();
  add_writing(command);
  command = add("ls", "List keys in order, those that begin with PREFIX", list);
  command->add_option("PREFIX", words.prefix, "Only keys that begin so");
  command->add_flag("-l", words.long_list, "With the bytes of the value and the number of the write");
  command->add_flag("-0", words.null_ended, "Keys as they are, each ended by a zero byte");
  command = add("stat", "Keys, space, segments", stat);
  command->add_flag("--json", words.json, "Print JSON");
  command = add("verify", "Read every byte and compare the checksums", verify);
  command->add_flag("--json", words.json, "Print JSON");
  add("compact", "Give back the space of what was overwritten and removed", compact);
  add_writing(
      add("serve", "Be the process that writes, for all that open the store shared, until ended", serve));
  command =
      add("backup", "Make a second store of the same content; works while the store is written to", backup);
  command->add_option("DEST", words.destination, "A missing or empty directory")->required();
  command = add("dump", "Print every record as it lies in the segments, one JSON object a line", dump);
  command->add_flag("--values", words.values, "With the values");
  command = add("bench", "Measure puts and gets on the file system of DIR", bench);
  command->add_option("--keys", words.keys, "How many (default 100000)");
  command->add_option("--value-size", words.value_size, "Bytes of each value (default 100)");

  if (!given.empty() && !given[0].empty() && given[0][0] != '-') {
    std::vector<std::string> names;
    for (const Command& known : commands) names.push_back(known.app->get_name());
    if (std::find(names.begin(), names.end(), given[0]) == names.end()) {
      const std::string meant = nearest(given[0], names);
      throw Failure(kCannotStart,
                    fmt::format("no command store {}; {}", given[0],
                                meant.empty() ? "see spillway store --help" : "did you mean " + meant + "?"));
    }
  }
  try {
    std::vector<std::string> reversed(given.rbegin(), given.rend());
    app.parse(reversed);
  } catch (const CLI::ParseError& end) {
    if (end.get_exit_code() == 0) return app.exit(end);
    throw Failure(kCannotStart, std::string("store: ") + end.what());
  }
  words.has_value = value->count() > 0;
  for (const Command& known : commands)
    if (known.app->parsed()) return known.run(words);
  return kCannotStart;
}

}  // namespace spillway::tools
