// ring_client.h - writing through another process's ring.
#pragma once
#include <mutex>
#include <vector>

#include "libpool/segstore/ring.h"
#include "libpool/segstore/ring_request.h"

namespace spillway::segstore {

struct Answer {
  enum class How {
    kGiven,     // by the writer
    kNotBegun,  // there is another writer, or none: submit it there
    kMade,      // and then the writer died: it is in the store, but may not be on the device
    kUnknown,   // the writer died in the middle of it
    kNoSlot,    // all are in use
    kNoMemory,  // for the slot; in os_error
  } how = How::kNotBegun;
  StoreCode code = StoreCode::kOk;
  int os_error = 0;
  uint64_t sequence = 0;
  std::string message;
};

// Threads: any; each call uses a slot of its own.
class RingClient {
 public:
  // Null: there is no ring now.
  static std::shared_ptr<RingClient> attach(int directory);
  Answer call(const Request& request);
  // The writer is there and takes requests, as far as one can know without asking.
  bool is_alive() const;

 private:
  // What is kept for the next call, when others have no more than this.
  static constexpr size_t kKeptSlots = 8;
  RingClient() = default;
  bool is_over() const;
  bool take_slot(uint32_t& number, Answer& why);
  void give_slot(uint32_t number);
  void submit(uint32_t number, uint32_t bytes, bool is_first, bool is_last);
  // Until it is answered; false: `answer` says what became of it.
  bool wait(RingSlot& slot, bool is_last, Answer& answer);

  Control control_;
  os::Fd lock_file_;
  uint64_t generation_ = 0;
  Ring ring_;
  std::mutex mutex_;
  std::vector<uint32_t> idle_;
  bool ours_[kRingSlots] = {};
};

}  // namespace spillway::segstore
