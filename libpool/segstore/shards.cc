// shards.cc - several stores as one: the key's hash chooses.
#include "libpool/segstore/format.h"
#include "libpool/segstore/store_impl.h"
#include "spillway/store.hpp"

namespace spillway {

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
  ShardedStore all;
  for (const std::string& directory : directories) {
    StoreResult<Store> store = Store::open_reader(directory);
    if (!store) return store.status();
    all.shards_.push_back(std::make_unique<Store>(std::move(*store)));
  }
  return all;
}

StoreResult<uint64_t> ShardedStore::add_shard(const std::string& directory, const StoreOptions& options) {
  if (shards_.empty()) return never_opened();
  StoreResult<Store> opened = Store::open(directory, options);
  if (!opened) return opened.status();
  const uint32_t number = size();
  auto fresh = std::make_unique<Store>(std::move(*opened));
  uint64_t moved = 0;
  PutOptions put;
  put.durability = Durability::kAsync;
  std::vector<std::vector<std::string>> leaving(number);
  // 1. Copies, all of them on the device before anything is removed.
  for (uint32_t i = 0; i < number; ++i) {
    StoreResult<Snapshot> snapshot = shards_[i]->snapshot();
    if (!snapshot) return snapshot.status();
    StoreStatus inner;
    StoreStatus bad = snapshot->for_each([&](std::string_view key, const Value& value) {
      if (jump_consistent_hash(segstore::hash_of(key, 0), number + 1) != number) return true;
      put.ttl = std::chrono::milliseconds(0);
      if (value.expires_ms() != 0) {
        const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
            std::chrono::system_clock::now().time_since_epoch());
        put.ttl = std::max(std::chrono::milliseconds(value.expires_ms()) - now, std::chrono::milliseconds(1));
      }
      StoreResult<uint64_t> done = fresh->put(key, value.view(), put);
      if (!done) inner = done.status();
      leaving[i].emplace_back(key);
      return inner.ok();
    });
    if (!bad.ok()) return bad;
    if (!inner.ok()) return inner;
  }
  if (StoreStatus bad = fresh->sync(); !bad.ok()) return bad;
  // 2. From here on they are looked for there.
  shards_.push_back(std::move(fresh));
  for (uint32_t i = 0; i < number; ++i) {
    for (const std::string& key : leaving[i]) {
      StoreResult<bool> removed = shards_[i]->remove(key, Durability::kAsync);
      if (!removed) return removed.status();
      ++moved;
    }
    if (StoreStatus bad = shards_[i]->sync(); !bad.ok()) return bad;
  }
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
