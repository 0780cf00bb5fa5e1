// names.cc - getting by its name what is held already, without a message (wire/name_marks.h).
#include "libpool/client/client.h"

namespace spillway::client {

// The session's table is mapped, if its daemon has one. Costs a message once.
bool State::map_name_marks(const Session& session) {
  {
    std::lock_guard lock(leases_mutex_);
    if (names_session_ == session.id) return name_marks_.valid();
  }
  wire::Writer w(wire::kHeaderBytes);
  Answer answer;
  const Failure failure = call(wire::Verb::kNames, w, answer);
  os::Mapping marks;
  if (!failure.bad() && answer.fds.size() == 1 &&
      os::length_of(answer.fds[0].get()) >= sizeof(wire::NameMarks))
    if (auto mapped = os::Mapping::read_only(answer.fds[0].get(), 0, sizeof(wire::NameMarks)))
      marks = std::move(*mapped);
  std::lock_guard lock(leases_mutex_);
  known_names_.clear();
  name_marks_ = std::move(marks);
  names_session_ = session.id;
  return name_marks_.valid();
}

// Pinned, if the name surely means what is held; `seen` is for note_name() otherwise.
Lease* State::held_by_name(const std::string& name, SeenMark& seen) {
  const std::shared_ptr<Session> session = living_session();
  if (!session || !map_name_marks(*session)) return nullptr;
  std::lock_guard lock(leases_mutex_);
  if (names_session_ != session->id) return nullptr;
  auto* const marks = reinterpret_cast<wire::NameMarks*>(name_marks_.data());
  seen.session = session->id;
  seen.mark = std::atomic_ref(marks->marks[wire::mark_index(name)]).load(std::memory_order_acquire);
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

}  // namespace spillway::client
