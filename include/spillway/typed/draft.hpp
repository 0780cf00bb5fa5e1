// draft.hpp - an object being put together: its bytes, with every reference still the absolute position it
// leads to.
//
// References are made self-relative when the object gets its place, so equal objects have equal drafts
// wherever they lie, which is what content dedupe compares.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "spillway/typed/format.hpp"
#include "spillway/typed/values.hpp"

namespace spillway::typed {

// A slot whose payload, when it is a reference, is an absolute position; with the depth of what it refers to.
struct item {
  slot s{};
  std::uint8_t depth = 0;
  bool is_ref() const { return s.what == code::ref; }
};

inline item null_item() { return {{code::null, 0, 0, 0, 0}, 0}; }
inline item ref_item(const ref& r) {
  return r ? item{{code::ref, 0, 0, 0, r.position}, r.depth} : null_item();
}
inline item scalar_item(code c, std::uint64_t payload, std::int32_t aux = 0, std::uint8_t sub = 0) {
  return {{c, sub, 0, aux, payload}, 0};
}

class draft {
 public:
  std::vector<std::byte> bytes;
  std::vector<std::uint64_t> refs;  // where in bytes
  unsigned depth = 0;

  void clear() { bytes.clear(), refs.clear(), depth = 0; }
  void resize(std::uint64_t n) { bytes.resize(n); }
  void word(std::uint64_t w) { raw(&w, 8); }
  void raw(const void* p, std::size_t n) {
    if (n == 0) return;
    const auto* b = static_cast<const std::byte*>(p);
    bytes.insert(bytes.end(), b, b + n);
  }
  void add(const item& i) {
    const std::size_t at = bytes.size();
    bytes.resize(at + 16);
    put(at, i);
  }
  void put(std::uint64_t at, const item& i) {
    std::memcpy(bytes.data() + at, &i.s, 16);
    if (i.is_ref()) note(at + kSlotPayload, i.depth);
  }
  void add(const ref& r) {
    const std::size_t at = bytes.size();
    bytes.resize(at + 8);
    put(at, r);
  }
  void put(std::uint64_t at, const ref& r) {
    std::memcpy(bytes.data() + at, &r.position, 8);
    if (r) note(at, r.depth);
  }
  template <class T>
  requires(std::is_arithmetic_v<T>) void put(std::uint64_t at, T value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }

 private:
  void note(std::uint64_t at, unsigned child) {
    refs.push_back(at);
    if (depth <= child) depth = child + 1;
  }
};

// Drafts in progress, one per level; given back in the reverse order, their memory is used again.
class draft_stack {
 public:
  class lease {
   public:
    explicit lease(draft_stack& stack) : stack_(stack) {
      if (stack_.used_ == stack_.drafts_.size()) stack_.drafts_.push_back(std::make_unique<draft>());
      draft_ = stack_.drafts_[stack_.used_++].get();
      draft_->clear();
    }
    ~lease() { --stack_.used_; }
    lease(const lease&) = delete;
    lease& operator=(const lease&) = delete;
    draft* operator->() const { return draft_; }
    draft& operator*() const { return *draft_; }

   private:
    draft_stack& stack_;
    draft* draft_;
  };

 private:
  std::vector<std::unique_ptr<draft>> drafts_;
  std::size_t used_ = 0;
};

}  // namespace spillway::typed
