// writer.hpp - puts objects into a sink: places them, makes references relative, stores equal ones once,
// takes back what a failed build wrote.
//
// Always: an object is written after everything it refers to, so bytes are only appended and references point
// backward. Dedupe: a table of content hashes, bounded by dedupe_bytes (full: it is emptied and starts anew,
// which costs space in the blob, never correctness); a hit counts only when the bytes, compared, are the
// same. Threads: one.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "spillway/typed/content_table.hpp"
#include "spillway/typed/draft.hpp"
#include "spillway/typed/hash.hpp"
#include "spillway/typed/sink.hpp"

namespace spillway::typed {

struct build_options {
  bool dedupe = true;
  bool compress = true;                    // long texts and bytes, when built with LZ4 and a third is saved
  bool checksum = false;                   // of the whole blob; such a blob is never written in place
  std::uint64_t memory_bytes = 256 << 20;  // of an index being sorted; the rest goes to the scratch directory
  std::uint64_t dedupe_bytes = 64 << 20;   // of the table
  std::string scratch{};                   // empty: TMPDIR or /var/tmp
};

// Elements of 256 bytes and more start at a multiple of 64, behind their list's header word: so that numpy
// and vector instructions like them, and no slot lies in two cache lines.
constexpr std::uint64_t align_elements(std::uint64_t bytes) { return bytes >= 256 ? 8 : 0; }

class object_writer {
 public:
  object_writer(sink& out, const build_options& options)
      : out_(out), dedupe_(options.dedupe), table_(options.dedupe_bytes) {}

  sink& out() { return out_; }
  std::uint64_t objects() const { return objects_; }
  std::uint64_t shared() const { return shared_; }

  // The draft as an object; data that starts `data_at` bytes into it and is long goes to a multiple of 64.
  ref place(draft& d, head h, std::uint64_t align_data_at = 0) {
    if (d.depth > kMaxDepth) fail(errc::too_deep, "a value: nested deeper than 255 levels");
    if (h.count > kMaxCount) fail(errc::value_range, "a value: more than 2^40 - 1 elements");
    h.depth = static_cast<std::uint8_t>(d.depth);
    const std::uint64_t word = h.word();
    std::memcpy(d.bytes.data(), &word, 8);
    const ref made{0, h.depth, h.kind};
    // Drafts of many megabytes are hardly ever equal, and comparing them is not free.
    const bool dedupe = dedupe_ && d.bytes.size() <= (64 << 20);
    std::uint64_t hash = 0;
    if (dedupe) {
      hash = hash64(d.bytes.data(), d.bytes.size(), kSeedContent);
      if (const std::uint64_t at = table_.find(hash, [&](std::uint64_t seen) { return same(seen, d); })) {
        ++shared_;
        return {at, made.depth, made.kind};
      }
    }
    if (align_data_at) align(align_data_at);
    const std::uint64_t at = out_.position();
    for (const std::uint64_t r : d.refs) relate(d, r, at + r);
    out_.append(d.bytes.data(), d.bytes.size());
    out_.pad(round_up(d.bytes.size(), 8) - d.bytes.size());
    ++objects_;
    if (dedupe) {
      table_.insert(hash, at);
      if (saves_) log_.push_back({hash, at});
    }
    return {at, made.depth, made.kind};
  }

  // Zero words until what lies `data_at` bytes behind the next position is at a multiple of 64.
  void align(std::uint64_t data_at) {
    out_.pad(round_up(out_.position() + data_at, 64) - out_.position() - data_at);
  }

  // A point to return to: bytes and table entries made since are undone together.
  class savepoint {
   public:
    explicit savepoint(object_writer& w) : writer_(&w), position_(w.out_.position()), log_(w.log_.size()) {
      ++w.saves_;
    }
    savepoint(const savepoint&) = delete;
    savepoint& operator=(const savepoint&) = delete;
    ~savepoint() { rollback(); }  // unless released
    void rollback() {
      if (!writer_) return;
      while (writer_->log_.size() > log_) {
        writer_->table_.forget(writer_->log_.back().hash, writer_->log_.back().at);
        writer_->log_.pop_back();
      }
      writer_->out_.truncate(position_);
      end();
    }
    void release() {
      if (writer_) end();
    }

   private:
    void end() {
      if (--writer_->saves_ == 0) writer_->log_.clear();
      writer_ = nullptr;
    }
    object_writer* writer_;
    std::uint64_t position_;
    std::size_t log_;
  };

 private:
  struct entry {
    std::uint64_t hash, at;
  };

  static void relate(draft& d, std::uint64_t where, std::uint64_t from) {
    std::uint64_t target;
    std::memcpy(&target, d.bytes.data() + where, 8);
    target -= from;
    std::memcpy(d.bytes.data() + where, &target, 8);
  }

  bool same(std::uint64_t at, const draft& d) {
    if (out_.position() - at < d.bytes.size()) return false;
    compare_.resize(d.bytes.size());
    out_.read(at, compare_.data(), compare_.size());
    for (const std::uint64_t r : d.refs) {
      std::uint64_t target;
      std::memcpy(&target, compare_.data() + r, 8);
      target += at + r;
      std::memcpy(compare_.data() + r, &target, 8);
    }
    return std::memcmp(compare_.data(), d.bytes.data(), compare_.size()) == 0;
  }

  sink& out_;
  bool dedupe_;
  content_table table_;
  std::vector<entry> log_;  // what was remembered since the first savepoint
  unsigned saves_ = 0;
  std::vector<std::byte> compare_;
  std::uint64_t objects_ = 0, shared_ = 0;
};

}  // namespace spillway::typed
