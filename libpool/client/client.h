// client.h - a program's side of the pool: its session, what it holds, and how it comes back after the daemon
// was gone.
//
// Connections: calls take one that is idle, or open another, so that a thread that waits in the daemon keeps
// no other waiting; one more carries what the daemon says by itself, and a thread reads it (revoking leases
// must not wait for the program). All belong to one session by its id and key. Leases: an object that was got
// once stays mapped after its last unpin, and getting it again is two atomic operations, until the daemon
// takes the lease back (wire/message.h, LeaseSlot). Always: a Lease is in by_slot_ or in none; it is deleted
// under the lock by whoever takes it out, and only that one tells the daemon.   Threads: any. After fork the
// child has a State of its own; the parent's is never touched.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/os/memfd.h"
#include "libpool/wire/announce.h"
#include "libpool/wire/channel.h"
#include "libpool/wire/name_marks.h"
#include "spillway/pool.h"
#include "spillway/store.hpp"

namespace spillway::client {

struct Failure {
  spillway_status status = SPILLWAY_OK;
  std::string what;
  bool bad() const { return status != SPILLWAY_OK; }
};

struct Options {
  std::string socket, daemon;
  bool start = true;
  bool others = false;  // the daemon may be another user's: the program, or its user, named the socket
  uint64_t start_timeout_ms = 10'000;
  uint32_t cached_objects = 4096;
};

struct Answer {
  std::string payload;
  std::vector<os::Fd> fds;
  std::shared_ptr<void> session{};  // that was asked
};

// How long a call waits, also for a daemon that has ended to be followed by another.
class Deadline {
 public:
  Deadline() = default;  // as long as the daemon takes, and for no other
  explicit Deadline(std::optional<uint64_t> timeout_ms);
  bool waits_for_daemon() const { return waits_; }
  bool has_end() const { return end_ms_ != SPILLWAY_FOREVER; }
  bool is_over() const { return left_ms() == 0; }
  uint64_t left_ms() const;  // SPILLWAY_FOREVER: no end
  uint64_t end_ms() const { return end_ms_; }
  uint64_t timeout_ms() const { return timeout_ms_; }

 private:
  bool waits_ = false;
  uint64_t timeout_ms_ = SPILLWAY_FOREVER, end_ms_ = SPILLWAY_FOREVER;
};

struct LeaseTable {
  os::Mapping mapping;
  wire::LeaseSlot* slot(uint32_t n) const { return reinterpret_cast<wire::LeaseSlot*>(mapping.data()) + n; }
};

struct Lease {
  spillway_ref ref{};
  uint64_t version = 0, bytes = 0;
  std::string tag;
  const char* data = nullptr;
  os::Mapping own;
  std::shared_ptr<os::Mapping> slab;
  Value stored;                       // without a table: it was read by name
  std::shared_ptr<LeaseTable> table;  // null: no lease, but what there is to one pin
  uint32_t slot = 0;
  uint64_t session = 0;
  std::atomic_ref<uint32_t> word() const { return std::atomic_ref(table->slot(slot)->word); }
};

// Memory that this session's large objects lie in, one after the other.
struct WriteBuffer {
  os::Mapping mapping;
  bool writable = false;
};

class State;

class Client {
 public:
  explicit Client(Options options);
  ~Client();
  const Options& options() const { return options_; }
  State& state();

 private:
  Options options_;
  std::atomic<State*> state_;
};

class State {
 public:
  explicit State(const Options& options);
  ~State();
  unsigned generation() const { return generation_; }

  Failure connect();
  struct Session;
  struct CallOptions {
    bool again = true;  // it may be repeated after the daemon was gone
    const os::Fd* fd = nullptr;
    std::optional<uint64_t> timeout_ms{};
    size_t timeout_at = 0;          // where in the request the daemon is told of it
    bool ends_with_daemon = false;  // what it waits for was only in the daemon
    // What becomes of an answer that comes when the call has given up. In the thread that listens.
    std::function<void(Session&, wire::Channel&, Answer&)> late{};
  };
  struct LateAnswer {
    std::unique_ptr<wire::Channel> channel;  // nobody else's until the answer has come
    uint64_t request = 0;
    std::function<void(Session&, wire::Channel&, Answer&)> take;
  };
  struct Session {
    uint64_t id = 0, key = 0;
    std::shared_ptr<LeaseTable> table;
    std::unique_ptr<wire::Channel> main;
    std::vector<std::unique_ptr<wire::Channel>> idle;
    std::vector<LateAnswer> late;
    std::atomic<bool> has_late{false};
    int notify_fd = -1;
    os::Fd wakeup;
    std::thread listener;
    std::atomic<bool> dead{false};
    os::Mapping name_marks;
    wire::NameMarks* marks() const { return reinterpret_cast<wire::NameMarks*>(name_marks.data()); }
    std::string small_names_directory;
    std::once_flag small_names_opened;
    Store small_names;
  };
  // A request and its answer.
  Failure call(wire::Verb verb, wire::Writer& request, Answer& answer, const CallOptions& options);
  Failure call(wire::Verb verb, wire::Writer& request, Answer& answer, bool again = true,
               const os::Fd* fd = nullptr) {
    return call(verb, request, answer, CallOptions{.again = again, .fd = fd});
  }
  // Several requests at once, their answers in order; each takes one. Ends at the first that cannot be sent.
  Failure call_many(wire::Verb verb, std::vector<wire::Writer>& requests,
                    const std::function<void(size_t, Failure, Answer&)>& each);

  // A pinned lease; without a table: of an empty object, or of one that was read without asking.
  Failure get(spillway_ref ref, const std::string& name, uint64_t timeout_ms, wire::WhenFull when_full,
              Lease*& lease);
  void unpin(Lease* lease);

  void retain(spillway_ref ref);    // counts; the daemon knows already
  void claimed(spillway_ref ref);   // the daemon counted once more
  Failure adopt(spillway_ref ref);  // counts, and tells the daemon of the first
  void release(spillway_ref ref);

  // The buffer, mapped for writing; its first `bytes` have memory.
  Result<std::shared_ptr<WriteBuffer>> open_buffer(uint32_t id, const os::Fd& fd, uint64_t file_bytes,
                                                   uint64_t bytes, uint64_t warm_bytes);
  Errno protect_buffer(WriteBuffer& buffer);
  // Without a message; false: with one, then.
  bool put_small(const void* data, uint64_t bytes, spillway_ref& ref);
  bool publish_large(uint64_t session_id, uint64_t id);
  static void abort_late(wire::Channel& channel, uint64_t id);
  uint64_t session_id();  // 0: none lives

  uint64_t host() const { return host_; }
  uint64_t on_destroy(std::function<void()> call);
  void cancel_destroy(uint64_t cookie);
  using Change = std::function<void(spillway_change, const std::string&, uint64_t)>;
  Failure watch(const std::string& prefix, Change call, uint32_t& id);
  void unwatch(uint32_t id);

  struct Filter {
    spillway_filter_call write = nullptr, read = nullptr;
    void* context = nullptr;
  };
  std::mutex filters_mutex;
  std::map<std::string, Filter> filters;
  // Mappings of files, by device, inode and time of change.
  std::mutex files_mutex;
  std::map<std::string, std::weak_ptr<os::Mapping>> files;

 private:
  struct SmallSlot {
    spillway_ref ref{};
    uint32_t offset = 0;
  };
  struct SmallLease {
    uint64_t session = 0;
    unsigned puts_to_come = 8;  // before slots are leased
    uint32_t number = 0;
    std::shared_ptr<WriteBuffer> slab{};
    std::vector<SmallSlot> slots{};
    size_t next = 0;
  };
  static wire::AnnounceRing* ring_of(const Session& session);
  bool announce(const Session& session, const wire::Announcement& entry);
  std::shared_ptr<Session> living_session();
  bool lease_slots(Session& session, uint64_t bytes, SmallLease& lease);

  Failure connect_socket(os::Fd& socket, const Deadline& deadline);
  Failure start_session(std::shared_ptr<Session>& session, const Deadline& deadline);
  Failure ensure_session(std::shared_ptr<Session>& session, const Deadline& deadline = {});
  void claim_again(Session& session);
  void end_session(std::shared_ptr<Session> session);
  Failure take_channel(Session& session, std::unique_ptr<wire::Channel>& channel, const Deadline& deadline);
  void give_channel(const std::shared_ptr<Session>& session, std::unique_ptr<wire::Channel> channel);
  Failure try_call(wire::Verb verb, wire::Writer& request, Answer& answer, const CallOptions& options,
                   const Deadline& deadline, bool& again);
  static Errno await(wire::Channel& channel, uint64_t id, const Deadline& deadline, wire::Frame& reply);
  void take_late(const std::shared_ptr<Session>& session);
  void listen(std::shared_ptr<Session> session, std::unique_ptr<wire::Channel> channel);
  void hear(Session& session, wire::Frame& frame);
  void run_callbacks();
  void forget_leases();
  struct SeenMark {
    uint64_t session = 0;
    uint32_t mark = 0;
  };
  void prepare_names(bool at_once);
  void learn_names(Session& session, const wire::Frame& frame);
  Lease* held_by_name(const Session& session, const std::string& name, SeenMark& seen);
  Lease* stored_by_name(Session& session, const std::string& name);
  void tell_used(const Session& session, uint64_t id);
  void note_name(const std::string& name, const SeenMark& seen, const Session& session, spillway_ref ref);
  Lease* pin_held(spillway_ref ref);  // under leases_mutex_; null: it is not held, or wanted back
  void forget_buffer(uint32_t id);
  void forget_buffers();
  Failure lease_of(Session& session, Answer& answer, Lease*& lease);
  void trim_cache(std::vector<uint32_t>& slots);
  bool let_go(uint64_t session_id, uint32_t slot);
  void tell_released(uint64_t session, uint32_t slot);
  void let_go_of_cached(Session& session, spillway_ref ref);

  Options options_;
  unsigned generation_;
  bool has_connected_ = false;         // under connecting_mutex_
  std::timed_mutex connecting_mutex_;  // who makes the next session; before session_mutex_
  std::mutex session_mutex_;
  std::shared_ptr<Session> session_;
  uint64_t host_ = 0;

  std::mutex leases_mutex_;
  std::condition_variable slab_came_;
  std::unordered_map<uint64_t, Lease*> by_id_;
  std::unordered_map<uint32_t, Lease*> by_slot_;
  std::unordered_set<Lease*> old_;  // of sessions that ended
  std::unordered_map<uint32_t, std::shared_ptr<os::Mapping>> slabs_;
  struct KnownName {
    spillway_ref ref{};
    uint32_t mark = 0;
  };
  uint64_t names_session_ = 0;  // whose the following are
  std::unordered_map<std::string, KnownName> known_names_;

  std::mutex buffers_mutex_;
  std::unordered_map<uint32_t, std::shared_ptr<WriteBuffer>> buffers_;

  std::mutex small_mutex_;                                 // before ring_mutex_ and refs_mutex_
  std::unordered_map<uint32_t, SmallLease> small_leases_;  // by the size of their slots
  std::mutex ring_mutex_;
  std::atomic<uint64_t> told_used_{0};  // the last

  std::mutex refs_mutex_;
  struct Counted {
    uint64_t key = 0, count = 0;
  };
  std::unordered_map<uint64_t, Counted> refs_;
  std::unordered_set<uint64_t> lost_;
  std::string pending_;  // messages without an answer: whole frames
  std::atomic<bool> has_pending_{false};
  std::atomic<bool> ticking_{false};  // listen() looks for them by itself
  std::atomic<bool> urgent_{false};   // somebody may be waiting for what they say

  std::mutex callbacks_mutex_;
  std::condition_variable callbacks_more_;
  std::vector<std::function<void()>> callbacks_;
  std::map<uint64_t, std::function<void()>> destroy_calls_;
  std::map<uint32_t, std::pair<std::string, Change>> watches_;
  uint32_t in_callback_of_ = 0;
  uint64_t last_cookie_ = 0;
  bool ending_ = false;
  std::thread caller_;
};

Failure start_daemon(const Options& options);

}  // namespace spillway::client
