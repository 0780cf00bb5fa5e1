// shards.cc - several stores as one: the key's hash chooses.
#include <filesystem>

#include "libpool/segstore/format.h"
#include "libpool/segstore/store_impl.h"
#include "spillway/store.hpp"

namespace spillway {

namespace {

// Files in the directory of a shard that is being added. While it has copies that nothing may be looked for
// in yet: a call that failed then, or died, leaves them, and keys that are removed afterwards must not come
// back with them. And when it has all, until the others have none of them any more.
constexpr const char* kCopying = "COPYING";
constexpr const char* kMoving = "MOVING";

}  // namespace

class ShardedStore::NewShard {
 public:
  explicit NewShard(const std::string& directory) : path_(directory) {
    Result<os::Fd> fd = os::open_directory(directory.c_str(), false);
    error_ = fd.error();
    if (fd) directory_ = std::move(*fd);
  }

  bool has(const char* mark) const {
    return directory_.valid() && os::open_in(directory_.get(), mark, os::OpenFor::kReading);
  }
  static StoreStatus none_in(const std::vector<std::string>& directories) {
    for (const std::string& each : directories)
      if (NewShard(each).has(kCopying))
        return {StoreCode::kInvalid,
                each + ": a shard that was not added yet; open the others, and call add_shard again"};
    return {};
  }
  StoreStatus begin_copies(Store& fresh) const {
    if (!directory_.valid()) return segstore::failure(error_, path_);
    if (has(kMoving)) return {};
    const bool has_others = has(kCopying);
    if (Result<os::Fd> mark = os::open_in(directory_.get(), kCopying, os::OpenFor::kCreating); !mark)
      return segstore::failure(mark.error(), path_ + "/" + kCopying);
    if (Errno e = os::flush_all(directory_.get()); !e.ok()) return segstore::failure(e, path_);
    return has_others ? empty(fresh) : StoreStatus();
  }
  StoreStatus end_copies() const {
    if (Errno e = os::rename_in(directory_.get(), kCopying, kMoving); !e.ok() && !has(kMoving))
      return segstore::failure(e, path_ + "/" + kMoving);
    if (Errno e = os::flush_all(directory_.get()); !e.ok()) return segstore::failure(e, path_);
    return {};
  }
  StoreStatus forget(const char* mark) const {
    if (Errno e = os::unlink_in(directory_.get(), mark); !e.ok())
      return segstore::failure(e, path_ + "/" + mark);
    return {};
  }

 private:
  static StoreStatus empty(Store& fresh) {
    StoreResult<Snapshot> snapshot = fresh.snapshot();
    if (!snapshot) return snapshot.status();
    StoreStatus inner;
    StoreStatus bad = snapshot->for_each([&](std::string_view key, const Value&) {
      inner = fresh.remove(key, Durability::kAsync).status();
      return inner.ok();
    });
    return bad.ok() ? inner : bad;
  }

  std::string path_;
  os::Fd directory_;
  Errno error_;
};

uint32_t jump_consistent_hash(uint64_t hash, uint32_t shards) {
  int64_t chosen = -1, next = 0;
  while (next < static_cast<int64_t>(shards)) {
    chosen = next;
    hash = hash * 2862933555777941757ULL + 1;
    next = static_cast<int64_t>(static_cast<double>(chosen + 1) * (static_cast<double>(int64_t{1} << 31) /
                                                                   static_cast<double>((hash >> 33) + 1)));
  }
  return static_cast<uint32_t>(chosen < 0 ? 0 : chosen);
}

uint32_t ShardedStore::shard_of(std::string_view key) const {
  // Not seeded: every process must choose alike.
  return jump_consistent_hash(segstore::hash_of(key, 0), size());
}

Store& ShardedStore::of(std::string_view key) const {
  static Store none;
  return shards_.empty() ? none : *shards_[shard_of(key)];
}

StoreResult<ShardedStore> ShardedStore::open(const std::vector<std::string>& directories,
                                             const StoreOptions& options) {
  if (directories.empty())
    return StoreStatus(StoreCode::kInvalid, "no directories; at least one shard is needed");
  if (StoreStatus bad = NewShard::none_in(directories); !bad.ok()) return bad;
  ShardedStore all;
  for (const std::string& directory : directories) {
    StoreResult<Store> store = Store::open(directory, options);
    if (!store) return store.status();
    all.shards_.push_back(std::make_unique<Store>(std::move(*store)));
  }
  return all;
}

StoreResult<ShardedStore> ShardedStore::open_reader(const std::vector<std::string>& directories) {
  if (directories.empty())
    return StoreStatus(StoreCode::kInvalid, "no directories; at least one shard is needed");
  if (StoreStatus bad = NewShard::none_in(directories); !bad.ok()) return bad;
  ShardedStore all;
  for (const std::string& directory : directories) {
    StoreResult<Store> store = Store::open_reader(directory);
    if (!store) return store.status();
    all.shards_.push_back(std::make_unique<Store>(std::move(*store)));
  }
  return all;
}

// Calls `each` with the keys of the others that are the last one's, if there are `count` of them.
StoreStatus ShardedStore::for_each_of_last(
    uint32_t count, const std::function<StoreStatus(Store&, std::string_view, const Value&)>& each) {
  for (uint32_t i = 0; i + 1 < count; ++i) {
    StoreResult<Snapshot> snapshot = shards_[i]->snapshot();
    if (!snapshot) return snapshot.status();
    StoreStatus inner;
    StoreStatus bad = snapshot->for_each([&](std::string_view key, const Value& value) {
      if (jump_consistent_hash(segstore::hash_of(key, 0), count) + 1 == count)
        inner = each(*shards_[i], key, value);
      return inner.ok();
    });
    if (!bad.ok()) return bad;
    if (!inner.ok()) return inner;
  }
  return {};
}

StoreStatus ShardedStore::copy_to(Store& fresh) {
  PutOptions put;
  put.durability = Durability::kAsync;
  return for_each_of_last(size() + 1, [&](Store&, std::string_view key, const Value& value) {
    put.ttl = std::chrono::milliseconds(0);
    if (value.expires_ms() != 0) {
      const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::system_clock::now().time_since_epoch());
      put.ttl = std::max(std::chrono::milliseconds(value.expires_ms()) - now, std::chrono::milliseconds(1));
    }
    return fresh.put(key, value.view(), put).status();
  });
}

StoreResult<uint64_t> ShardedStore::remove_moved() {
  uint64_t moved = 0;
  StoreStatus bad = for_each_of_last(size(), [&](Store& from, std::string_view key, const Value&) {
    StoreResult<bool> removed = from.remove(key, Durability::kAsync);
    moved += removed ? 1 : 0;
    return removed.status();
  });
  for (uint32_t i = 0; bad.ok() && i + 1 < size(); ++i) bad = shards_[i]->sync();
  if (!bad.ok()) return bad;
  return moved;
}

StoreResult<uint64_t> ShardedStore::add_shard(const std::string& directory, const StoreOptions& options) {
  if (shards_.empty()) return never_opened();
  StoreResult<StoreState> last = shards_.back()->state();
  if (!last) return last.status();
  std::error_code differs;
  if (std::filesystem::equivalent(directory, last->directory, differs)) {
    const NewShard shard(directory);
    if (!shard.has(kMoving)) return uint64_t{0};
    return finish(shard);
  }
  StoreResult<Store> opened = Store::open(directory, options);
  if (!opened) return opened.status();
  auto fresh = std::make_unique<Store>(std::move(*opened));
  // 1. Copies, all of them on the device before anything is removed.
  const NewShard shard(directory);
  if (StoreStatus bad = shard.begin_copies(*fresh); !bad.ok()) return bad;
  if (StoreStatus bad = copy_to(*fresh); !bad.ok()) return bad;
  if (StoreStatus bad = fresh->sync(); !bad.ok()) return bad;
  if (StoreStatus bad = shard.end_copies(); !bad.ok()) return bad;
  // 2. From here on they are looked for there.
  shards_.push_back(std::move(fresh));
  return finish(shard);
}

StoreResult<uint64_t> ShardedStore::finish(const NewShard& shard) {
  StoreResult<uint64_t> moved = remove_moved();
  if (!moved) return moved;
  if (StoreStatus bad = shard.forget(kMoving); !bad.ok()) return bad;
  return moved;
}

StoreStatus ShardedStore::close() {
  StoreStatus first;
  for (auto& shard : shards_) {
    StoreStatus status = shard->close();
    if (first.ok()) first = status;
  }
  return first;
}

}  // namespace spillway
