#include "libpool/segstore/reader.h"

#include <csignal>
#include <cstring>

#include "base/os/clock.h"
#include "libpool/segstore/fork_safe.h"
#include "libpool/segstore/scan.h"

namespace spillway {

Value ValueMaker::make(segstore::Mapping* pinned, const segstore::Record& record) {
  return make(pinned, record.value(), record.value_bytes, record.sequence, record.expires_ms);
}

namespace segstore {
namespace {

constexpr uint32_t kMostMapped = 30'000;  // the kernel allows a process 65,530
constexpr uint64_t kWaitForWriterMs = 60'000;
constexpr uint64_t kNoGeneration = UINT64_MAX;  // no view has it

}  // namespace

std::shared_ptr<View> make_view(Index index, uint64_t generation, std::string path) {
  auto view = std::make_shared<View>();
  view->index = std::move(index);
  view->generation = generation;
  view->index_path = std::move(path);
  return view;
}

QuickView::QuickView(Reader& of, const View& view, const uint64_t* newest_generation)
    : newest(newest_generation),
      generation(view.generation),
      short_seed(view.index.header().hash_seed),
      header(&view.index.header()),
      main(&view.index.main_bucket(0)),
      rows(&of.table()[0]),
      segments(&view.index.row(0)),
      overflow(&view.index.overflow_bucket(0)),
      reader(&of) {
  const auto bits = static_cast<unsigned>(std::bit_width(Index::buckets_of(view.index.state())));
  small = (uint64_t{1} << (bits - 1)) - 1;
  large = (uint64_t{1} << bits) - 1;
}

std::thread start_thread(std::function<void()> body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(body));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

StoreStatus failure(Errno error, const std::string& what) {
  const StoreCode code = error == ENOSPC || error == EDQUOT ? StoreCode::kNoSpace : StoreCode::kIo;
  return {code, what + ": " + strerror(error.code()), error.code()};
}

Reader::Reader(os::Fd directory, std::string path, std::unique_ptr<MappingTable> table, Heal heal)
    : path_(std::move(path)),
      maps_(std::move(directory)),
      table_(std::move(table)),
      heal_(std::move(heal)),
      generation_(&kNoGeneration) {}

Reader::~Reader() {
  {
    const std::lock_guard lock(watcher_mutex_);
    stopping_ = true;
  }
  watcher_wakes_.notify_all();
  end_thread(watcher_);
}

void end_thread(std::thread& thread) {
  if (thread.joinable()) thread.join();
}

StoreStatus Reader::corrupt(const Mapping& mapping, uint64_t offset, const char* what) const {
  return {StoreCode::kCorrupt, path_ + "/" + segment_name(mapping.bytes().header.file_id) + ": at byte " +
                                   std::to_string(offset) + ": " + what};
}

uint64_t Reader::now_ms(const View& view) {
  const uint64_t now =
      std::max({os::wall_clock_ms(), load(view.index.header().latest_clock_ms), latest_ms_.load()});
  latest_ms_.store(now, std::memory_order_relaxed);
  return now;
}

Mapping* Reader::pin_row(View& view, uint32_t number, Errno& error) {
  error = {};
  const uint64_t file_id = load(view.index.row(number).file_id);
  if (file_id == 0) return nullptr;
  Mapping* known = (*table_)[number].load(std::memory_order_acquire);
  if (known != nullptr && known->try_pin()) {
    if (known->file_id() == file_id) [[likely]]
      return known;
    known->unpin();
  }
  Result<Mapping*> mapped = maps_.map(file_id, view.index.header().store);
  if (!mapped) {
    error = mapped.error();
    return nullptr;
  }
  Mapping* const fresh = *mapped;
  if (mapped_.fetch_add(1) >= kMostMapped) {
    retire_all();
    known = nullptr;
  }
  if (table_->put(number, view.generation, known, fresh)) {
    if (known != nullptr) Maps::retire({known});
  } else {
    Maps::retire({fresh});  // this one goes with its last pin
  }
  // The first mapping brings the thread that lets mappings go when segments do.
  if (!has_watcher_.load(std::memory_order_relaxed) && !has_watcher_.exchange(true))
    watcher_ = start_thread([this] { watch_retired(); });
  return fresh;
}

Look Reader::look(View& view, std::string_view key, uint64_t word, const uint64_t& slot, Found& found,
                  StoreStatus& error) {
  const Location at = location_of(word);
  Errno why;
  Mapping* mapping = pin_row(view, at.row, why);
  if (mapping == nullptr) {
    if (why.ok() || why == ENOENT || load(slot) != word) return Look::kAgain;
    error = failure(why, path_ + ": mapping a segment");
    return Look::kCorrupt;
  }
  const SegmentBytes& bytes = mapping->bytes();
  Record& record = found.record;
  const bool readable = read_record(bytes, at.offset, record);
  const bool same = readable && record.header.key_bytes() == key.size() &&
                    (key.empty() || memcmp(bytes.base + record.at.key, key.data(), key.size()) == 0);
  // Only if the slot still says what it said was this its record, and not a newer segment's in the same row.
  if (load(slot) != word || mapping->file_id() != load(view.index.row(at.row).file_id)) {
    mapping->unpin();
    return Look::kAgain;
  }
  if (same) {
    found.mapping = mapping;
    return Look::kMatch;
  }
  const bool damaged = !readable || !header_is_intact(bytes, record);
  if (damaged) error = corrupt(*mapping, at.offset, "a record's header fails its checksum");
  mapping->unpin();
  return damaged ? Look::kCorrupt : Look::kOther;
}

StoreStatus Reader::verify(const Found& found) const {
  const Record& record = found.record;
  if (found.mapping->is_verified(record.offset)) [[likely]]
    return {};
  if (!header_is_intact(found.mapping->bytes(), record))
    return corrupt(*found.mapping, record.offset, "a record's header fails its checksum");
  if (!record.value_is_intact())
    return corrupt(*found.mapping, record.offset, "a record's value fails its checksum");
  found.mapping->set_verified(record.offset);
  return {};
}

StoreResult<Value> Reader::get_slowly(std::string_view key) {
  for (unsigned tries = 0;; ++tries) {
    StoreResult<View*> current = view();
    if (!current) [[unlikely]]
      return current.status();
    View& view = **current;
    const uint32_t hash = index_hash(hash_of(key, view.index.header().hash_seed));
    const uint64_t state = view.index.state();
    if (state == 0) [[unlikely]]
      continue;  // it was left meanwhile
    Found found;
    StoreStatus error;
    bool again = false;
    const bool match = view.index.find(hash, state, [&](uint64_t word, const uint64_t& slot) {
      const Look look = this->look(view, key, word, slot, found, error);
      again = look == Look::kAgain;
      return again || look == Look::kMatch;
    });
    if (match && !again) {
      if (StoreStatus bad = verify(found); !bad.ok()) [[unlikely]] {
        found.mapping->unpin();
        return bad;
      }
      if (found.record.expires_ms != 0 && found.record.expires_ms <= now_ms(view)) [[unlikely]] {
        found.mapping->unpin();
        return Value();
      }
      return ValueMaker::make(found.mapping, found.record);
    }
    if (!again) {
      const uint64_t* generation = generation_.load(std::memory_order_acquire);
      const bool same_view = generation == &kNoGeneration || load(*generation) == view.generation;
      if (view.index.state() == state && same_view) return error.ok() ? StoreResult<Value>(Value()) : error;
    } else if (tries > 100) {
      // A segment that the index names, and nobody can find: not a moment's matter any more.
      if (tries > 2000)
        return StoreStatus(StoreCode::kCorrupt, path_ + ": a segment that holds this key is missing", ENOENT);
      os::sleep_us(1000);
    }
  }
}

StoreResult<View*> Reader::view() {
  View* now = current_.load(std::memory_order_acquire);
  const uint64_t* generation = generation_.load(std::memory_order_acquire);
  if (now != nullptr && load(*generation) == now->generation) [[likely]]
    return now;
  if (StoreStatus bad = refresh(); !bad.ok()) return bad;
  return current_.load(std::memory_order_acquire);
}

void Reader::retire_all() {
  mapped_ = 0;
  table_->retire_if([](uint32_t, const Mapping&) { return true; });
}

// In a turn, or before anybody else knows of the reader.
View* Reader::adopt(std::shared_ptr<View> fresh) {
  View* const before = current_.load(std::memory_order_acquire);
  View* const view = fresh.get();
  // 1. From here on nobody puts a mapping of the former index's segments into the table: their numbers may be
  // those of other segments, if the store was begun anew.
  table_->begin(view->generation);
  retire_all();
  // 2. The new one.
  if (!control_.is_open()) open_control();
  {
    const std::lock_guard lock(fork_safe_mutex());
    views_.push_back(std::move(fresh));
    current_.store(view, std::memory_order_release);
    make_quick();
  }
  // 3. Nothing is looked for in the old one any more.
  if (before != nullptr) before->index.leave(places_);
  return view;
}

// With fork_safe_mutex(), like all that changes what it reads.
void Reader::make_quick() {
  const View* const view = current_.load(std::memory_order_acquire);
  if (view == nullptr) return;
  quick_views_.push_back(
      std::make_unique<QuickView>(*this, *view, generation_.load(std::memory_order_acquire)));
  quick_.store(quick_views_.back().get());
  if (has_quick_ended_.load()) quick_.store(nullptr);  // whichever of the two comes second sees the other
}

void Reader::renew_quick() {
  const std::lock_guard lock(fork_safe_mutex());
  const QuickView* const now = quick();
  if (now == nullptr) return;
  const uint64_t buckets = Index::buckets_of(load(now->header->state));
  if (buckets <= now->small || buckets > now->large) make_quick();  // else somebody was quicker
}

void Reader::end_quick_gets() {
  has_quick_ended_.store(true);
  quick_.store(nullptr);
}

void Reader::open_control() {
  Result<Control> control = Control::open(directory());
  if (!control) return;
  const std::lock_guard lock(fork_safe_mutex());
  control_ = std::move(*control);
  const uint64_t* const generation = &control_.block().generation;
  generation_.store(generation, std::memory_order_release);
  make_quick();
}

StoreResult<std::shared_ptr<View>> Reader::attach() {
  std::string path;
  uint64_t generation = 0;
  if (!control_.read_index_path(path, generation) || path.empty())
    return StoreStatus(StoreCode::kBusy, path_ + ": no index");
  Result<os::Fd> fd = os::open_in(directory(), path.c_str(), os::OpenFor::kReading);
  if (!fd) return failure(fd.error(), path);
  Result<Index> index = Index::attach_readable(fd->get(), places_);
  if (!index) return failure(index.error(), path);
  const IndexHeader& header = index->header();
  Result<os::FileFacts> facts = os::facts_of(directory());
  char boot_id[40];
  os::read_boot_id(boot_id);
  if (!facts || header.generation != generation || header.directory_inode != facts->inode ||
      header.directory_device != facts->device || strncmp(header.boot_id, boot_id, sizeof boot_id) != 0)
    return StoreStatus(StoreCode::kBusy, path + ": belongs to another store, or to an earlier time");
  return make_view(std::move(*index), generation, path);
}

// One thread of the process at a time looks for another index. A child has none of the threads whose turn it
// was when it was forked.
class Reader::Turn {
 public:
  explicit Turn(Reader& reader) : of_(reader.refreshing_) {
    for (;;) {
      uint32_t whose = of_.load();
      if (whose != 0 && os::is_token_of_this_process(whose))
        os::sleep_us(1000);
      else if (of_.compare_exchange_strong(whose, os::process_token()))
        return;
    }
  }
  ~Turn() { of_ = 0; }
  Turn(const Turn&) = delete;

 private:
  std::atomic<uint32_t>& of_;
};

// Who sees the one generation and not yet the other waits for its turn, and finds them equal then.
void Reader::rename(View& view, const std::string& path, uint64_t generation,
                    const std::function<void()>& publish) {
  const Turn turn(*this);
  publish();
  table_->begin(generation);
  const std::lock_guard lock(fork_safe_mutex());
  view.index_path = path;
  view.generation = generation;
  make_quick();
}

StoreStatus Reader::refresh() {
  const Turn turn(*this);
  const uint64_t deadline = os::monotonic_ms() + kWaitForWriterMs;
  for (;;) {
    if (!control_.is_open()) open_control();
    View* const now = current_.load(std::memory_order_acquire);
    if (!control_.is_open()) {
      if (now != nullptr) return {};  // nobody has ever written since: the private view holds
    } else {
      if (now != nullptr && now->generation == control_.generation()) return {};
      if (StoreResult<std::shared_ptr<View>> fresh = attach(); fresh.ok()) {
        adopt(*fresh);
        return {};
      }
    }
    // No index. A writer that has the lock is making one; without one it is our turn.
    Result<os::Fd> lock_file = os::open_in(directory(), "LOCK", os::OpenFor::kReading);
    if (lock_file && os::is_file_locked(lock_file->get())) {
      if (os::monotonic_ms() > deadline)
        return {StoreCode::kBusy, path_ + ": the writer has not made its index for a minute"};
      os::sleep_us(1000);
      continue;
    }
    StoreResult<std::shared_ptr<View>> healed = heal_(places_);
    if (!healed) return healed.status();
    if (*healed != nullptr) {
      adopt(*healed);
      return {};
    }
  }
}

void Reader::sweep(View& view) {
  table_->retire_if([&](uint32_t row, const Mapping& mapping) {
    return mapping.file_id() != load(view.index.row(row).file_id);
  });
}

// Where gets have compared the checksums of most of a sealed segment's records, the rest is done for them.
// One segment at a time.
void Reader::verify_what_is_hot(const View& view) {
  const auto rows = static_cast<uint32_t>(load(view.index.header().rows_used));
  for (uint32_t tried = 0; tried < rows; ++tried) {
    const uint32_t number = next_row_to_verify_++ % rows;
    const SegmentRow& row = view.index.row(number);
    Mapping* const mapping = (*table_)[number].load(std::memory_order_acquire);
    if (mapping == nullptr || mapping->was_tried() || (load(row.flags) & kSealed) == 0 ||
        mapping->records_verified() * 4 < load(row.live_records) * 3 || !mapping->try_pin())
      continue;
    const uint64_t used = load(row.used);
    bool all_intact = mapping->file_id() == load(row.file_id);  // else `used` is another's
    const auto check = [&](const Record& record) {
      all_intact = all_intact && (record.header.type() != RecordType::kPut || record.value_is_intact());
    };
    if (all_intact)
      scan_records(mapping->bytes(), used, -1, check, [&](uint64_t, uint64_t) { all_intact = false; });
    mapping->set_tried();
    if (all_intact) mapping->set_whole();
    mapping->unpin();
    return;
  }
}

// A quarter of a second is how long the space of a dropped segment may be held by a process that does
// nothing.
void Reader::watch_retired() {
  uint64_t seen = 0;
  std::unique_lock lock(watcher_mutex_);
  while (!stopping_) {
    watcher_wakes_.wait_for(lock, std::chrono::milliseconds(250));
    if (stopping_) return;
    lock.unlock();
    // Views stay, so what is done here to one that is replaced meanwhile is done in vain, and no more.
    View* const view = current_.load(std::memory_order_acquire);
    const uint64_t* generation = generation_.load(std::memory_order_acquire);
    if (view != nullptr && generation != &kNoGeneration && load(*generation) != view->generation) {
      retire_all();  // nothing of the old view is wanted any more; the next get takes the new one
    } else if (view != nullptr) {
      if (const uint64_t retired = load(view->index.header().retired); retired != seen) {
        seen = retired;
        sweep(*view);
      }
      verify_what_is_hot(*view);
    }
    lock.lock();
  }
}

}  // namespace segstore
}  // namespace spillway
