#include "tools/pool_verbs.h"

#include <fmt/format.h>
#include <string.h>
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

const char* hint_text(spillway_hint hint) {
  const char* const texts[] = {"normal", "keep", "first-to-go", "recomputable"};
  return texts[std::clamp<int>(hint, 0, 3)];
}
// Names and paths are bytes; what is no UTF-8 in them is shown as U+FFFD.
std::string text_of(const nlohmann::json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

nlohmann::json to_json(const Info& i) {
  return {{"name", i.name},
          {"id", fmt::format("{:016x}", i.ref.id)},
          {"bytes", i.bytes},
          {"state", spillway_state_text(i.state)},
          {"version", i.version},
          {"tag", i.tag},
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

Pool connect(const Arguments& a, bool start) {
  Pool::Options options;
  options.socket = a.socket;
  options.daemon = a.daemon;
  options.start = start;
  return Pool(options);
}

int ls(const Arguments& a) {
  Pool pool = connect(a, false);
  std::vector<Info> all = a.all ? pool.list_all() : pool.list(a.prefix);
  if (a.all) std::erase_if(all, [&](const Info& i) { return !i.name.starts_with(a.prefix); });
  if (a.json_output) {
    nlohmann::json list = nlohmann::json::array();
    for (const Info& i : all) list.push_back(to_json(i));
    fmt::print("{}\n", text_of(list));
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
      fmt::print("{}\n", text_of(to_json(i)));
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
    fmt::print("{}\n", text_of(all));
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
