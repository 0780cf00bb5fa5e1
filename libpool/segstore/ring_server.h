// ring_server.h - the writer's side of a ring: makes what other processes submit.
//
// One thread takes requests and makes them, in the order it finds them. Those that wait for the device go on
// to a second, which flushes once for all that have come meanwhile; what takes long (compaction, writes with
// a flush of their own, large values) goes to a third. So nobody waits behind what he did not ask for.
//
// Always: a slot is answered once for each time it was taken. Threads: start and stop by one.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "libpool/segstore/files.h"
#include "libpool/segstore/ring.h"
#include "libpool/segstore/ring_request.h"

namespace spillway::segstore {

class RingServer {
 public:
  // `writer` has the lock, and lives longer. Tells everybody where the ring is.
  static StoreResult<std::unique_ptr<RingServer>> start(Writes& writer, int directory,
                                                        const std::string& path,
                                                        const std::string& index_directory, Files& files);
  ~RingServer() { stop(); }
  // What was taken is answered; the rest stays with the clients.
  void stop();

 private:
  struct Waiting {
    uint32_t slot = 0;
    uint64_t sequence = 0;
  };
  RingServer(Writes& writer, Files& files) : writer_(writer), files_(files) {}
  void take_requests();
  bool take_submitted(bool all);
  void take(uint32_t number);
  void make(uint32_t number, const ReadRequest& request);
  StoreResult<uint64_t> make_now(const ReadRequest& request, Durability durability);
  void answer(uint32_t number, const StoreResult<uint64_t>& result);
  void drop_of_the_dead();
  void replace_ring_if_gone();
  void flush_for_all();
  void do_long_ones();

  Writes& writer_;
  Files& files_;
  Control control_;
  int directory_ = -1;
  std::string path_, index_directory_;
  std::mutex ring_mutex_;  // for replacing it, and ending it for good
  std::string ring_path_;
  Ring ring_;
  std::vector<std::string> requests_{kRingSlots};  // so far; the first thread's
  std::atomic<bool> stopping_{false};

  std::mutex mutex_;
  std::condition_variable flush_wakes_, long_wakes_;
  std::vector<Waiting> to_flush_;
  std::deque<std::pair<uint32_t, std::string>> long_ones_;
  bool no_more_to_flush_ = false, no_more_long_ones_ = false;
  std::thread taker_, flusher_, long_worker_;
};

}  // namespace spillway::segstore
