// spool.hpp - more items than memory should hold, written once and read back in order: as they came, or
// sorted.
//
// Why by hand: an index is sorted while its blob is being written, and both must fit in what the caller
// allows. Items are plain data. Up to `memory_bytes` of them stay in memory; the rest goes to an unnamed file
// in the scratch directory.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "spillway/typed/os_file.hpp"

namespace spillway::typed {

struct spool_options {
  std::uint64_t memory_bytes = 256 << 20;
  std::string directory{};  // empty: TMPDIR or /var/tmp
};

namespace detail {

// Growing by doubling copies all there is again and again, into pages that are fresh every time. What is
// large grows eightfold, which costs address space alone.
template <class Item>
void push_large(std::vector<Item>& items, const Item& item, std::uint64_t most) {
  if (items.size() == items.capacity() && items.size() * sizeof(Item) >= 1 << 20)
    items.reserve(std::min<std::uint64_t>(items.size() * 8, most));
  items.push_back(item);
}

}  // namespace detail

// Items in the order they came.
template <class Item>
class spool {
  static_assert(std::is_trivially_copyable_v<Item>);

 public:
  explicit spool(spool_options options = {}) : options_(std::move(options)) {
    capacity_ = std::max<std::uint64_t>(options_.memory_bytes / sizeof(Item), 64);
  }
  void push(const Item& item) {
    if (items_.size() >= capacity_) spill();
    detail::push_large(items_, item, capacity_);
  }
  // Items that are in memory already, instead of pushing them one by one.
  void adopt(std::vector<Item> items) { items_ = std::move(items); }
  std::uint64_t size() const { return spilled_ + items_.size(); }

  template <class F>
  void for_each(F&& f) {
    std::vector<Item> chunk(std::min<std::uint64_t>(spilled_, capacity_));
    for (std::uint64_t at = 0; at < spilled_; at += chunk.size()) {
      const std::uint64_t n = std::min<std::uint64_t>(chunk.size(), spilled_ - at);
      detail::read_at(file_.get(), chunk.data(), n * sizeof(Item), at * sizeof(Item), "a scratch file");
      for (std::uint64_t i = 0; i < n; ++i) f(chunk[i]);
    }
    for (const Item& item : items_) f(item);
  }

 private:
  void spill() {
    if (!file_)
      file_ =
          detail::scratch_file(options_.directory.empty() ? detail::default_scratch() : options_.directory);
    detail::write_at(file_.get(), items_.data(), items_.size() * sizeof(Item), spilled_ * sizeof(Item),
                     "a scratch file");
    spilled_ += items_.size();
    items_.clear();
  }
  spool_options options_;
  std::uint64_t capacity_, spilled_ = 0;
  std::vector<Item> items_;
  detail::fd file_;
};

// Items in the order of `Less`, which should leave none equal: runs sorted in memory, merged from the scratch
// file.
template <class Item, class Less>
class sorter {
  static_assert(std::is_trivially_copyable_v<Item>);

 public:
  explicit sorter(spool_options options = {}) : options_(std::move(options)) {
    capacity_ = std::max<std::uint64_t>(options_.memory_bytes / sizeof(Item), 64);
  }
  void push(const Item& item) {
    if (items_.size() >= capacity_) spill();
    detail::push_large(items_, item, capacity_);
  }
  std::uint64_t size() const { return spilled_ + items_.size(); }

  // All of them, sorted, while nothing was spilled: what the caller does to them costs no second copy.
  bool in_memory() const { return runs_.empty(); }
  std::vector<Item> take_sorted() {
    sort();
    return std::exchange(items_, {});
  }

  // Calls f with every item, once; the sorter is empty afterwards.
  template <class F>
  void drain(F&& f) {
    sort();
    // The last run stays in memory; each other run is read in pieces, which together take what the items
    // took.
    std::vector<run> readers;
    const std::uint64_t piece = std::max<std::uint64_t>(capacity_ / (runs_.size() + 1), 64);
    for (const auto& [at, count] : runs_) readers.push_back({at, count, {}, 0});
    for (run& r : readers) refill(r, piece);
    readers.push_back({0, 0, std::move(items_), 0});
    items_ = {};
    const auto later = [&](std::size_t a, std::size_t b) {
      const Item &x = readers[a].front(), &y = readers[b].front();
      return less_(y, x) || (!less_(x, y) && a > b);
    };
    std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(later)> queue(later);
    for (std::size_t i = 0; i < readers.size(); ++i)
      if (readers[i].at < readers[i].items.size()) queue.push(i);
    while (!queue.empty()) {
      const std::size_t i = queue.top();
      queue.pop();
      run& r = readers[i];
      f(r.front());
      if (++r.at == r.items.size()) refill(r, piece);
      if (r.at < r.items.size()) queue.push(i);
    }
    runs_.clear();
    spilled_ = 0;
  }

 private:
  struct run {
    std::uint64_t from, left;  // what is still in the file, in items
    std::vector<Item> items;
    std::size_t at;
    const Item& front() const { return items[at]; }
  };
  void refill(run& r, std::uint64_t piece) {
    const std::uint64_t n = std::min(piece, r.left);
    r.items.resize(n);
    r.at = 0;
    if (n)
      detail::read_at(file_.get(), r.items.data(), n * sizeof(Item), r.from * sizeof(Item), "a scratch file");
    r.from += n, r.left -= n;
  }
  void sort() { std::sort(items_.begin(), items_.end(), less_); }
  void spill() {
    if (!file_)
      file_ =
          detail::scratch_file(options_.directory.empty() ? detail::default_scratch() : options_.directory);
    sort();
    detail::write_at(file_.get(), items_.data(), items_.size() * sizeof(Item), spilled_ * sizeof(Item),
                     "a scratch file");
    runs_.emplace_back(spilled_, items_.size());
    spilled_ += items_.size();
    items_.clear();
  }
  spool_options options_;
  std::uint64_t capacity_, spilled_ = 0;
  std::vector<Item> items_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> runs_;
  detail::fd file_;
  Less less_{};
};

}  // namespace spillway::typed
