#include "pooldaemon/store/small_names.h"

#include <fmt/format.h>

#include <atomic>
#include <cstring>
#include <vector>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "base/os/directory.h"
#include "base/os/folder.h"
#include "libpool/segstore/control.h"
#include "libpool/segstore/files.h"
#include "libpool/segstore/format.h"
#include "libpool/segstore/store_impl.h"
#include "pooldaemon/log.h"
#include "pooldaemon/store/store_folder.h"

namespace spillway::pool {
namespace {

constexpr uint64_t kSegmentBytes = 16 * kMiB;
// What a quick writer may be ahead of the compactor, the segment that is being filled, and the reserve.
constexpr uint64_t kRoomBytes = 6 * kSegmentBytes;

// Each client reserves as many addresses, twice; 70 million names.
constexpr uint64_t kMostIndexBytes = kGiB;

class NeverFlushed : public segstore::Files {
 public:
  Errno flush(int) override { return {}; }
  Errno flush_directory(int) override { return {}; }
  bool lasts() const override { return false; }
};
NeverFlushed& never_flushed() {
  static NeverFlushed files;
  return files;
}

// There, it may be somebody's folder that happens to have this name.
bool is_a_store(const std::string& directory, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    if (!is_of_store(name)) return false;
  if (names.empty() || (names.size() == 1 && names[0] == "LOCK")) return true;  // one that was not finished
  Result<os::Fd> fd = os::open_directory(directory.c_str(), false);
  return fd && segstore::Control::open(fd->get());
}

}  // namespace

wire::SmallNamesState SmallNames::state() const {
  return state_ == nullptr ? wire::SmallNamesState::kOff : std::atomic_ref(*state_).load();
}
void SmallNames::tell(wire::SmallNamesState state) { std::atomic_ref(*state_).store(state); }

void SmallNames::start(std::string directory, wire::SmallNamesState& state) {
  directory_ = std::move(directory);
  state_ = &state;
  if (!os::exists(directory_.c_str())) return;
  if (!is_a_store(directory_, names_in(directory_))) {
    log_line("no_small_names reason=" + quoted(directory_ + ": it is there and no store; it stays as it is"));
    state_ = nullptr;
    return directory_.clear();
  }
  // Without its segments it is a new store to whoever opens it, and to those who have it open.
  for (const std::string& name : names_in(directory_))
    if (segstore::id_in_name(name) != 0 || name == "MANIFEST" || name == "MANIFEST.new" || name == "RESERVE")
      if (Errno e = os::remove_file((directory_ + "/" + name).c_str()); !e.ok())
        return give_up(fmt::format("{}/{}: {}", directory_, name, strerror(e.code())));
  (void)open();
}

bool SmallNames::open() {
  if (Errno e = os::make_private_directory(directory_.c_str()); !e.ok())
    return give_up(fmt::format("{}: {}", directory_, strerror(e.code()))), false;
  StoreOptions options;
  options.durability = Durability::kAsync;
  options.segment_bytes = kSegmentBytes;
  options.max_index_bytes = kMostIndexBytes;
  StoreResult<spillway::Store> store = StoreAccess::open(directory_, options, never_flushed());
  if (!store) return give_up(store.status().message()), false;
  store_ = std::move(*store);
  // Only now: those who read in what a killed daemon left have been turned away by this.
  if (!has_room_(kRoomBytes)) return give_up("the disk has no room to spare"), false;
  until_look_ = kSegmentBytes;
  tell(wire::SmallNamesState::kOn);
  return true;
}

bool SmallNames::put(std::string_view name, const wire::SmallObject& object) {
  if (state() == wire::SmallNamesState::kOff) return false;
  if (!store_.is_open() && !open()) return false;
  wire::write_small_object(object, value_);
  if (value_.size() > until_look_) {
    if (!has_room_(kRoomBytes)) return give_up("the disk has no room to spare"), false;
    until_look_ = kSegmentBytes;
  }
  until_look_ -= value_.size();
  PutOptions options;
  options.alignment = wire::kSmallNameAlignment;
  if (StoreResult<uint64_t> done = store_.put(name, value_, options); !done)
    return give_up(done.status().message()), false;
  return true;
}

void SmallNames::remove(std::string_view name) {
  if (!store_.is_open()) return;
  if (StoreResult<bool> done = store_.remove(name); !done) give_up(done.status().message());
}

void SmallNames::give_up(const std::string& why) {
  log_line("no_small_names reason=" + quoted(why));
  end();
}

void SmallNames::end() {
  if (state_ == nullptr) return;
  tell(wire::SmallNamesState::kOff);  // before anything else: clients may be reading
  state_ = nullptr;
  remove_files();
}

void SmallNames::remove_files() {
  if (Errno e = remove_store(store_, directory_); !e.ok())
    log_line(fmt::format("left_behind path={} reason={}", quoted(directory_), quoted(strerror(e.code()))));
}

// A look at each file; who asks again soon is told the same.
uint64_t SmallNames::disk_bytes() {
  if (!store_.is_open()) return 0;
  if (const uint64_t now = os::monotonic_ms(); now - disk_bytes_.at_ms >= 1000)
    if (StoreResult<StoreState> state = store_.state()) disk_bytes_ = {state->disk_bytes, now};
  return disk_bytes_.bytes;
}

}  // namespace spillway::pool
