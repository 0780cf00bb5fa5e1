// intrusive_list_test.cc - the list against std::list, and its refusal of misuse.
#include "base/core/intrusive_list.h"

#include <algorithm>
#include <list>
#include <random>
#include <vector>

#include "tests/unit/in_child.h"

#include "tests/support/catch.h"

using namespace spillway;

namespace {

struct Item : ListHook {
  int number = 0;
};

std::vector<int> numbers(IntrusiveList<Item>& list) {
  std::vector<int> all;
  for (Item* i = list.front(); i != nullptr; i = list.after(i)) all.push_back(i->number);
  return all;
}

}  // namespace

TEST_CASE("a list that never had an element is empty") {
  IntrusiveList<Item> list;
  CHECK(list.empty());
  CHECK(list.front() == nullptr);
  CHECK(list.back() == nullptr);
}

TEST_CASE("a list that lost its last element is empty, and the element may be in a list again") {
  IntrusiveList<Item> list, other;
  Item item;
  list.push_back(item);
  CHECK(item.linked());
  list.remove(item);
  CHECK(list.empty());
  CHECK(!item.linked());
  other.push_front(item);
  CHECK(other.front() == &item);
  CHECK(other.back() == &item);
}

TEST_CASE("a list keeps the order of std::list under random insertions and removals") {
  std::mt19937 random(1);
  std::vector<Item> items(50);
  for (size_t i = 0; i < items.size(); ++i) items[i].number = static_cast<int>(i);
  IntrusiveList<Item> list;
  std::list<int> model;
  for (int step = 0; step < 2000; ++step) {
    Item& item = items[random() % items.size()];
    if (item.linked()) {
      list.remove(item);
      model.remove(item.number);
    } else if (random() % 2 == 0) {
      list.push_back(item);
      model.push_back(item.number);
    } else {
      list.push_front(item);
      model.push_front(item.number);
    }
    REQUIRE(numbers(list) == std::vector<int>(model.begin(), model.end()));
    REQUIRE((list.empty() ? -1 : list.back()->number) == (model.empty() ? -1 : model.back()));
  }
}

TEST_CASE("an element that is in a list already cannot be inserted") {
  if (!test::kForkIsFine) return;
  CHECK(test::dies_saying("in a list already", [] {
    IntrusiveList<Item> list;
    Item item;
    list.push_back(item);
    list.push_back(item);
  }));
}

TEST_CASE("an element that is in no list cannot be removed") {
  if (!test::kForkIsFine) return;
  CHECK(test::dies_saying("in no list", [] {
    IntrusiveList<Item> list;
    Item item;
    list.remove(item);
  }));
}
