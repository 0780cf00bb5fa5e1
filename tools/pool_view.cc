#include "tools/pool_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace spillway::tools {

std::string size_text(uint64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 5) value /= 1024, ++unit;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}
std::string limit_text(uint64_t bytes) { return bytes == UINT64_MAX ? "none" : size_text(bytes); }
std::string time_text(uint64_t ms) {
  const uint64_t s = ms / 1000;
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m", s / 60);
  if (s < 86400) return fmt::format("{}h", s / 3600);
  return fmt::format("{}d", s / 86400);
}
// What terminals must not be told to do by a name.
std::string shown(const std::string& text) {
  std::string clean;
  for (unsigned char c : text) clean += c < 0x20 || c == 0x7f ? '?' : static_cast<char>(c);
  return clean;
}

std::string status_text(Pool& pool) {
  std::map<std::string, uint64_t> s;
  for (auto& [name, value] : pool.stats()) s[name] = value;
  std::string text = fmt::format("socket   {}\n", spillway_pool_socket(pool.c_pool()));
  for (const Device& d : pool.devices())
    text += fmt::format("{:8} {} of {} used, {} free{}\n", d.name, size_text(d.used), limit_text(d.capacity),
                        size_text(d.available), d.path.empty() ? "" : ", " + d.path);
  const uint64_t looked = s["hits"] + s["misses"];
  text +=
      fmt::format("objects  {}, {} with names\nclients  {}\n", s["objects"], s["names"], s["clients"] - 1);
  text += fmt::format(
      "gets     {}, {} found in memory\n", s["gets"],
      looked ? fmt::format("{:.0f} %", 100.0 * static_cast<double>(s["hits"]) / static_cast<double>(looked))
             : "-");
  text += fmt::format("spilled  {} in {} writes; read back {} in {}\n", size_text(s["spilled_bytes"]),
                      s["spills"], size_text(s["loaded_bytes"]), s["loads"]);
  return text;
}

std::string clients_text(Pool& pool) {
  std::string text = fmt::format("{:>7} {:>6} {:16} {:>6} {:>11} {:>11} {:>8} {:>8}\n", "PID", "USER",
                                 "PROGRAM", "SINCE", "MADE", "PINNED", "PUTS", "GETS");
  for (const ClientInfo& c : pool.clients())
    if (!c.self)
      text += fmt::format("{:>7} {:>6} {:16} {:>6} {:>11} {:>11} {:>8} {:>8}\n", c.pid, c.uid,
                          shown(c.program), time_text(c.connected_ms), size_text(c.created_bytes),
                          size_text(c.pinned_bytes), c.puts, c.gets);
  return text;
}

std::string objects_text(Pool& pool, ObjectOrder order, size_t most) {
  std::vector<Info> all = pool.list_all();
  const auto before = [order](const Info& x, const Info& y) {
    return order == ObjectOrder::kAge    ? x.age_ms > y.age_ms
           : order == ObjectOrder::kIdle ? x.idle_ms > y.idle_ms
                                         : x.bytes > y.bytes;
  };
  most = std::min(most, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(most), all.end(), before);
  const char* const titles[] = {"LARGEST OBJECTS", "OLDEST OBJECTS", "LONGEST UNUSED OBJECTS"};
  std::string text = fmt::format("{:>11}  {:9} {:>5} {:>6} {:>6}  {}\n", "SIZE", "STATE", "PINS", "AGE",
                                 "IDLE", titles[static_cast<int>(order)]);
  for (size_t i = 0; i < most; ++i)
    text += fmt::format("{:>11}  {:9} {:>5} {:>6} {:>6}  {}\n", size_text(all[i].bytes),
                        spillway_state_text(all[i].state), all[i].pins, time_text(all[i].age_ms),
                        time_text(all[i].idle_ms), all[i].name.empty() ? "(no name)" : shown(all[i].name));
  return text;
}

}  // namespace spillway::tools
