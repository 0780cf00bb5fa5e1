// index_set.h - a set of indices into the table of objects: a bit for each, in pages, so that who has a
// million needs little, and who has one, too.
#pragma once
#include <bitset>
#include <cstdint>
#include <unordered_map>

namespace spillway::pool {

class IndexSet {
 public:
  // False: it was in it.
  bool insert(uint32_t index) {
    Page& page = pages_[index / kPage];
    if (page.bits.test(index % kPage)) return false;
    page.bits.set(index % kPage);
    ++page.count;
    ++size_;
    return true;
  }
  // False: it was not.
  bool erase(uint32_t index) {
    const auto page = pages_.find(index / kPage);
    if (page == pages_.end() || !page->second.bits.test(index % kPage)) return false;
    page->second.bits.reset(index % kPage);
    if (--page->second.count == 0) pages_.erase(page);
    --size_;
    return true;
  }
  bool contains(uint32_t index) const {
    const auto page = pages_.find(index / kPage);
    return page != pages_.end() && page->second.bits.test(index % kPage);
  }
  uint64_t size() const { return size_; }
  template <typename Visit>
  void each(Visit&& visit) const {
    for (const auto& [number, page] : pages_)
      for (uint32_t i = 0; i < kPage; ++i)
        if (page.bits.test(i)) visit(number * kPage + i);
  }

 private:
  static constexpr uint32_t kPage = 1024;
  struct Page {
    std::bitset<kPage> bits;
    uint32_t count = 0;
  };
  std::unordered_map<uint32_t, Page> pages_;
  uint64_t size_ = 0;
};

}  // namespace spillway::pool
