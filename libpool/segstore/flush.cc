// flush.cc - durability: one flush serves all who wait for it, and sealing what is full.
#include <chrono>

#include "base/os/clock.h"
#include "libpool/segstore/writer.h"

namespace spillway::segstore {

void Writer::set_durable(uint64_t sequence) {
  IndexHeader& header = view_->index.header();
  if (load(header.durable_sequence) >= sequence) return;
  // Whoever waits sees the header: what is answered must not be unknown to who recovers after a kill.
  store(control_.block().durable_sequence, sequence);
  store(header.durable_sequence, sequence);
}

// The files, and the directory if it has names that are not on the device yet. After a failure the kernel may
// call pages clean that were never written: nothing can be promised any more.
StoreStatus Writer::flush_files(const std::vector<std::shared_ptr<OpenSegment>>& given) {
  std::vector<std::shared_ptr<OpenSegment>> files = given;
  if (files.empty()) {  // all of them; append_mutex_ is held
    files = dirty_;
    if (active_ != nullptr) files.push_back(active_);
  }
  Errno error;
  for (const auto& file : files) {
    files_.step("flush");
    error = files_.flush(file->fd.get());
    if (!error.ok()) break;
  }
  const uint64_t names = names_made_;
  if (error.ok() && names_flushed_ < names) {
    error = files_.flush_directory(directory_);
    if (error.ok()) names_flushed_ = names;
  }
  if (error.ok()) return {};
  failed_ = flush_failed_ = true;
  store(control_.block().flush_failed, 1);
  return failure(error, reader_.path() + ": flushing");
}

// By one thread at a time.
StoreStatus Writer::flush_now() {
  std::vector<std::shared_ptr<OpenSegment>> files;
  uint64_t sequence = 0;
  bool active_is_clean = true;
  {
    const std::lock_guard lock(append_mutex_);
    if (flush_failed_) return flush_refused();
    files = dirty_;
    if (active_ != nullptr && active_->is_dirty) {
      files.push_back(active_);
      active_->is_dirty = false;
      active_is_clean = false;
    }
    sequence = view_->index.header().applied_sequence;
  }
  if (!files.empty() || names_flushed_ < names_made_) {
    // A directory alone: flush_files takes an empty list for all.
    if (files.empty() && active_ != nullptr) files.push_back(active_);
    if (!files.empty())
      if (StoreStatus bad = flush_files(files); !bad.ok()) return bad;
  }
  const std::lock_guard lock(append_mutex_);
  // Another flush of the same files has failed meanwhile: the kernel tells only one of them.
  if (flush_failed_) return flush_refused();
  if (!active_is_clean) files.pop_back();
  std::erase_if(dirty_,
                [&](const auto& file) { return std::find(files.begin(), files.end(), file) != files.end(); });
  set_durable(sequence);
  return {};
}

// By who is about to flush. The writers that the last flush served are on their way back with their next
// records: a flush of what one of them has brought already would make all others wait for two. So it waits
// until as many are there as were in and behind the last one, but not for longer than half a flush takes; and
// for a while not at all after that was in vain.
void Writer::gather() {
  const uint64_t wanted = flush_.covered + flush_.expected;
  if (arrivals_ >= wanted) return;
  if (flush_.patience > 0) {
    --flush_.patience;
    return;
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(flush_.lasted_us / 2);
  std::unique_lock lock(flush_mutex_);
  gather_until_ = wanted;
  const bool all = gathered_.wait_until(lock, deadline, [&] { return arrivals_ >= wanted; });
  gather_until_ = 0;
  flush_.in_vain = all ? 0 : std::min(flush_.in_vain + 1, 6u);
  flush_.patience = all ? 0 : (1u << flush_.in_vain) - 1;
}

void Writer::arrive() {
  if (++arrivals_ != gather_until_) return;
  const std::lock_guard lock(flush_mutex_);
  gathered_.notify_one();
}

// Whoever finds no flush under way makes one, for all that wait.
StoreStatus Writer::flush_up_to(uint64_t sequence) {
  const uint64_t& durable = view_->index.header().durable_sequence;
  if (load(durable) >= sequence) return {};
  arrive();
  for (;;) {
    const int ended = flushes_ended_;
    if (load(durable) >= sequence) return {};
    if (is_flushing_.exchange(true)) {
      flushes_ended_.wait(ended);
      continue;
    }
    StoreStatus result = flush_error_;
    if (result.ok() && load(durable) < sequence) {
      gather();
      const uint64_t before = std::exchange(flush_.covered, arrivals_.load());
      const uint64_t start = os::monotonic_us();
      result = flush_error_ = flush_now();
      flush_.lasted_us = os::monotonic_us() - start;
      flush_.expected = arrivals_ - before;
    }
    is_flushing_ = false;
    ++flushes_ended_;
    flushes_ended_.notify_all();
    if (!result.ok()) return result;
  }
}

StoreStatus Writer::wait_durable(uint64_t sequence, Durability durability) {
  return durability == Durability::kGroup ? flush_up_to(sequence) : StoreStatus();
}

StoreStatus Writer::sync() {
  if (!closed_)
    if (StoreStatus bad = usable(); !bad.ok()) return bad;
  return flush_up_to(load(view_->index.header().applied_sequence));
}

// The footer says that everything up to the segment's end is on the device, so it comes after a flush of it.
StoreStatus Writer::seal(OpenSegment& segment) {
  if (StoreStatus bad = flush_up_to(load(view_->index.row(segment.row).max_sequence)); !bad.ok()) return bad;
  files_.step("seal");
  Errno error;
  Mapping* mapping = reader_.pin_row(*view_, segment.row, error);
  if (mapping == nullptr)
    return failure(error.ok() ? Errno(ENOENT) : error, segment_name(segment.id) + ": sealing");
  FooterBuilder builder;
  scan_records(
      mapping->bytes(), segment.used, -1,
      [&](const Record& record) {
        if (record.header.type() != RecordType::kBatchEnd)
          builder.add(hash_of(record.key(), manifest_.hash_seed), record);
      },
      [](uint64_t, uint64_t) {});
  const std::string body = builder.body(segment.used);
  const Footer footer = builder.footer(segment.used, body, segment.salt, segment.id, false);
  mapping->unpin();
  CHECK(segment.used + body.size() <= footer_offset(segment.capacity),
        "no room was kept for a segment's footer");
  const os::Piece body_piece{body.data(), body.size()}, footer_piece{&footer, sizeof footer};
  Errno e = files_.write(segment.fd.get(), &body_piece, 1, segment.used);
  if (e.ok()) e = files_.write(segment.fd.get(), &footer_piece, 1, footer_offset(segment.capacity));
  if (!e.ok()) return failure(e, reader_.path() + "/" + segment_name(segment.id) + ": sealing");
  // What was kept for records and never used; nobody ever looked there.
  const uint64_t from = round_up(segment.used + body.size(), kPageBytes);
  const uint64_t to = round_down(footer_offset(segment.capacity), kPageBytes);
  if (from < to) files_.release(segment.fd.get(), from, to - from);
  store(view_->index.row(segment.row).flags, kSealed);
  return {};
}

StoreStatus Writer::seal_waiting() {
  for (;;) {
    std::shared_ptr<OpenSegment> segment;
    {
      const std::lock_guard lock(append_mutex_);
      if (full_.empty()) return {};
      segment = full_.front();
    }
    StoreStatus bad = seal(*segment);
    const std::lock_guard lock(append_mutex_);
    if (!bad.ok()) return bad;
    full_.pop_front();
  }
}

}  // namespace spillway::segstore
