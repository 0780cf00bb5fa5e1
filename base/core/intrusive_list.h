// intrusive_list.h - a doubly linked list through a hook inside its elements: no heap, O(1) removal from the
// middle. An element is in at most one list per hook. Not thread-safe.
#pragma once
#include "base/core/check.h"

namespace spillway {

struct ListHook {
  ListHook* prev = nullptr;
  ListHook* next = nullptr;
  bool linked() const { return next != nullptr; }
};

// T derives from ListHook.
template <typename T>
class IntrusiveList {
 public:
  constexpr IntrusiveList() = default;
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const { return head_.next == nullptr || head_.next == &head_; }
  T* front() { return empty() ? nullptr : static_cast<T*>(head_.next); }
  T* back() { return empty() ? nullptr : static_cast<T*>(head_.prev); }
  // The element after `item`, or null at the end.
  T* after(T* item) { return item->next == &head_ ? nullptr : static_cast<T*>(item->next); }

  T* before(T* item) { return item->prev == &head_ ? nullptr : static_cast<T*>(item->prev); }

  void insert_after(T& item, T& where) { insert(item, &where); }
  void push_front(T& item) { insert(item, &sentinel()); }
  void push_back(T& item) { insert(item, sentinel().prev); }
  void remove(T& item) {
    CHECK(item.linked(), "removing an element that is in no list");
    item.prev->next = item.next;
    item.next->prev = item.prev;
    item.prev = item.next = nullptr;
  }

 private:
  // Linked to itself on first use, so that a list can be constinit.
  ListHook& sentinel() {
    if (head_.next == nullptr) head_.next = head_.prev = &head_;
    return head_;
  }
  void insert(T& item, ListHook* where) {
    CHECK(!item.linked(), "inserting an element that is in a list already");
    ListHook& hook = item;
    hook.prev = where;
    hook.next = where->next;
    where->next->prev = &hook;
    where->next = &hook;
  }

  ListHook head_;
};

}  // namespace spillway
