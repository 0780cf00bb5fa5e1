#include "tools/pool_verbs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <spillway/pool.hpp>
#include <spillway/size.hpp>

#include "tools/failure.h"
#include "tools/pool_view.h"

namespace spillway::tools {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

Pool connect(const Arguments& a, bool start = true) {
  Pool::Options options;
  options.socket = a.socket;
  options.daemon = a.daemon;
  options.start = start;
  return Pool(options);
}

const char* hint_text(spillway_hint hint) {
  const char* const texts[] = {"normal", "keep", "first-to-go", "recomputable"};
  return texts[std::clamp<int>(hint, 0, 3)];
}
std::string utf8(const std::string& text) {
  const nlohmann::json as_is = text;
  try {
    (void)as_is.dump();
    return text;
  } catch (const nlohmann::json::exception&) {
    return as_is.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
}

nlohmann::json to_json(const Info& i) {
  return {{"name", utf8(i.name)},
          {"id", fmt::format("{:016x}", i.ref.id)},
          {"bytes", i.bytes},
          {"state", spillway_state_text(i.state)},
          {"version", i.version},
          {"tag", utf8(i.tag)},
          {"uid", i.uid},
          {"mode", fmt::format("{:04o}", i.mode)},
          {"owner_pid", i.owner_pid},
          {"references", i.references},
          {"pins", i.pins},
          {"hint", hint_text(i.hint)},
          {"age_ms", i.age_ms},
          {"idle_ms", i.idle_ms},
          {"file", i.file},
          {"filters", i.filters},
          {"retained", i.retained}};
}

}  // namespace

int ls(const Arguments& a) {
  Pool pool = connect(a, false);
  std::vector<Info> all = a.all ? pool.list_all() : pool.list(a.prefix);
  if (a.all) std::erase_if(all, [&](const Info& i) { return !i.name.starts_with(a.prefix); });
  if (a.json_output) {
    nlohmann::json list = nlohmann::json::array();
    for (const Info& i : all) list.push_back(to_json(i));
    fmt::print("{}\n", list.dump(2));
    return 0;
  }
  if (all.empty()) return 0;
  fmt::print("{:>11}  {:9} {:>5} {:>5} {:>6}  {}\n", "SIZE", "STATE", "PINS", "REFS", "IDLE", "NAME");
  for (const Info& i : all)
    fmt::print("{:>11}  {:9} {:>5} {:>5} {:>6}  {}\n", size_text(i.bytes), spillway_state_text(i.state),
               i.pins, i.references, time_text(i.idle_ms),
               i.name.empty() ? fmt::format("(no name, {:016x})", i.ref.id) : shown(i.name));
  return 0;
}

int stat(const Arguments& a) {
  Pool pool = connect(a);
  for (const std::string& name : a.names) {
    const Info i = pool.stat(name);
    if (a.json_output) {
      fmt::print("{}\n", to_json(i).dump(2));
      continue;
    }
    fmt::print(
        "name        {}\nid          {:016x}\nsize        {} ({} bytes)\nstate       {}\nversion     {}\n",
        shown(i.name), i.ref.id, size_text(i.bytes), i.bytes, spillway_state_text(i.state), i.version);
    fmt::print("owner       user {}, {}, mode {:04o}\n", i.uid,
               i.owner_pid ? fmt::format("process {}", i.owner_pid) : "its process has ended", i.mode);
    fmt::print("references  {}\npins        {}\nhint        {}\nage         {}, last used {} ago\n",
               i.references, i.pins, hint_text(i.hint), time_text(i.age_ms), time_text(i.idle_ms));
    if (!i.tag.empty()) fmt::print("tag         {}\n", shown(i.tag));
    if (!i.file.empty()) fmt::print("file        {}\n", i.file);
    if (!i.filters.empty()) fmt::print("filters     {}\n", i.filters);
    if (i.retained) fmt::print("retained    its file stays when it is removed\n");
  }
  return 0;
}

// On a terminal, how far a long copy is. Every tenth of a second at most.
class Progress {
 public:
  Progress(const char* what, uint64_t total) : what_(what), total_(total), shown_(isatty(2) && total != 1) {}
  void at(uint64_t bytes) {
    const auto now = std::chrono::steady_clock::now();
    if (!shown_ || now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    drawn_ = true;
    if (total_ == 0) {
      fmt::print(stderr, "\r{} {}  ", what_, size_text(bytes));
      return;
    }
    const int filled = static_cast<int>(30 * bytes / total_);
    fmt::print(stderr, "\r{} [{:<30}] {} of {}  ", what_, std::string(static_cast<size_t>(filled), '#'),
               size_text(bytes), size_text(total_));
  }
  ~Progress() {
    if (drawn_) fmt::print(stderr, "\r\033[K");
  }

 private:
  const char* what_;
  uint64_t total_;
  bool shown_, drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

int get(const Arguments& a) {
  Pool pool = connect(a);
  GetOptions options;
  options.timeout = Milliseconds(static_cast<int64_t>(a.wait_s * 1000));
  const Pin pin = pool.get(a.name, options);
  int out = 1;
  if (!a.file.empty() && a.file != "-") {
    out = ::open(a.file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (a.force ? O_TRUNC : O_EXCL), 0666);
    if (out < 0)
      throw Failure(
          1, errno == EEXIST ? a.file + " exists; --force overwrites it" : a.file + ": " + strerror(errno));
  } else if (isatty(1) && pin.text().find('\0') != std::string_view::npos) {
    throw Failure(1, "the object is binary, and this is a terminal: name a file or redirect");
  }
  Progress progress("get", pin.size());
  for (size_t at = 0; at < pin.size();) {
    const ssize_t n = ::write(out, pin.text().data() + at, std::min(kPieceBytes, pin.size() - at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw Failure(1, fmt::format("{}: {}", out == 1 ? "standard output" : a.file, strerror(errno)));
    at += static_cast<size_t>(n);
    progress.at(at);
  }
  if (out != 1 && ::close(out) != 0) throw Failure(1, a.file + ": " + strerror(errno));
  return 0;
}

SetOptions put_options(const Arguments& a) {
  SetOptions options;
  options.name = a.name;
  options.tag = a.tag;
  options.filters = a.filters;
  options.flags = SPILLWAY_UNCOUNTED | (a.durable ? uint32_t{SPILLWAY_DURABLE} : 0u) |
                  (a.exclusive ? uint32_t{SPILLWAY_EXCLUSIVE} : 0u);
  for (int h = 0; h <= SPILLWAY_RECOMPUTABLE; ++h)
    if (a.hint == hint_text(static_cast<spillway_hint>(h))) options.hint = static_cast<spillway_hint>(h);
  return options;
}

// A read that goes on until `bytes` are there or the file ends.
static size_t read_some(int in, char* to, size_t bytes, const std::string& from) {
  size_t at = 0;
  while (at < bytes) {
    const ssize_t n = ::read(in, to + at, std::min(kPieceBytes, bytes - at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Failure(1, from + ": " + strerror(errno));
    if (n == 0) break;
    at += static_cast<size_t>(n);
  }
  return at;
}

int put(const Arguments& a) {
  int in = 0;
  const bool named = !a.file.empty() && a.file != "-";
  const std::string from = named ? a.file : "standard input";
  if (named && (in = ::open(a.file.c_str(), O_RDONLY | O_CLOEXEC)) < 0)
    throw Failure(1, from + ": " + strerror(errno));
  struct stat st {};
  if (::fstat(in, &st) != 0) throw Failure(1, from + ": " + strerror(errno));
  if (S_ISDIR(st.st_mode)) throw Failure(1, from + " is a directory");
  Pool pool = connect(a);
  const SetOptions options = put_options(a);
  if (S_ISREG(st.st_mode)) {
    // Its length is known: read where it will stay.
    const off_t here = std::max<off_t>(0, ::lseek(in, 0, SEEK_CUR));
    const size_t bytes = static_cast<size_t>(std::max<off_t>(0, st.st_size - here));
    Builder builder = pool.create(bytes, options);
    Progress progress("put", bytes);
    char* const to = bytes ? builder.as<char>().data() : nullptr;
    for (size_t at = 0; at < bytes;) {
      const size_t n = read_some(in, to + at, std::min(kPieceBytes, bytes - at), from);
      if (n == 0) throw Failure(1, from + " became shorter while it was read");
      progress.at(at += n);
    }
    (void)std::move(builder).seal();
    return 0;
  }
  std::string text;
  Progress progress("put", 0);
  while (true) {
    const size_t at = text.size();
    text.resize(at + kPieceBytes);
    const size_t n = read_some(in, text.data() + at, kPieceBytes, from);
    text.resize(at + n);
    progress.at(text.size());
    if (n < kPieceBytes) break;
  }
  (void)pool.set(text, options);
  return 0;
}

// One command for several names: all are tried, the first failure is the answer.
static int for_each(const Arguments& a, const std::function<void(Pool&, const std::string&)>& call) {
  Pool pool = connect(a);
  int status = 0;
  for (const std::string& name : a.names) try {
      call(pool, name);
    } catch (const Error& error) {
      fmt::print(stderr, "spillway: {}: {}\n", name, error.what());
      status = 1;
    }
  return status;
}

int rm(const Arguments& a) {
  return for_each(a, [&](Pool& pool, const std::string& name) {
    if (!a.force) (void)pool.stat(name);
    pool.erase(name);
  });
}
int pin(const Arguments& a) {
  return for_each(a, [](Pool& pool, const std::string& name) {
    const DRef dref = pool.lookup(name);
    pool.load(dref);
    pool.keep_resident(dref);
  });
}
int unpin(const Arguments& a) {
  return for_each(a,
                  [](Pool& pool, const std::string& name) { pool.keep_resident(pool.lookup(name), false); });
}
int spill(const Arguments& a) {
  return for_each(a, [](Pool& pool, const std::string& name) {
    fmt::print("{}\n", pool.move_to_disk(pool.lookup(name)).path);
  });
}
int load(const Arguments& a) {
  return for_each(a, [](Pool& pool, const std::string& name) { pool.load(pool.lookup(name)); });
}

int save(const Arguments& a) {
  Pool pool = connect(a);
  DiskOptions options;
  options.filters = a.filters;
  options.flags = SPILLWAY_SYNC | (a.force ? uint32_t{SPILLWAY_OVERWRITE} : 0u);
  const FileRef file = pool.save_to_disk(pool.lookup(a.name), a.file, options);
  fmt::print("{}\n", file.path);
  return 0;
}
int restore(const Arguments& a) {
  Pool pool = connect(a);
  (void)pool.restore(a.file, put_options(a));
  return 0;
}
int drain(const Arguments& a) {
  Pool pool = connect(a);
  pool.drain();
  return 0;
}

static void print_status(Pool& pool, bool as_json) {
  std::map<std::string, uint64_t> s;
  for (auto& [name, value] : pool.stats()) s[name] = value;
  const std::vector<Device> devices = pool.devices();
  if (as_json) {
    nlohmann::json all = s;
    for (const Device& d : devices)
      all["devices"].push_back({{"name", d.name},
                                {"path", d.path},
                                {"capacity_bytes", d.capacity},
                                {"used_bytes", d.used},
                                {"available_bytes", d.available}});
    all["socket"] = spillway_pool_socket(pool.c_pool());
    fmt::print("{}\n", all.dump(2));
    return;
  }
  fmt::print("{}", status_text(pool));
}

int clients(const Arguments& a) {
  Pool pool = connect(a, false);
  fmt::print("{}", clients_text(pool));
  return 0;
}

int top(const Arguments& a) {
  Pool pool = connect(a, false);
  if (!a.once && isatty(0) && isatty(1)) return watch_pool(pool);
  fmt::print("{}\n{}\n{}", status_text(pool), objects_text(pool, ObjectOrder::kSize, 12), clients_text(pool));
  return 0;
}

int pool_start(const Arguments& a) {
  Pool pool = connect(a, true);
  fmt::print("{}\n", spillway_pool_socket(pool.c_pool()));
  return 0;
}
int pool_stop(const Arguments& a) {
  std::optional<Pool> pool;
  try {
    pool.emplace(connect(a, false));
  } catch (const Error& error) {
    if (error.status() != SPILLWAY_UNAVAILABLE) throw;
    fmt::print("no daemon runs\n");
    return 0;
  }
  if (a.force)
    pool->force_stop_daemon();
  else
    pool->stop_daemon();
  return 0;
}
int pool_status(const Arguments& a) {
  Pool pool = connect(a, false);
  print_status(pool, a.json_output);
  return 0;
}
int pool_config(const Arguments& a) {
  Pool pool = connect(a, false);
  for (const std::string& line : pool.configure(a.name, a.to_name ? std::optional(a.value) : std::nullopt))
    fmt::print("{}\n", line);
  return 0;
}

}  // namespace spillway::tools
