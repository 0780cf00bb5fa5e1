#include "pooldaemon/kept_settings.h"

#include <fmt/format.h>

#include <map>

#include "base/os/folder.h"
#include "base/os/memfd.h"

namespace spillway::pool {
namespace {

constexpr std::string_view kFirstLine = "# spillwayd: what the daemon at this socket was started with\n";

std::string toml_string(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      result += '\\', result += c;
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      result += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      result += c;
  }
  return result + '"';
}

}  // namespace

std::string settings_path(const std::string& socket) { return socket + ".settings"; }

bool are_kept_settings(const std::string& path) {
  if (os::kind_of(path.c_str()) != os::Kind::kFile) return false;
  Result<os::Fd> fd = os::open_file(path.c_str(), os::Open::kRead);
  std::string begin(kFirstLine.size(), '\0');
  return fd && os::read_all(fd->get(), begin.data(), begin.size(), 0).ok() && begin == kFirstLine;
}

Errno keep_settings(const std::string& path, const std::vector<std::pair<std::string, std::string>>& given) {
  std::map<std::string, std::string> last;
  for (const auto& [name, value] : given) last[name] = value;
  std::string text(kFirstLine);
  for (const auto& [name, value] : last) text += fmt::format("{} = {}\n", name, toml_string(value));
  const std::string next = path + ".tmp";
  for (const std::string& place : {path, next})
    if (os::kind_of(place.c_str()) != os::Kind::kNothing && !are_kept_settings(place)) return Errno(EPERM);
  if (Errno e = os::remove_file(next.c_str()); !e.ok()) return e;
  Result<os::Fd> fd = os::open_file(next.c_str(), os::Open::kCreate);
  if (!fd) return fd.error();
  Errno e = os::write_all(fd->get(), text.data(), text.size(), 0);
  if (e.ok()) e = os::rename_file(next.c_str(), path.c_str());
  if (!e.ok()) (void)os::remove_file(next.c_str()).ok();
  return e;
}

void forget_settings(const std::string& path) {
  if (are_kept_settings(path)) (void)os::remove_file(path.c_str()).ok();
}

}  // namespace spillway::pool
