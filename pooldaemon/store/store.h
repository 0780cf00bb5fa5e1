// store.h - all objects of a daemon, where they are, and who holds them.
//
// Why one thread: every decision (who leaves, who gets room, what a name means) is a change of several tables
// at once, and none takes longer than a microsecond; what takes long (files, large memory) is done by workers
// on bytes that nobody changes, and comes back as a call. So there is no lock, and none is held across I/O.
//
// Always:
//   used_bytes() = what objects being created, resident or loading were charged, plus what slabs hold beyond
//     that, plus what is being freed; it never exceeds the limit (room is granted before memory is made).
//   Every request is answered once, unless its client has gone.
//   Bytes are freed by the last holder (object.h); nothing frees what somebody holds.
//   On disk means: data and manifest record are written, or the record in a store of small objects that is
//     both.
// Threads: the loop's, which also runs what workers post.
#pragma once
#include <fmt/format.h>

#include <array>
#include <functional>
#include <list>
#include <set>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "base/os/memfd.h"
#include "base/os/process.h"
#include "base/os/socket.h"
#include "libpool/format/object_file.h"
#include "libpool/wire/announce.h"
#include "libpool/wire/codec.h"
#include "libpool/wire/name_marks.h"
#include "pooldaemon/log.h"
#include "pooldaemon/store/client.h"
#include "pooldaemon/store/config.h"
#include "pooldaemon/store/disk.h"
#include "pooldaemon/store/manifest.h"
#include "pooldaemon/store/object.h"
#include "pooldaemon/store/own_memory.h"
#include "pooldaemon/store/policy.h"
#include "pooldaemon/store/requests.h"
#include "pooldaemon/store/small_names.h"
#include "pooldaemon/store/small_store.h"
#include "pooldaemon/store/timers.h"
#include "pooldaemon/store/workers.h"
#include "spillway/pool.h"

namespace spillway::pool {

struct Counters {
  uint64_t puts = 0, gets = 0, hits = 0, misses = 0;
  uint64_t spills = 0, spilled_bytes = 0, free_evictions = 0, destroyed_on_evict = 0;
  uint64_t commits = 0;
  uint64_t loads = 0, loaded_bytes = 0, file_reads = 0;
  uint64_t spill_failures = 0, load_failures = 0, full_answers = 0, waits = 0, erased = 0, revokes = 0;
};

// An object that could not be written is not tried again earlier.
inline constexpr uint64_t kSpillAgainMs = 1000;

class Store {
 public:
  Store(Config config, std::function<void(std::function<void()>)> post);
  ~Store();
  // Directories, recovery. Says what is wrong, or nothing.
  std::string open();
  // Waits for the workers; what they posted must still run while the store lives.
  void join() {
    closing_ = true;
    workers_.reset();
    journal_.reset();
    freer_.reset();
  }

  Client& open_client(os::Peer peer, std::function<void(wire::Verb, std::string)> tell, Failure& failure);
  void close_client(Client& client);
  Client* client_by(uint64_t id);
  Client* maker_of(const Object& object) { return client_by(first_client_ + object.maker); }

  // --- making
  void put(Client& client, PutRequest request, std::string data, Reply<Published> reply);
  void create(Client& client, PutRequest request, uint64_t bytes, Reply<Created> reply);
  void seal(Client& client, uint64_t id, Reply<Published> reply);
  void abort(Client& client, uint64_t id);
  Answer<const SlotLease*> lease_slots(Client& client, uint64_t bytes);
  // What the client announced in its ring; to be called before anything else it says is looked at.
  void hear(Client& client);
  void hear_all();
  void restore(Client& client, PutRequest request, std::string path, os::Fd file, Reply<Published> reply);

  // --- holding
  void get(Client& client, GetRequest request, Reply<Held> reply);
  void released(Client& client, uint32_t slot);
  Failure ref(Client& client, const Which& which, Published& published);
  void unref(Client& client, uint64_t id);
  Answer<uint64_t> issue(Client& client, const Which& which, uint64_t expiry_ms);
  void void_ticket(uint64_t nonce);
  Failure claim(Client& client, uint64_t id, uint64_t key, uint64_t nonce);
  Failure on_destroy(Client& client, const Which& which, uint64_t cookie);
  void erase(Client& client, const Which& which, Done done);
  void cleanup(Client& client, Done done);

  // --- disk and memory
  void to_disk(Client& client, ToDisk request, Reply<Filed> reply);
  void load(Client& client, const Which& which, Done done);
  Failure keep_resident(Client& client, const Which& which, int change);
  Failure set_hint(Client& client, const Which& which, wire::Hint hint);
  void retain(Client& client, const Which* which, bool on, Reply<Filed> reply);  // null: all of the client's
  void drain(Done done, bool each_alone = false);
  // What an end of the daemon would lose now. Recomputable objects may be lost at any time.
  struct Unwritten {
    uint64_t objects = 0, bytes = 0;
  };
  Unwritten unwritten() const;
  // Second copies of what is in memory give way to nothing.
  void keep_copies(bool on) { keeps_copies_ = on; }
  void give_no_room() { gives_room_ = false; }
  // After drain: `keep` gets the memory of large objects, the last used first, and names to give them back
  // under; false: no more. Both say of how many objects.
  size_t hand_over(const std::function<bool(const std::string& name, int fd)>& keep, size_t most);
  struct HandedOver {
    std::string name;
    os::Fd fd;
  };
  size_t take_over(std::vector<HandedOver> all);  // after open()

  // --- looking
  Answer<Object*> find(Client& client, const Which& which, bool to_write = false);
  // Calls `visit` with objects in the order of names, then those without, beginning after the place where an
  // earlier call ended; false: enough. Answers where to go on; {"", 0}: that was all.
  struct Cursor {
    std::string name;
    uint64_t index = 0;  // 1 + index of the table: the names are done
  };
  Cursor list(Client& client, const std::string& prefix, bool unnamed, Cursor from,
              const std::function<bool(Object&)>& visit);
  void watch(Client& client, uint32_t id, std::string prefix) { client.watches[id] = std::move(prefix); }
  void unwatch(Client& client, uint32_t id) { client.watches.erase(id); }
  int name_marks() const { return name_marks_fd_.get(); }  // wire::NameMarks, for reading
  const SmallNames& small_names() const { return small_names_; }
  std::vector<DeviceState> devices();
  std::vector<std::pair<std::string, uint64_t>> counters();
  const std::unordered_map<uint64_t, std::unique_ptr<Client>>& clients() const { return clients_; }
  uint32_t pins_of(const Object& object) const;
  uint64_t pinned_bytes(const Client& client) const;
  std::string file_of(const Object& object) const;
  void list_again(Object& object, Done done);  // its tags changed

  Config& config() { return config_; }
  void config_changed();
  Timers& timers() { return timers_; }
  uint64_t used_bytes() const;
  uint64_t room_limit() const;
  // Workers read or write: they compute while clients wait for this thread.
  bool at_work() const { return at_work_ > 0; }

  // For Memory and DiskCopy.
  void give_back(Memory& memory);
  void free_pages(os::Fd file, uint64_t file_bytes, uint64_t warm_bytes);
  void give_back(DiskCopy& copy);

 private:
  enum class Room { kMemory, kDisk, kRefused };
  enum class Fit { kNow, kSoon, kNot };
  struct RoomRequest {
    uint64_t bytes = 0;
    std::optional<AccessClass> packed;  // it will lie in a slab of this class
    bool buffered = false;              // it may lie in a buffer of the client's
    std::unique_ptr<Buffer> buffer{};   // this one
    uint64_t client = 0;
    wire::WhenFull when_full = wire::WhenFull::kSpill;
    std::function<void(Room, Ref<Memory>, Failure)> answer;
    std::optional<Timers::Id> timer;
    bool abandoned = false;
  };
  struct SmallWrite {
    uint64_t id = 0;
    std::shared_ptr<const std::string> data{};  // null: what its memory has
    bool again = false;                         // the disk was full, and others have given way
  };
  struct ByName {
    using is_transparent = void;
    bool operator()(const Object* a, const Object* b) const { return a->name.view() < b->name.view(); }
    bool operator()(const Object* a, std::string_view b) const { return a->name.view() < b; }
    bool operator()(std::string_view a, const Object* b) const { return a < b->name.view(); }
  };
  struct Waiter {
    uint64_t client = 0;
    GetRequest request;
    Reply<Held> reply;
    Done loaded;  // instead of reply: memory only
    std::optional<Timers::Id> timer;
  };

  // store_objects.cc
  uint64_t reserve_id();
  uint64_t fresh_key();
  Object& make_object(Client& client, const PutRequest& request, uint64_t bytes);
  Object& make_object(Client& client, const PutRequest& request, uint64_t bytes, uint64_t id, uint64_t key);
  Object* object_by(uint64_t id);
  Failure check_put(Client& client, const PutRequest& request, uint64_t bytes);
  // store_publish.cc
  void publish(Object& object);
  void unbind_name(Object& object);
  void name_changed(std::string_view name);
  void show(Object& object);
  void hide(Object& object);
  Errno make_name_marks();
  void finish_publishing(Client& client, Object& object, uint32_t flags, Reply<Published> reply);
  // store_end.cc
  void maybe_die(Object& object);
  void destroy(Object& object, Done done = nullptr);
  void forget_object(Object& object);
  void tell_change(spillway_change change, const Object& object);
  bool may(const Client& client, const Object& object, unsigned bit) const;
  void add_reference(Client& client, Object& object);
  bool made(const Client& client, const Object& object) const {
    return object.maker == static_cast<uint32_t>(client.id - first_client_);
  }
  void let_leave(Object& object);

  // store_announced.cc
  void take_announced(Client& client, const wire::Announcement& entry);
  void uncharge_leased(uint64_t bytes);
  void end_slot_leases(Client& client);

  // store_room.cc
  void ask_room(RoomRequest request, uint64_t timeout_ms);
  void pump();
  void pump_later();
  void pump_soon();
  void pump_once();
  void answer_room(RoomRequest request, Fit fit);
  Fit make_room(uint64_t bytes, const std::optional<AccessClass>& packed);
  Ref<Memory> grant(RoomRequest& request);
  void limit_idle();
  uint64_t used_with(uint64_t bytes, const std::optional<AccessClass>& packed) const;
  bool evict(Object& object, std::vector<SmallWrite>& small);
  bool is_pinned(const Object& object) const;
  bool few_descriptors_are_left(int last) const;
  bool drop_memory(Object& object);
  void detach_lease(Lease& lease, bool want_only);
  void refresh_uses();
  uint64_t leaving_bytes() const;
  Failure full_failure(uint64_t bytes, spillway_status status);

  // store_get.cc
  void let_stay(Object& object);
  // `in_file`: in memory there is no room for it.
  void answer_get(Client& client, Object& object, const FilePlace* in_file, Reply<Held>& reply);
  Lease* new_lease(Client& client, Object& object, Failure& failure);
  void wait_for_name(Client& client, GetRequest request, Reply<Held> reply);
  void start_load(Object& object, wire::WhenFull when_full, uint64_t timeout_ms);
  void load_into(Object& object, Ref<Memory> memory);
  void read_in_place(Object& object);
  void loaded(uint64_t id, Failure failure, Ref<Memory> memory, const FilePlace* in_file = nullptr);

  // store_recover.cc
  std::string recover();
  void adopt(ManifestEntry& entry, SmallStore* small);
  std::string adopt_small_stores();
  std::string convert_packs(std::vector<ManifestEntry>& entries, std::vector<std::string>& converted);
  void await_claims();
  // store_leftovers.cc
  struct Leftovers {
    bool may_go = false;    // the directory is known to be this pool's, and the manifest was whole
    bool may_come = false;  // known to be this pool's, but not what was in it
    const std::set<uint64_t>* removed = nullptr;
  };
  void look_at_leftovers(SpillDirectory& directory, const std::set<std::string>& known,
                         const Leftovers& what);
  bool adopt_file(SpillDirectory& directory, const std::string& path, uint64_t id);
  static format::Origin origin_of(const Object& object);
  ManifestEntry facts_of(const Object& object) const;
  ManifestEntry entry_of(const Object& object, const DiskCopy& copy) const;
  // store_small.cc
  bool is_for_small_store(const Object& object) const {
    return disk_.can_have_stores() && object.bytes < wire::kLargeBytes && !object.retained &&
           (!object.details || object.details->filters.empty());
  }
  SmallStore& small_store(SpillDirectory& directory, AccessClass access);
  // The one that has its record, or will have.
  SmallStore* small_store_of(const Object& object) const;
  // `commit`: they survive a power cut, too, before anybody is told that they are written.
  void write_small(std::vector<SmallWrite> writes, bool commit);
  void write_small(Object& object, bool commit, Done done, std::shared_ptr<const std::string> data = nullptr);
  void commit(SmallStore& store, Done done);
  void begin_commit(SmallStore& store);
  void settle_with(SmallStore& store, std::function<void(SmallStore&)> what);
  void remove_when_empty(SmallStore& store);
  void look_if_empty(SmallStore& store, uint64_t at_ms);
  // store_spill.cc, store_disk.cc, store_direct.cc, store_files.cc
  // Writes it to a file of its own, unless that is so. `moving` counts it as leaving memory meanwhile.
  // `data`: of one that has no memory.
  void write_own_file(Object& object, ToDisk how, Done done,
                      std::shared_ptr<const std::string> data = nullptr);
  void spilled(uint64_t id, Failure failure, Ref<DiskCopy> copy);
  void list_in_manifest(Object& object, Ref<DiskCopy> copy, bool sync, Done done);
  void let_go_of_copy(Object& object);
  void create_on_disk(Client& client, PutRequest request, uint64_t bytes, Reply<Created> reply);
  void seal_on_disk(Client& client, Object& object, Reply<Published> reply);
  SpillDirectory* reserve_disk(uint64_t bytes, Failure& failure);
  // Second copies of what is in memory go. False: there was none.
  bool make_disk_room(uint64_t bytes);
  void forget_recorded_name(Object& object);
  void journal(std::function<void()> call, Done done = nullptr);
  // Nothing is begun any more once the store is closing.
  void work(Workers::Call call, Workers::Call done) {
    if (!workers_) return;
    ++at_work_;
    workers_->run(std::move(call), [this, done = std::move(done)] {
      --at_work_;
      if (done) done();
    });
  }
  void journal_work(Workers::Call call, Workers::Call done);
  void keep_file(Object& object, const std::string& to, Done done);
  std::string retained_path(const Object& object) const;
  void compact_manifest();

  Config config_;
  mutable OwnMemory own_;
  std::function<void(std::function<void()>)> post_;
  Timers timers_;
  Policy policy_;
  Slabs slabs_;
  Buffers buffers_;
  std::optional<Timers::Id> idle_look_;
  Disk disk_;
  Manifest manifest_;

  std::vector<Object*> table_;
  std::vector<uint32_t> free_indices_;
  std::vector<uint32_t> generations_;
  uint64_t object_count_ = 0;
  std::array<uint64_t, 64> keys_{};  // a system call for each would be much of what a small object costs
  size_t keys_left_ = 0;
  std::set<Object*, ByName> names_;
  os::Fd name_marks_fd_;
  os::Mapping name_marks_;
  SmallNames small_names_;
  std::multimap<std::string, Waiter> name_waiters_;
  std::unordered_map<uint64_t, std::vector<Waiter>> load_waiters_;
  std::unordered_map<uint64_t, uint32_t> create_flags_;
  std::unordered_map<uint64_t, std::vector<Done>> spill_waiters_;
  std::map<std::pair<unsigned, AccessClass>, std::unique_ptr<SmallStore>> small_stores_;  // by directory
  std::unordered_map<uint64_t, SmallStore*> small_writes_;  // of objects, under way
  std::set<SmallStore*> owing_;  // the journal's: removes that could not be written
  struct Ticket {
    uint64_t object = 0;
    Timers::Id timer;
  };
  std::unordered_map<uint64_t, Ticket> tickets_;
  std::unordered_map<uint64_t, std::unique_ptr<Client>> clients_;
  const uint64_t first_client_ = os::random_number() >> 16;  // not those of a daemon before this one
  uint64_t last_client_ = first_client_;
  uint64_t last_version_ = 0;

  std::list<RoomRequest> queue_;
  bool pumping_ = false, pump_again_ = false, pump_posted_ = false;
  std::optional<Timers::Id> retry_;
  unsigned over_looks_ = 0;
  uint64_t charged_bytes_ = 0, small_bytes_ = 0, leased_bytes_ = 0;
  uint64_t departing_bytes_ = 0;  // being written, to be dropped
  uint64_t freeing_bytes_ = 0;    // nobody's any more, but for the kernel
  // Their objects let go of them; others hold them still.
  struct Leaving {
    uint64_t since_ms = 0;
    bool pinned = false;
  };
  std::unordered_map<const Memory*, Leaving> leaving_;
  std::unordered_map<uint64_t, uint64_t> no_spill_until_;
  std::string last_spill_error_;
  spillway_status last_spill_status_ = SPILLWAY_FULL;
  uint64_t last_spill_error_ms_ = 0;
  Counters counters_;
  SeldomLine full_line_{"full"}, spill_failed_line_{"spill_failed"}, load_failed_line_{"load_failed"};
  const uint64_t descriptor_limit_ = os::descriptor_limit();
  uint64_t manifest_entries_ = 0;
  // In directories of the pool that were not given this time: they stay in the manifest.
  std::vector<ManifestEntry> absent_;
  // Of objects in such, and of files that nobody knows: no new object is there.
  std::unordered_set<uint32_t> taken_indices_;
  uint64_t journal_queued_ = 0;
  uint64_t at_work_ = 0;
  bool closing_ = false, keeps_copies_ = false, gives_room_ = true;

  // Last: they end first, and what they were doing may still look at everything above.
  std::unique_ptr<Workers> freer_;
  std::unique_ptr<Workers> journal_;
  std::unique_ptr<Workers> workers_;
};

// In words, with the limit where descriptors are what is lacking.
std::string error_text(Errno e);
std::string size_text(uint64_t bytes);

}  // namespace spillway::pool
