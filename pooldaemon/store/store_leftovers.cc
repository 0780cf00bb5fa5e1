// store_leftovers.cc - files in the spill directories that the manifest does not know.
//
// Usually a write that was not finished left them behind, and they go. But only what is ours for certain: a
// name of exactly our form, what we write at a file's beginning, in a directory of this pool. After damage to
// the manifest they may be objects that somebody was promised: those that say what they are come back, under
// the name recovered/ID where that is not enough; everything else stays where it is. No new object gets the
// id of a file that stays.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "pooldaemon/store/directory_identity.h"
#include "pooldaemon/store/store.h"
#include "pooldaemon/store/store_folder.h"

namespace spillway::pool {
namespace {

constexpr std::string_view kObjectMagic = "SPILLOBJ";
// Of packs, in which earlier daemons kept small objects.
constexpr std::string_view kPackMagic = "SPILLPAK";

// The number in PREFIX followed by so many digits; the rest of the name is left.
bool parse_name(std::string_view& name, std::string_view prefix, size_t digits, uint64_t& number) {
  if (!name.starts_with(prefix) || name.size() < prefix.size() + digits) return false;
  const std::string_view text = name.substr(prefix.size(), digits);
  if (text.find_first_not_of("0123456789abcdef") != std::string_view::npos) return false;
  (void)std::from_chars(text.data(), text.data() + text.size(), number, 16);
  name.remove_prefix(prefix.size() + digits);
  return true;
}

}  // namespace

format::Origin Store::origin_of(const Object& o) {
  return {o.key, o.version, o.uid, o.gid, o.created_s, o.mode, static_cast<bool>(o.durable), o.name.str()};
}

void Store::look_at_leftovers(SpillDirectory& directory, const std::set<std::string>& known,
                              const Leftovers& what) {
  uint64_t adopted = 0, left = 0;
  std::string first_left;
  for (const std::string& name : names_in(directory.path)) {
    const std::string path = directory.path + "/" + name;
    std::string_view rest = name;
    uint64_t number = 0;
    const bool is_object = parse_name(rest, "obj-", 16, number) && (rest.empty() || rest == ".tmp");
    const bool is_pack = !is_object && parse_name(rest, "pack-", 8, number) && rest.empty();
    if ((!is_object && !is_pack) || known.contains(path)) continue;
    const bool has_gone = is_object && what.may_come && what.removed->contains(number);
    if ((what.may_go || has_gone) && is_ours(path, is_object ? kObjectMagic : kPackMagic)) {
      (void)os::remove_file(path.c_str()).ok();
      continue;
    }
    if (is_object && rest.empty() && what.may_come && adopt_file(directory, path, number)) {
      ++adopted;
      continue;
    }
    if (is_object) {
      const auto index = static_cast<uint32_t>(number);
      taken_indices_.insert(index);
      if (index < generations_.size())  // an object of ours is there now, and others will be
        generations_[index] = std::max(generations_[index], static_cast<uint32_t>(number >> 32));
    }
    if (left++ == 0) first_left = path;
  }
  if (adopted > 0)
    log_line(fmt::format("adopted_files directory={} objects={}", quoted(directory.path), adopted));
  if (left > 0)
    log_line(fmt::format("left_alone directory={} files={} first={}", quoted(directory.path), left,
                         quoted(first_left)));
}

// From what its own header says.
bool Store::adopt_file(SpillDirectory& directory, const std::string& path, uint64_t id) {
  if (os::kind_of(path.c_str()) != os::Kind::kFile) return false;
  Result<os::Fd> file = os::open_file(path.c_str(), os::Open::kRead);
  format::ObjectHeader header;
  if (!file || format::read_header(*file, header).bad() || header.id != id) return false;
  // Where the manifest has another object is no place for it.
  if (object_by(id) != nullptr || taken_indices_.contains(static_cast<uint32_t>(id))) return false;
  ManifestEntry e;
  e.id = id, e.bytes = header.bytes, e.tag = header.tag;
  e.path = path, e.directory = directory.path;
  e.offset = format::kDataOffset, e.stored_bytes = header.stored_bytes;
  e.charge = header.stored_bytes + format::kDataOffset, e.checksum = header.checksum;
  e.filters = header.filters;
  e.uid = os::user_id(), e.mode = 0600;
  if (header.origin) {
    const format::Origin& o = *header.origin;
    e.key = o.key, e.version = o.version, e.name = o.name;
    e.uid = o.uid, e.gid = o.gid, e.mode = o.mode, e.created_s = o.created_s, e.durable = o.durable;
  }
  // Without the manifest nobody knows whether its name was another's since.
  if (!header.origin || (!e.name.empty() && names_.contains(std::string_view(e.name))))
    e.name = fmt::format("recovered/{:016x}", id);
  if (e.key == 0) e.key = fresh_key();
  if (e.version == 0) e.version = last_version_ + 1;
  adopt(e, nullptr);
  if (object_by(id) == nullptr) return false;
  ++manifest_entries_;
  journal([this, e] { (void)manifest_.add(e, true).ok(); });
  return true;
}

}  // namespace spillway::pool
