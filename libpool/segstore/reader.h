// reader.h - finding values by the shared index, without a lock and without writing anything others see.
//
// A View is one index. Views are never destroyed while the store is open, because a get may be under way in
// one; what they hold is given back at once, but for the addresses, which a later one gets (index.h,
// IndexPlaces). So a reader that meets many writers has addresses for two indexes, and some 400 bytes for
// each that it met. Threads: any. Children: a get of a forked child waits for no thread of its parent.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "libpool/segstore/control.h"
#include "libpool/segstore/index.h"
#include "libpool/segstore/mapping.h"
#include "spillway/store.hpp"

namespace spillway {

// Makes Values; a friend of theirs. `pinned` is theirs from then on.
struct ValueMaker {
  static Value make(segstore::Mapping* pinned, const char* data, uint64_t bytes, uint64_t sequence,
                    uint64_t expires_ms) {
    Value value;
    value.pin_ = pinned;
    value.data_ = data;
    value.size_ = bytes;
    value.sequence_ = sequence;
    value.expires_ms_ = expires_ms;
    value.found_ = true;
    return value;
  }
  static Value make(segstore::Mapping* pinned, const segstore::Record& record);
  static const segstore::Mapping& mapping_of(const Value& value) { return *value.pin_; }
};

namespace segstore {

struct View;
class Reader;

// What a quick get reads of a view, side by side, and worked out as far as it is the same for all gets. Never
// changes.
struct alignas(64) QuickView {
  QuickView(Reader& reader, const View& view, const uint64_t* newest_generation);

  const uint64_t* newest;  // the generation there is now, in CONTROL
  uint64_t generation;     // the view's own
  ShortKeySeed short_seed;
  const IndexHeader* header;
  const Bucket* main;
  std::atomic<Mapping*>* rows;
  const SegmentRow* segments;
  // While there are more buckets than `small` and not more than `large`, a hash's is `hash & large`, or
  // `hash & small` where that one is not there yet.
  uint64_t small, large;
  const Bucket* overflow;
  Reader* reader;
};

struct View {
  Index index;
  std::atomic<uint64_t> generation{0};
  std::string index_path;  // with fork_safe_mutex(), but for the writer
};

enum class Look { kMatch, kOther, kAgain, kCorrupt };

// What a slot points to, pinned, and found to be unchanged since.
struct Found {
  Mapping* mapping = nullptr;
  Record record;
};

class Reader {
 public:
  // `heal` makes an index where there is none; called without locks. It may return a private view.
  using Heal = std::function<StoreResult<std::shared_ptr<View>>(IndexPlaces&)>;
  Reader(os::Fd directory, std::string path, std::unique_ptr<MappingTable> table, Heal heal);
  ~Reader();

  // A get whatever happens; Store::get does by itself what is common.
  StoreResult<Value> get_slowly(std::string_view key);
  // Null: there is none yet, or the store is closed. Perhaps there is another one by now.
  const QuickView* quick() const { return quick_.load(std::memory_order_acquire); }
  // The index has grown out of the sizes that quick() is for. May leave it to the next who asks.
  void renew_quick();
  // The store was closed: from now on there is none.
  void end_quick_gets();
  // The view in use; a new one when the index has been replaced.
  StoreResult<View*> view();
  // The view that the writer made or attached.
  View* adopt(std::shared_ptr<View> view);
  // The writer's view has another file and generation now; `publish` tells the others.
  void rename(View& view, const std::string& path, uint64_t generation, const std::function<void()>& publish);
  Maps& maps() { return maps_; }
  // Of the segments of the view in use.
  MappingTable& table() { return *table_; }
  const std::string& path() const { return path_; }
  int directory() const { return maps_.directory(); }

  // The row's segment, pinned. Null: it went away, or `error` is set.
  Mapping* pin_row(View& view, uint32_t row, Errno& error);
  // Whether the slot's record has this key. kMatch: `found` is pinned.
  Look look(View& view, std::string_view key, uint64_t word, const uint64_t& slot, Found& found,
            StoreStatus& error);
  // Checks the record's CRCs, the first time it is asked for.
  StoreStatus verify(const Found& found) const;
  uint64_t now_ms(const View& view);
  StoreStatus corrupt(const Mapping& mapping, uint64_t offset, const char* what) const;
  // Lets mappings go of segments that are gone.
  void sweep(View& view);

 private:
  class Turn;
  StoreStatus refresh();
  void open_control();
  void make_quick();
  StoreResult<std::shared_ptr<View>> attach();
  void watch_retired();
  void verify_what_is_hot(const View& view);
  void retire_all();

  std::string path_;
  Maps maps_;
  std::unique_ptr<MappingTable> table_;
  std::atomic<uint32_t> mapped_{0};  // since everything was let go
  Heal heal_;
  Control control_;
  std::atomic<const uint64_t*> generation_;  // in control_, if there is one
  std::atomic<View*> current_{nullptr};
  std::atomic<const QuickView*> quick_{nullptr};
  std::atomic<bool> has_quick_ended_{false};
  std::atomic<uint64_t> latest_ms_{0};

  std::atomic<uint32_t> refreshing_{0};  // the token of the process whose turn it is
  IndexPlaces places_;                   // outlives the views
  // Changed in a turn, or before anybody else knows of the reader, and with fork_safe_mutex().
  std::vector<std::shared_ptr<View>> views_;
  std::vector<std::unique_ptr<QuickView>> quick_views_;  // all, as a get may be under way with each

  uint32_t next_row_to_verify_ = 0;  // the watcher's
  std::atomic<bool> has_watcher_{false};
  std::mutex watcher_mutex_;
  std::condition_variable watcher_wakes_;
  bool stopping_ = false;
  std::thread watcher_;
};

std::shared_ptr<View> make_view(Index index, uint64_t generation, std::string path);
// With all signals blocked: they are the program's.
std::thread start_thread(std::function<void()> body);
void end_thread(std::thread& thread);
StoreStatus failure(Errno error, const std::string& what);

}  // namespace segstore
}  // namespace spillway
