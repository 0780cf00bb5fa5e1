// store.hpp - a store of keys and values in a directory: one process writes, any number read, at memory
// speed.
//
//   auto store = spillway::Store::open("/var/lib/things");       // the writer; other processes: open_reader
//   if (!store) return complain(store.status().message());
//   store->put("colour", "blue");
//   auto value = store->get("colour");                            // a pointer into a mapped file, no copy
//   if (value && value->found()) use(value->view());
//
// A value stays valid as long as it is held, whatever the writer or the compactor does meanwhile, also after
// the store is closed; it costs others nothing but the disk space of its segment. A get that begins after a
// put has returned, in whatever process, sees that put. Readers take no lock and send no message; they go on
// while the writer is dead. The directory must be on a file system of this machine, not on NFS and the like.
//
// Errors are values: StoreStatus says what was tried and what to do; value() throws StoreError for those who
// prefer that. Everything may be called from any thread, except that one Snapshot, Batch or Value object is
// for one thread at a time. A forked child must not use its parent's writer: it gets kForked.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spillway/api.h"

namespace spillway {

namespace segstore {
class Mapping;
class StoreImpl;
class SnapshotImpl;
}  // namespace segstore

enum class StoreCode {
  kOk,
  kClosed,     // the store is not open
  kForked,     // opened by the parent of this process
  kReadOnly,   // a write through a reader
  kLocked,     // another process (named in the message) writes
  kNotAStore,  // no such directory, or no store in it
  kInvalid,    // an argument; the message says what was expected
  kFull,       // the index has reached max_index_bytes, or there are 131,000 files
  kNoSpace,    // the disk is full; nothing was changed
  kIo,         // the kernel's error, in os_error()
  kCorrupt,    // the bytes on disk fail their checksum; the message names file and offset
  kBusy,       // gave up waiting: a writer rebuilds the index, or changes too quickly for a snapshot
  kUnknown,    // of open_shared: the writing process died while it had this write, which may have been made
};

class [[nodiscard, gnu::visibility("default")]] StoreStatus {
 public:
  StoreStatus() = default;
  StoreStatus(StoreCode code, std::string message, int os_error = 0);
  bool ok() const { return detail_ == nullptr; }
  StoreCode code() const { return detail_ ? detail_->code : StoreCode::kOk; }
  const std::string& message() const;
  int os_error() const { return detail_ ? detail_->os_error : 0; }
  [[noreturn]] void raise() const;  // as a StoreError

 private:
  struct Detail {
    StoreCode code;
    std::string message;
    int os_error;
  };
  std::shared_ptr<const Detail> detail_;
};

class SPILLWAY_API StoreError : public std::runtime_error {
 public:
  explicit StoreError(const StoreStatus& status)
      : std::runtime_error(status.message()), code_(status.code()) {}
  StoreCode code() const { return code_; }

 private:
  StoreCode code_;
};

template <typename T>
class [[nodiscard]] StoreResult {
 public:
  StoreResult(T value) : value_(std::move(value)) {}               // NOLINT: reads as the value
  StoreResult(StoreStatus status) : status_(std::move(status)) {}  // NOLINT
  explicit operator bool() const { return status_.ok(); }
  bool ok() const { return status_.ok(); }
  const StoreStatus& status() const { return status_; }
  T& value() {
    if (!ok()) [[unlikely]]
      status_.raise();
    return value_;
  }
  T* operator->() { return &value(); }
  T& operator*() { return value(); }

 private:
  T value_{};
  StoreStatus status_;
};

// The bytes of a value in a mapped, immutable file. Move-only; keeps the mapping while it lives.
class SPILLWAY_API Value {
 public:
  Value() = default;
  Value(Value&& other) noexcept
      : pin_(std::exchange(other.pin_, nullptr)),
        data_(other.data_),
        size_(other.size_),
        sequence_(other.sequence_),
        expires_ms_(other.expires_ms_),
        found_(other.found_) {
    other.data_ = nullptr;
    other.size_ = 0;
    other.found_ = false;
  }
  Value& operator=(Value&& other) noexcept {
    if (this != &other) {
      this->~Value();
      new (this) Value(std::move(other));
    }
    return *this;
  }
  Value(const Value&) = delete;
  Value& operator=(const Value&) = delete;
  ~Value() {
    if (pin_ != nullptr) unpin();
  }

  bool found() const { return found_; }  // false: there is no such key
  const char* data() const { return data_; }
  uint64_t size() const { return size_; }
  std::string_view view() const { return {data_, size_}; }
  std::string str() const { return std::string(view()); }
  // Writes are numbered from 1; durable once Store::durable_sequence() has reached it.
  uint64_t sequence() const { return sequence_; }
  uint64_t expires_ms() const { return expires_ms_; }  // since 1970; 0: never

 private:
  friend class segstore::StoreImpl;
  friend class segstore::SnapshotImpl;
  friend struct ValueMaker;
  void unpin();
  segstore::Mapping* pin_ = nullptr;
  const char* data_ = nullptr;
  uint64_t size_ = 0, sequence_ = 0, expires_ms_ = 0;
  bool found_ = false;
};

// When a write counts as done. Whatever is chosen, it survives the death of the process.
enum class Durability {
  kAsync,  // at once; a power cut may take the latest writes, never one from the middle
  kGroup,  // when it is on the device; one flush serves all that wait. Readers see it meanwhile
  kSync,   // when it is on the device, by a flush of its own, and nobody sees it before
};

struct StoreOptions {
  bool create = true;                            // an empty or missing directory becomes a store
  Durability durability = Durability::kGroup;    // of writes that do not say
  uint64_t segment_bytes = uint64_t{256} << 20;  // 64 KiB to 256 MiB; the first segments are smaller
  uint64_t max_index_bytes = uint64_t{4} << 30;  // about 15 bytes a key; kFull beyond
  std::string index_directory;  // empty: /dev/shm, or the store's directory where that is full
  bool auto_compact = true;     // a thread of the writer keeps space within 2.5x of live data
};

struct PutOptions {
  std::optional<Durability> durability;
  std::chrono::milliseconds ttl{0};  // 0: for ever
  uint64_t alignment = 1;            // of the value's address; a power of two up to 4096
};

// Several writes that become visible, and survive, together or not at all. All values under 1 MiB of a batch
// lie in one segment, which must have room for them.
class SPILLWAY_API Batch {
 public:
  void put(std::string_view key, std::string_view value, const PutOptions& options = {});
  void remove(std::string_view key);
  size_t size() const { return writes_.size(); }
  void clear() { writes_.clear(); }

  struct Write {
    bool is_put;
    std::string key, value;
    PutOptions options;
  };
  const std::vector<Write>& writes() const { return writes_; }

 private:
  std::vector<Write> writes_;
};

struct SegmentStatus {
  std::string name;
  uint64_t capacity_bytes = 0, used_bytes = 0, live_bytes = 0, dead_bytes = 0, live_records = 0;
  uint64_t min_sequence = 0, max_sequence = 0;
  bool is_sealed = false, is_one_value = false;
  bool is_damaged = false;  // part of it cannot be read; verify_store() tells which
};

struct StoreState {
  std::string directory, index_file;
  uint64_t keys = 0;
  uint64_t live_bytes = 0, dead_bytes = 0;  // records, with their headers
  uint64_t disk_bytes = 0;                  // blocks of all segments and the reserve
  uint64_t index_bytes = 0;                 // memory of the index, shared by all processes
  uint64_t sequence = 0, durable_sequence = 0;
  uint64_t writer_pid = 0;  // 0: nobody writes
  std::vector<SegmentStatus> segments;
};

// All pairs as they were at one moment. Memory: about 31 bytes a key, of this process. Holds the segments it
// needs on disk.
class SPILLWAY_API Snapshot {
 public:
  Snapshot();
  Snapshot(Snapshot&&) noexcept;
  Snapshot& operator=(Snapshot&&) noexcept;
  ~Snapshot();

  uint64_t sequence() const;  // all writes up to this one, none after
  uint64_t size() const;      // keys, expired ones included
  StoreResult<Value> get(std::string_view key) const;

  // Called with each pair; false ends it. Pairs that are corrupt end it with kCorrupt, or are told and left
  // out.
  using Each = std::function<bool(std::string_view key, const Value& value)>;
  using Corrupt = std::function<void(const StoreStatus& status)>;
  StoreStatus for_each(const Each& each, const Corrupt& corrupt = nullptr) const;
  // Keys that begin with `prefix`, in the order of their bytes; or those from `start` (if given) to `end` (if
  // given, exclusive). Looks at every key of the snapshot and sorts those it wants, unless make_ordered() was
  // called.
  StoreStatus for_each_prefix(std::string_view prefix, const Each& each,
                              const Corrupt& corrupt = nullptr) const;
  StoreStatus for_each_range(std::optional<std::string_view> start, std::optional<std::string_view> end,
                             const Each& each, const Corrupt& corrupt = nullptr) const;
  // An ordered index of this snapshot: all keys are sorted once, and from then on the two above begin where
  // they should by halving. 8 bytes a key, and 16 more while it is made.
  StoreStatus make_ordered();
  // Keys from `start` (if given) to `end` (if given, exclusive), from several threads at once, in no order.
  StoreStatus for_each_parallel(
      std::optional<std::string_view> start, std::optional<std::string_view> end, unsigned threads,
      const std::function<void(unsigned thread, std::string_view key, const Value& value)>& each) const;

 private:
  friend class Store;
  std::unique_ptr<segstore::SnapshotImpl> impl_;
};

class SPILLWAY_API Store {
 public:
  Store();
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();  // close()

  // The one writer, which also reads. kLocked names the process that has the store.
  static StoreResult<Store> open(const std::string& directory, const StoreOptions& options = {});
  // One of any number that write, of one user: the first is the writer and serves the others through shared
  // memory, and when it ends or dies another takes its place; each call has its result once it is made, as
  // with open. A process that is a writer by open() has the store for itself, and is the only one.
  static StoreResult<Store> open_shared(const std::string& directory, const StoreOptions& options = {});
  // One of any number of readers. Needs no permission to write.
  static StoreResult<Store> open_reader(const std::string& directory);
  // Idempotent; may overlap with other calls, which then return kClosed. What was written is flushed.
  StoreStatus close();
  bool is_open() const;

  StoreResult<Value> get(std::string_view key) const;
  // The sequence number of the write.
  StoreResult<uint64_t> put(std::string_view key, std::string_view value, const PutOptions& options = {});
  // False: there was none.
  StoreResult<bool> remove(std::string_view key, std::optional<Durability> durability = std::nullopt);
  StoreResult<uint64_t> write(const Batch& batch, std::optional<Durability> durability = std::nullopt);
  // Replaces what is there by `desired` (nullopt: nothing) only if it is `expected` (nullopt: nothing).
  // False: it was something else.
  StoreResult<bool> compare_and_set(std::string_view key, std::optional<std::string_view> expected,
                                    std::optional<std::string_view> desired, const PutOptions& options = {});
  // The same, by the sequence number of the value there is; 0: none.
  StoreResult<bool> put_if_sequence(std::string_view key, uint64_t expected, std::string_view value,
                                    const PutOptions& options = {});

  StoreResult<Snapshot> snapshot() const;
  // All that was written before is on the device.
  StoreStatus sync();
  uint64_t durable_sequence() const;
  // Rewrites every segment that has dead records in it. Reads and writes go on.
  StoreStatus compact();
  StoreResult<StoreState> state() const;
  // A store of its own in `directory` (missing or empty, not inside this one) with all that was written
  // before: sealed segments become hard links, or copies on another file system. Works while others write.
  StoreStatus backup(const std::string& directory) const;

 private:
  friend struct StoreAccess;
  std::unique_ptr<segstore::StoreImpl> impl_;
};

// What is wrong with the files of a store, told one by one.
struct StoreFinding {
  std::string file;
  uint64_t offset = 0;
  std::string what;
};
struct VerifyReport {
  uint64_t segments = 0, records = 0, bytes = 0;
  std::vector<StoreFinding> findings;  // at most 1000
};
// Reads every byte and compares every checksum; changes nothing. The store may be in use.
SPILLWAY_API StoreResult<VerifyReport> verify_store(const std::string& directory);

// One record as it lies in a segment, live or dead.
struct StoredRecord {
  std::string file;
  uint64_t offset = 0, sequence = 0, expires_ms = 0, bytes = 0;
  enum class Kind { kPut, kRemove, kBatchEnd } kind = Kind::kPut;
  bool in_batch = false, intact = true;
  std::string_view key, value;
};
SPILLWAY_API StoreStatus dump_store(const std::string& directory,
                                    const std::function<void(const StoredRecord&)>& each);

// map(key, value, emit) for each pair of the snapshot in [start, end), in `threads` threads; emit(group,
// result) hands results on, and reduce(into, more) joins those of a group. Reduce must be associative and
// commutative.
template <typename Result>
StoreResult<std::map<std::string, Result>> map_reduce(
    const Snapshot& snapshot,
    const std::function<void(std::string_view, const Value&,
                             const std::function<void(std::string, Result)>&)>& map,
    const std::function<void(Result&, Result&&)>& reduce,
    std::optional<std::string_view> start = std::nullopt, std::optional<std::string_view> end = std::nullopt,
    unsigned threads = 4) {
  std::vector<std::map<std::string, Result>> parts(threads == 0 ? 1 : threads);
  auto join = [&reduce](std::map<std::string, Result>& into, std::string group, Result&& result) {
    auto [at, is_new] = into.try_emplace(std::move(group), std::move(result));
    if (!is_new) reduce(at->second, std::move(result));  // try_emplace moved nothing then
  };
  StoreStatus status =
      snapshot.for_each_parallel(start, end, static_cast<unsigned>(parts.size()),
                                 [&](unsigned thread, std::string_view key, const Value& value) {
                                   map(key, value, [&](std::string group, Result result) {
                                     join(parts[thread], std::move(group), std::move(result));
                                   });
                                 });
  if (!status.ok()) return status;
  std::map<std::string, Result> all = std::move(parts[0]);
  for (size_t i = 1; i < parts.size(); ++i)
    for (auto& [group, result] : parts[i]) join(all, group, std::move(result));
  return all;
}

// Which of `shards` a key belongs to (Lamping and Veach, "A fast, minimal memory, consistent hash algorithm",
// 2014): one shard more moves 1/(shards + 1) of the keys, all of them to the new one.
SPILLWAY_API uint32_t jump_consistent_hash(uint64_t hash, uint32_t shards);

// Several stores as one, for writers and devices in parallel. The list of directories, in its order, is the
// layout: always open it with the same list, or one longer (see add_shard).
class SPILLWAY_API ShardedStore {
 public:
  static StoreResult<ShardedStore> open(const std::vector<std::string>& directories,
                                        const StoreOptions& options = {});
  static StoreResult<ShardedStore> open_reader(const std::vector<std::string>& directories);
  uint32_t shard_of(std::string_view key) const;
  Store& shard(uint32_t number) { return *shards_[number]; }
  uint32_t size() const { return static_cast<uint32_t>(shards_.size()); }

  // Without shards, not opened or moved from: kClosed.
  StoreResult<Value> get(std::string_view key) const { return of(key).get(key); }
  StoreResult<uint64_t> put(std::string_view key, std::string_view value, const PutOptions& options = {}) {
    return of(key).put(key, value, options);
  }
  StoreResult<bool> remove(std::string_view key) { return of(key).remove(key); }
  // Opens one more and moves to it the keys that are its own now; returns how many. Nobody else may use the
  // shards meanwhile. When it fails half way, no key is lost: call it again, with the same directory, also if
  // size() says that it is one of the shards already; 0 if there was nothing left to do. Where the process
  // died in it, open the former list and call it again before anything is written.
  StoreResult<uint64_t> add_shard(const std::string& directory, const StoreOptions& options = {});
  StoreStatus close();

 private:
  Store& of(std::string_view key) const;
  StoreStatus for_each_of_last(
      uint32_t count, const std::function<StoreStatus(Store&, std::string_view, const Value&)>& each);
  StoreStatus copy_to(Store& fresh);
  StoreResult<uint64_t> remove_moved();
  class NewShard;
  StoreResult<uint64_t> finish(const NewShard& shard);
  std::vector<std::unique_ptr<Store>> shards_;
};

}  // namespace spillway
