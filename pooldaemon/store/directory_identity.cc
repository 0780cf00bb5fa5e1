#include "pooldaemon/store/directory_identity.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "base/os/memfd.h"
#include "base/os/process.h"
#include "pooldaemon/log.h"

namespace spillway::pool {
namespace {

constexpr std::string_view kFirstLine = "spillway spill directory, version 1\n";
constexpr size_t kMostBytes = 64 << 10;

struct Identity {
  uint64_t pool = 0;
  std::string path, manifest;  // of the directories, when it was written
};

std::string mark_path(const SpillDirectory& directory) { return directory.path + "/spillway-pool"; }

std::string text_of(const Identity& i) {
  return fmt::format("{}pool {:016x}\npath {}\nmanifest {}\n", kFirstLine, i.pool, i.path, i.manifest);
}

// A file of a few lines; "": it is not there, or cannot be read.
std::string read_text(const std::string& path) {
  if (os::kind_of(path.c_str()) != os::Kind::kFile) return "";
  Result<os::Fd> fd = os::open_file(path.c_str(), os::Open::kRead);
  if (!fd) return "";
  std::string text(std::min<uint64_t>(os::length_of(fd->get()), kMostBytes), '\0');
  if (!os::read_all(fd->get(), text.data(), text.size(), 0).ok()) return "";
  return text;
}

bool parse(std::string_view text, Identity& i) {
  const auto field = [&](std::string_view word, std::string_view& value) {
    if (!text.starts_with(word)) return false;
    text.remove_prefix(word.size());
    value = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), value.size() + 1));
    return true;
  };
  std::string_view pool, path, manifest;
  if (!text.starts_with(kFirstLine)) return false;
  text.remove_prefix(kFirstLine.size());
  if (!field("pool ", pool) || !field("path ", path) || !field("manifest ", manifest)) return false;
  i.path = path, i.manifest = manifest;
  return std::from_chars(pool.data(), pool.data() + pool.size(), i.pool, 16).ec == std::errc() && i.pool != 0;
}

// The same below another directory.
void move_path(std::string& path, const std::string& from, const std::string& to) {
  if (path == from || path.starts_with(from + "/")) path = to + path.substr(from.size());
}

}  // namespace

bool is_ours(const std::string& path, std::string_view magic) {
  if (os::kind_of(path.c_str()) != os::Kind::kFile) return false;
  Result<os::Fd> fd = os::open_file(path.c_str(), os::Open::kRead);
  if (!fd) return false;
  const uint64_t length = os::length_of(fd->get());
  if (length == 0) return true;
  std::string begin(std::min<uint64_t>(length, magic.size()), '\0');
  return os::read_all(fd->get(), begin.data(), begin.size(), 0).ok() && magic.starts_with(begin);
}

std::string find_pool(const Directories& directories, PoolOnDisk& pool) {
  std::vector<Identity> identities;
  const SpillDirectory* says = nullptr;  // whose number it is
  const SpillDirectory* has_manifest = nullptr;
  std::string expected;  // where the manifest was
  const auto same_pool = [&](uint64_t number, const SpillDirectory& directory) -> std::string {
    if (pool.number != 0 && number != pool.number)
      return fmt::format("spill directories {} and {} belong to different pools; name those of one",
                         says->path, directory.path);
    pool.number = number;
    says = &directory;
    return "";
  };
  for (const auto& d : directories) {
    Identity& identity = identities.emplace_back();
    const std::string text = read_text(mark_path(*d));
    if (os::kind_of(mark_path(*d).c_str()) != os::Kind::kNothing && !parse(text, identity))
      return mark_path(*d) + ": it is there and not what spillwayd writes there; it stays as it is";
    if (identity.pool != 0) {
      if (std::string why = same_pool(identity.pool, *d); !why.empty()) return why;
      expected = identity.manifest;
      for (size_t i = 0; i < identities.size(); ++i)
        if (identities[i].path == expected) expected = directories[i]->path;
    }
    ManifestContents contents;
    if (std::string why = Manifest::read(d->path + "/manifest", contents); !why.empty()) return why;
    if (!contents.is_there) continue;
    if (contents.pool != 0)
      if (std::string why = same_pool(contents.pool, *d); !why.empty()) return why;
    if (has_manifest != nullptr)
      return fmt::format("spill directories {} and {} have a manifest each; name those of one pool",
                         has_manifest->path, d->path);
    has_manifest = d.get();
    pool.contents = std::move(contents);
  }
  if (has_manifest == nullptr && pool.number != 0) {
    // Of the directories that are given, the one that had it.
    for (size_t i = 0; i < directories.size(); ++i)
      if (directories[i]->path == expected || identities[i].path == expected)
        has_manifest = directories[i].get();
    if (has_manifest == nullptr)
      return fmt::format("spill directory {} belongs to a pool whose manifest is in {}; name that, too",
                         says->path, expected);
    pool.manifest_is_missing = true;
  }
  if (has_manifest == nullptr) has_manifest = directories.front().get();
  pool.manifest_path = has_manifest->path + "/manifest";
  for (size_t i = 0; i < directories.size(); ++i)
    pool.belongs.push_back(pool.number != 0 &&
                           (identities[i].pool == pool.number ||
                            (directories[i].get() == has_manifest && pool.contents.pool != 0)));
  // Directories that are somewhere else than they were.
  for (size_t i = 0; i < directories.size(); ++i)
    if (identities[i].pool != 0 && identities[i].path != directories[i]->path)
      for (ManifestEntry& entry : pool.contents.entries) {
        if (entry.directory != identities[i].path) continue;
        move_path(entry.directory, identities[i].path, directories[i]->path);
        if (!entry.users) move_path(entry.path, identities[i].path, directories[i]->path);
      }
  if (pool.number == 0) pool.number = os::random_number() | 1;
  return "";
}

std::string mark_directories(const Directories& directories, const PoolOnDisk& pool) {
  for (const auto& d : directories) {
    const Identity identity{pool.number, d->path,
                            pool.manifest_path.substr(0, pool.manifest_path.rfind('/'))};
    const std::string text = text_of(identity), path = mark_path(*d), next = path + ".tmp";
    if (read_text(path) == text) continue;
    if (os::kind_of(next.c_str()) != os::Kind::kNothing && !is_ours(next, kFirstLine))
      return next + ": it is there and not what spillwayd writes there; it stays as it is";
    Errno e = os::remove_file(next.c_str());
    if (e.ok()) {
      Result<os::Fd> fd = os::open_file(next.c_str(), os::Open::kCreate);
      e = fd ? os::write_all(fd->get(), text.data(), text.size(), 0) : fd.error();
      if (e.ok()) e = os::sync_data(fd->get());
    }
    if (e.ok()) e = os::rename_file(next.c_str(), path.c_str());
    // Files that nobody knows stay where they are then.
    if (!e.ok())
      log_line(fmt::format("not_marked path={} reason={}", quoted(path), quoted(strerror(e.code()))));
  }
  return "";
}

std::string keep_damaged(const std::string& path) {
  Result<os::Fd> from = os::open_file(path.c_str(), os::Open::kRead);
  if (!from) return "";
  std::string text(os::length_of(from->get()), '\0');
  if (!os::read_all(from->get(), text.data(), text.size(), 0).ok()) return "";
  for (unsigned i = 1; i < 100; ++i) {
    const std::string copy = fmt::format("{}.damaged-{}", path, i);
    Result<os::Fd> to = os::open_file(copy.c_str(), os::Open::kCreate);
    if (!to && to.error() == EEXIST) continue;
    return to && os::write_all(to->get(), text.data(), text.size(), 0).ok() ? copy : "";
  }
  return "";
}

}  // namespace spillway::pool
