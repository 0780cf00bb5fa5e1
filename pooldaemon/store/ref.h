// ref.h - a counted reference to what derives from Counted. Why not std::shared_ptr: with a million small
// objects its second pointer and its control block are a quarter of what the daemon needs for each.
// Threads: as shared_ptr's; different Refs to the same thing may be used by different threads.
#pragma once
#include <atomic>
#include <cstdint>
#include <utility>

namespace spillway::pool {

class Counted {
 public:
  Counted() = default;
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  template <typename T>
  friend class Ref;
  std::atomic<uint32_t> count_{0};
};

template <typename T>
class Ref {
 public:
  constexpr Ref() = default;
  constexpr Ref(std::nullptr_t) {}  // NOLINT: reads as null
  explicit Ref(T* thing) : thing_(thing) { hold(); }
  Ref(const Ref& other) : thing_(other.thing_) { hold(); }
  Ref(Ref&& other) noexcept : thing_(std::exchange(other.thing_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(thing_, other.thing_);
    return *this;
  }
  ~Ref() { reset(); }

  T* get() const { return thing_; }
  T* operator->() const { return thing_; }
  T& operator*() const { return *thing_; }
  explicit operator bool() const { return thing_ != nullptr; }
  bool operator==(const Ref&) const = default;
  void reset() {
    T* const thing = std::exchange(thing_, nullptr);
    if (thing != nullptr && thing->count_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete thing;
  }
  // Somebody else has one, too.
  bool shared() const { return thing_ != nullptr && thing_->count_.load(std::memory_order_acquire) > 1; }

 private:
  void hold() {
    if (thing_ != nullptr) thing_->count_.fetch_add(1, std::memory_order_relaxed);
  }
  T* thing_ = nullptr;
};

template <typename T, typename... Arguments>
Ref<T> make_ref(Arguments&&... arguments) {
  return Ref<T>(new T(std::forward<Arguments>(arguments)...));
}

}  // namespace spillway::pool
