// names.cc - getting by its name what is held already, or is small, without a message (wire/name_marks.h,
// wire/small_names.h).
#include "base/os/thread.h"
#include "libpool/client/client.h"
#include "libpool/wire/small_names.h"

namespace spillway::client {

// Reading the store needs barriers in all threads. Where asking for them may take long, the listener does,
// and names cost a message until it has.
void State::prepare_names(bool at_once) {
  if (os::has_asked_for_barrier() || (at_once && !os::is_only_thread())) return;
  (void)os::can_barrier_in_all_threads();  // false: the reader does without
}

// Without either, names cost a message.
void State::learn_names(Session& session, const wire::Frame& frame) {
  wire::Reader r(frame.payload);
  std::string directory(r.bytes(wire::kMaxPathBytes));
  if (!r.ok() || frame.fds.size() != 1 || os::length_of(frame.fds[0].get()) < sizeof(wire::NameMarks)) return;
  Result<os::Mapping> marks = os::Mapping::read_only(frame.fds[0].get(), 0, sizeof(wire::NameMarks));
  if (!marks) return;
  session.name_marks = std::move(*marks);
  session.small_names_directory = std::move(directory);
}

// Pinned, if the name surely means what is held; `seen` is for note_name() otherwise.
Lease* State::held_by_name(const Session& session, const std::string& name, SeenMark& seen) {
  if (!session.name_marks.valid()) return nullptr;
  std::lock_guard lock(leases_mutex_);
  if (names_session_ != session.id) {
    known_names_.clear();
    names_session_ = session.id;
  }
  seen.session = session.id;
  seen.mark = std::atomic_ref(session.marks()->marks[wire::mark_index(name)]).load(std::memory_order_acquire);
  const auto known = known_names_.find(name);
  if (known == known_names_.end() || known->second.mark != seen.mark) return nullptr;
  return pin_held(known->second.ref);
}

// What the daemon said after the mark was seen.
void State::note_name(const std::string& name, const SeenMark& seen, const Session& session,
                      spillway_ref ref) {
  std::lock_guard lock(leases_mutex_);
  if (seen.session != session.id || names_session_ != session.id) return;
  if (known_names_.size() >= options_.cached_objects) known_names_.clear();
  known_names_[name] = {ref, seen.mark};
}

// What nobody seems to use would be evicted first, and then its first get costs a message again.
void State::tell_used(const Session& session, uint64_t id) {
  if (told_used_.load(std::memory_order_relaxed) == id) return;
  wire::AnnounceRing& ring = *ring_of(session);
  const uint64_t head = std::atomic_ref(ring.head).load(std::memory_order_relaxed);
  if (std::atomic_ref(ring.tail).load(std::memory_order_relaxed) - head >= wire::kMostUsesWaiting) return;
  told_used_.store(id, std::memory_order_relaxed);
  (void)announce(session, {wire::kUsed, 0, id});
}

// From the daemon's store. Null: it is not in there, which only means that the daemon must be asked.
Lease* State::stored_by_name(Session& session, const std::string& name) {
  if (!session.name_marks.valid() || !os::has_asked_for_barrier()) return nullptr;
  const std::atomic_ref state(session.marks()->small_names);
  if (state.load(std::memory_order_acquire) != wire::SmallNamesState::kOn) return nullptr;
  std::call_once(session.small_names_opened, [&session] {
    // It cannot be had from another machine's view of the files, or another user's: then by messages.
    if (StoreResult<Store> reader = Store::open_reader(session.small_names_directory))
      session.small_names = std::move(*reader);
  });
  StoreResult<Value> value = session.small_names.get(name);
  wire::SmallObject object;
  if (!value || !value->found() || !wire::read_small_object(value->view(), object)) return nullptr;
  // After the value was read: the order that name_marks.h asks for.
  if (state.load(std::memory_order_acquire) != wire::SmallNamesState::kOn) return nullptr;
  tell_used(session, object.end.id);
  auto lease = std::make_unique<Lease>();
  lease->ref = {object.end.id, object.end.key};
  lease->version = object.end.version;
  lease->bytes = object.data.size();
  lease->tag = object.tag;
  if (lease->bytes > 0) lease->data = object.data.data();
  lease->stored = std::move(*value);
  return lease.release();
}

}  // namespace spillway::client
