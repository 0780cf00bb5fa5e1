#include "pooldaemon/store/disk.h"

#include <fmt/format.h>

#include <cstring>

#include "base/core/check.h"
#include "base/os/clock.h"
#include "base/os/directory.h"

namespace spillway::pool {
namespace {

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

uint64_t Disk::used_locked() const {
  uint64_t sum = 0;
  for (const auto& directory : directories_) sum += directory->used_bytes;
  return sum;
}

uint64_t Disk::room_locked(SpillDirectory& directory) const {
  const auto left = [](uint64_t limit, uint64_t used) { return limit > used ? limit - used : 0; };
  uint64_t room =
      std::min(left(limit_bytes_, used_locked()), left(directory.limit_bytes, directory.used_bytes));
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

void Disk::charge_locked(SpillDirectory& directory, uint64_t bytes) {
  directory.used_bytes += bytes;
  directory.room.reserved_bytes += bytes;
}

SpillDirectory* Disk::reserve(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  SpillDirectory* best = nullptr;
  uint64_t best_room = 0;
  for (auto& directory : directories_) {
    const uint64_t room = room_locked(*directory);
    if (room >= bytes && (best == nullptr || room > best_room)) best = directory.get(), best_room = room;
  }
  if (best != nullptr) charge_locked(*best, bytes);
  return best;
}

void Disk::keep_stores_in(const std::string& path) {
  for (const auto& directory : directories_)
    if (directory->path == path && !os::is_on_network(directory->lock.get())) for_stores_ = directory.get();
}

bool Disk::take(SpillDirectory& directory, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (room_locked(directory) < bytes) return false;
  charge_locked(directory, bytes);
  return true;
}

void Disk::charge(SpillDirectory& directory, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  directory.used_bytes += bytes;
}

void Disk::release(SpillDirectory& directory, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  CHECK(directory.used_bytes >= bytes, "more was released on disk than was charged");
  directory.used_bytes -= bytes;
}

std::string Disk::why_full(uint64_t bytes) const {
  const std::lock_guard lock(mutex_);
  std::string why = fmt::format("{} bytes do not fit on disk:", bytes);
  for (auto& directory : directories_)
    why += fmt::format("{} {} has {} used and room for {} more", directory == directories_.front() ? "" : ";",
                       directory->path, directory->used_bytes, room_locked(*directory));
  return why;
}

void Disk::set_limits(uint64_t bytes, uint64_t least_free_bytes) {
  const std::lock_guard lock(mutex_);
  limit_bytes_ = bytes;
  least_free_bytes_ = least_free_bytes;
}

uint64_t Disk::limit() const {
  const std::lock_guard lock(mutex_);
  return limit_bytes_;
}
uint64_t Disk::used() const {
  const std::lock_guard lock(mutex_);
  return used_locked();
}
uint64_t Disk::used(const SpillDirectory& directory) const {
  const std::lock_guard lock(mutex_);
  return directory.used_bytes;
}
uint64_t Disk::room_in(SpillDirectory& directory) const {
  const std::lock_guard lock(mutex_);
  return room_locked(directory);
}

std::string Disk::object_path(const SpillDirectory& directory, uint64_t id) {
  return fmt::format("{}/obj-{:016x}", directory.path, id);
}
}  // namespace spillway::pool
