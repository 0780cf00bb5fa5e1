#include "pooldaemon/store/disk.h"

#include <fmt/format.h>

#include <cstring>

#include "base/os/clock.h"

namespace spillway::pool {
namespace {

constexpr uint64_t kPackBytes = 64u << 20;
// Asking is a system call, and a thousand small objects are spilled at once. Near its end each time.
constexpr uint64_t kRoomMs = 20;
constexpr uint64_t kMuchRoomBytes = uint64_t{1} << 30;

}  // namespace

std::string Disk::open(const std::vector<DirectoryOption>& directories) {
  for (const DirectoryOption& option : directories) {
    auto directory = std::make_unique<SpillDirectory>();
    directory->index = static_cast<unsigned>(directories_.size());
    directory->path = option.path;
    directory->limit_bytes = option.limit_bytes;
    if (Errno e = os::make_private_directory(option.path.c_str()); !e.ok())
      return fmt::format(
          "spill directory {}: {}", option.path,
          e == EPERM ? "belongs to, or can be written by, other users; it must be yours alone (mode 0700)"
                     : strerror(e.code()));
    Result<os::Fd> lock = os::open_file((option.path + "/lock").c_str(), os::Open::kOwn);
    if (!lock)
      return fmt::format("{}/lock: {}", option.path,
                         lock.error() == ELOOP || lock.error() == EPERM
                             ? "it is there and no file of this user's; it stays as it is"
                             : strerror(lock.error().code()));
    // The kernel lets go of a killed daemon's files one after the other.
    Result<bool> locked = os::try_lock_file(lock->get());
    for (int tries = 0; tries < 50 && locked && !*locked; ++tries) {
      os::sleep_us(10'000);
      locked = os::try_lock_file(lock->get());
    }
    if (!locked) return fmt::format("{}/lock: {}", option.path, strerror(locked.error().code()));
    if (!*locked) return fmt::format("spill directory {} is in use by another daemon", option.path);
    directory->lock = std::move(*lock);
    directories_.push_back(std::move(directory));
  }
  return "";
}

uint64_t Disk::used() const {
  uint64_t sum = 0;
  for (const auto& directory : directories_) sum += directory->used_bytes;
  return sum;
}

uint64_t Disk::room_in(SpillDirectory& directory) const {
  const auto left = [](uint64_t limit, uint64_t used) { return limit > used ? limit - used : 0; };
  uint64_t room = std::min(left(limit_bytes_, used()), left(directory.limit_bytes, directory.used_bytes));
  auto& seen = directory.room;
  const uint64_t now = os::monotonic_ms();
  if (now - seen.at_ms >= kRoomMs ||
      left(seen.available_bytes, seen.reserved_bytes + least_free_bytes_) < kMuchRoomBytes) {
    Result<os::DiskRoom> disk = os::disk_room(directory.path.c_str());
    if (!disk) return room;
    seen = {now, disk->available_bytes, 0};
  }
  return std::min(room, left(seen.available_bytes, seen.reserved_bytes + least_free_bytes_));
}

SpillDirectory* Disk::reserve(uint64_t bytes, std::string& why) {
  SpillDirectory* best = nullptr;
  uint64_t best_room = 0;
  for (auto& directory : directories_) {
    const uint64_t room = room_in(*directory);
    if (room >= bytes && (best == nullptr || room > best_room)) best = directory.get(), best_room = room;
  }
  if (best == nullptr) {
    why = fmt::format("{} bytes do not fit on disk:", bytes);
    for (auto& directory : directories_)
      why += fmt::format(" {} has {} used and room for {} more;", directory->path, directory->used_bytes,
                         room_in(*directory));
    if (!why.empty() && why.back() == ';') why.pop_back();
    return nullptr;
  }
  best->used_bytes += bytes;
  best->room.reserved_bytes += bytes;
  return best;
}

std::string Disk::object_path(const SpillDirectory& directory, uint64_t id) {
  return fmt::format("{}/obj-{:016x}", directory.path, id);
}
std::string Disk::pack_path(const SpillDirectory& directory, uint64_t number) {
  return fmt::format("{}/pack-{:08x}", directory.path, number);
}

Result<Pack*> Disk::pack_for(SpillDirectory& directory) {
  Pack*& filling = filling_[&directory];
  if (filling != nullptr && filling->end < kPackBytes) return filling;
  uint64_t number = ++last_pack_;
  Result<os::Fd> fd = os::open_file(pack_path(directory, number).c_str(), os::Open::kCreate);
  while (!fd && fd.error() == EEXIST) {  // somebody else's, or one that nobody knows any more: it stays
    number = ++last_pack_;
    fd = os::open_file(pack_path(directory, number).c_str(), os::Open::kCreate);
  }
  if (!fd) return fd.error();
  if (Errno e = os::write_all(fd->get(), kPackMagic.data(), kPackMagic.size(), 0); !e.ok()) {
    (void)os::remove_file(pack_path(directory, number).c_str()).ok();
    return e;
  }
  auto pack = std::make_unique<Pack>();
  pack->number = number;
  pack->directory = &directory;
  pack->fd = std::move(*fd);
  pack->end = kPackHeaderBytes;
  return filling = (packs_[number] = std::move(pack)).get();
}

Result<Pack*> Disk::adopt_pack(SpillDirectory& directory, uint64_t number) {
  if (auto found = packs_.find(number); found != packs_.end()) return found->second.get();
  Result<os::Fd> fd = os::open_file(pack_path(directory, number).c_str(), os::Open::kReadWrite);
  if (!fd) return fd.error();
  auto pack = std::make_unique<Pack>();
  pack->number = number;
  pack->directory = &directory;
  pack->fd = std::move(*fd);
  last_pack_ = std::max(last_pack_, number);
  return (packs_[number] = std::move(pack)).get();
}

std::unique_ptr<Pack> Disk::take_out(Pack& pack) {
  for (auto& [directory, filling] : filling_)
    if (filling == &pack) filling = nullptr;
  return std::move(packs_.extract(pack.number).mapped());
}

}  // namespace spillway::pool
