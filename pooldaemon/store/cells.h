// cells.h - events and futures: set once, by whoever knows them, awaited by many.
// A cell belongs to the session that made it: when that ends before the cell is set, those who wait are told,
// now or when they come. It goes when no session uses it any more. Threads: the loop's.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "pooldaemon/store/store.h"

namespace spillway::pool {

struct CellValue {
  uint64_t id = 0, key = 0;  // the future's object; 0: an event
};

class Cells {
 public:
  explicit Cells(Store& store) : store_(store) {}

  std::pair<uint64_t, uint64_t> make(Client& client, bool future);
  // A future takes a value (an object, which it refers to from now on) or an error.
  Failure put(Client& client, uint64_t id, uint64_t key, std::optional<CellValue> value, std::string error);
  void get(Client& client, uint64_t id, uint64_t key, uint64_t timeout_ms, Reply<CellValue> reply);
  void close(Client& client);

 private:
  struct Waiter {
    uint64_t client = 0;
    Reply<CellValue> reply;
    std::optional<Timers::Id> timer;
  };
  struct Cell {
    uint64_t key = 0, owner = 0;
    bool future = false, set = false, orphan = false;
    CellValue value;
    uint64_t ticket = 0;  // what keeps the value
    std::string error;
    std::set<uint64_t> users;  // sessions
    std::map<uint64_t, Waiter> waiters;
  };
  Cell* find(uint64_t id, uint64_t key);
  void use(Client& client, uint64_t id, Cell& cell);
  Answer<CellValue> answer_of(const Cell& cell) const;
  void wake(Cell& cell);

  Store& store_;
  std::unordered_map<uint64_t, Cell> cells_;
  uint64_t last_id_ = 0, last_waiter_ = 0;
};

}  // namespace spillway::pool
