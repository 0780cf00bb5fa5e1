// shared_budget.h - one memory budget for all programs that can spill: a small file that the pool's daemon
// keeps and they map.
//
// Why a file and not messages: who divides the memory may be in a fault, before main or just forked; looking
// at the table takes a microsecond, no thread, no heap and no answer. Why everybody divides for himself: a
// share is a function of what is in the table, so all come to the same.
//
// Always: a slot belongs to the process that holds the lock on its byte (an OFD lock: the kernel lets go of
// it when the process ends, however it ends); the daemon holds byte 0. Without a daemon there is no budget to
// share. Numbers in the table are hints of one user's processes: a wrong one costs memory, nothing else.
// Threads: one at a time for each object.
#pragma once
#include <cstdint>

#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway::os {

inline constexpr unsigned kBudgetSlots = 256;

struct BudgetClaim {
  uint64_t wanted_bytes = 0;   // what it would use if it could
  uint64_t minimum_bytes = 0;  // what it gets in any case, as far as there is so much
  uint32_t weight = 0;         // 0: nobody's slot
};

// What each of `count` claims gets of `total`: first the minimums, then by weight, nobody more than wanted
// (weighted max-min fairness); what is left when all have what they want is divided by weight, too.
void divide_budget(uint64_t total, const BudgetClaim* claims, uint64_t* shares, unsigned count);

class SharedBudget {
 public:
  constexpr SharedBudget() = default;
  ~SharedBudget() { leave(); }
  SharedBudget(const SharedBudget&) = delete;
  SharedBudget& operator=(const SharedBudget&) = delete;

  // The daemon: makes the file at `path`, and says how much there is to share.
  Errno serve(const char* path);
  void set_total(uint64_t bytes);
  // Clears the slots of processes that ended. How many there are.
  unsigned sweep();

  // A program: takes a slot. ENOENT: no daemon runs here; EAGAIN: all slots are taken.
  Errno join(const char* path, uint32_t weight, uint64_t minimum_bytes);
  bool joined() const { return slot_ != 0; }
  // Says what it would use and learns what it may. UINT64_MAX: the daemon has ended, it shares with nobody.
  uint64_t share(uint64_t wanted_bytes);
  void leave();
  // In a forked child: the slot stays the parent's.
  void forget();

 private:
  struct Table;
  Errno map(const char* path, bool create);
  Fd fd_;
  Table* table_ = nullptr;
  unsigned slot_ = 0;
};

// Beside the daemon's socket: of $SPILLWAY_SOCKET, $XDG_RUNTIME_DIR, /tmp. False: the path is too long.
bool default_budget_path(char* path, uint64_t bytes);

}  // namespace spillway::os
