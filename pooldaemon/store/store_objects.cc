// store_objects.cc - the table of objects: finding one, making one, and who may.
#include <algorithm>
#include <chrono>

#include "base/os/clock.h"
#include "base/os/directory.h"
#include "libpool/format/filters.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {
namespace {

uint32_t now_s() {
  return static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
}

uint64_t make_id(uint32_t index, uint32_t generation) { return uint64_t{generation} << 32 | index; }

Failure bad_name(const std::string& name) {
  if (name.size() > wire::kMaxNameBytes)
    return {SPILLWAY_INVALID,
            fmt::format("a name has at most {} bytes, this one {}", wire::kMaxNameBytes, name.size())};
  for (unsigned char c : name)
    if (c < 0x20 || c == 0x7f) return {SPILLWAY_INVALID, "a name has no control characters"};
  return {};
}

}  // namespace

Object* Store::object_by(uint64_t id) {
  const uint32_t index = static_cast<uint32_t>(id);
  if (index >= table_.size()) return nullptr;
  Object* const object = table_[index];
  return object != nullptr && object->id == id ? object : nullptr;
}

bool Store::may(const Client& client, const Object& object, unsigned bit) const {
  const uint32_t uid = client.peer.uid;
  if (uid == object.uid || uid == 0 || uid == os::user_id()) return true;
  if (client.peer.gid == object.gid && (object.mode & bit << 3)) return true;
  return (object.mode & bit) != 0;
}

Answer<Object*> Store::find(Client& client, const Which& which, bool to_write) {
  Object* object = nullptr;
  if (!which.name.empty()) {
    const auto found = names_.find(std::string_view(which.name));
    if (found == names_.end())
      return {{SPILLWAY_NOT_FOUND, fmt::format("no object has the name {}", which.name)}};
    object = *found;
  } else {
    object = object_by(which.id);
    if (object == nullptr || object->state == wire::Residency::kCreating) {
      hear_all();  // its maker may have said so a moment ago
      object = object_by(which.id);
    }
    if (object != nullptr && (object->key != which.key || object->state == wire::Residency::kCreating))
      object = nullptr;
    if (object == nullptr)
      return {{SPILLWAY_NOT_FOUND, "no such object: it was erased, or its last reference went"}};
  }
  if (!may(client, *object, to_write ? 02 : 04))
    return {{SPILLWAY_DENIED, fmt::format("this object belongs to user {} and its mode is {:04o}",
                                          object->uid, static_cast<unsigned>(object->mode))}};
  return {{}, object};
}

uint64_t Store::reserve_id() {
  uint32_t index;
  if (!free_indices_.empty()) {
    index = free_indices_.back();
    free_indices_.pop_back();
  } else {
    do {
      index = static_cast<uint32_t>(table_.size());
      table_.push_back(nullptr);
      generations_.push_back(0);
    } while (taken_indices_.contains(index));
  }
  return make_id(index, ++generations_[index]);
}

Object& Store::make_object(Client& client, const PutRequest& request, uint64_t bytes) {
  return make_object(client, request, bytes, reserve_id(), fresh_key());
}

// Not to be guessed, and never 0.
uint64_t Store::fresh_key() {
  if (keys_left_ == 0) {
    CHECK(os::random_bytes(keys_.data(), sizeof keys_).ok(), "no random numbers");
    keys_left_ = keys_.size();
  }
  return keys_[--keys_left_] | 1;
}

Object& Store::make_object(Client& client, const PutRequest& request, uint64_t bytes, uint64_t id,
                           uint64_t key) {
  auto* const object = new Object;
  object->id = id;
  object->key = key;
  object->bytes = bytes;
  object->uid = client.peer.uid;
  object->gid = client.peer.gid;
  object->mode = request.mode ? request.mode : 0600;
  object->hint = request.hint;
  object->created_s = now_s();
  object->used_ns = os::clock_ns();
  object->maker = static_cast<uint32_t>(client.id - first_client_);
  object->retained = client.retain_all || (request.flags & SPILLWAY_RETAIN);
  object->durable = request.flags & SPILLWAY_DURABLE;
  object->uncounted = request.flags & SPILLWAY_UNCOUNTED;
  object->name = request.name;
  if (!request.tag.empty()) object->more().tag = request.tag;
  const std::string& filters = request.filters.empty() ? config_.filters : request.filters;
  if (!filters.empty() && filters != "none") object->more().filters = filters;
  table_[static_cast<uint32_t>(id)] = object;
  ++object_count_;
  client.made_bytes += bytes;
  ++client.made_objects;
  return *object;
}

Failure Store::check_put(Client& client, const PutRequest& request, uint64_t bytes) {
  if (!request.name.empty()) {
    if (Failure f = bad_name(request.name); f.bad()) return f;
    const auto taken = names_.find(std::string_view(request.name));
    if (taken != names_.end()) {
      if (request.flags & SPILLWAY_EXCLUSIVE)
        return {SPILLWAY_EXISTS, fmt::format("the name {} is taken", request.name)};
      if (!may(client, **taken, 02))
        return {SPILLWAY_DENIED, fmt::format("the name {} belongs to user {}", request.name, (*taken)->uid)};
    }
  } else if (request.flags & SPILLWAY_UNCOUNTED) {
    return {SPILLWAY_INVALID, "an object without a name and without a reference could not be found again"};
  }
  if (request.tag.size() > 2048) return {SPILLWAY_INVALID, "a tag has at most 2048 bytes"};
  if (request.mode & ~0666u) return {SPILLWAY_INVALID, "a mode has the bits 0666 only"};
  const auto filters = format::split_filters(request.filters);
  for (const std::string& filter : filters)
    if (!format::is_builtin_filter(filter) && !(filter == "none" && filters.size() == 1))
      return {
          SPILLWAY_INVALID,
          fmt::format("{}: expected the filters lz4, zstd or checksum, joined by commas, or none", filter)};
  if (filters.size() > 8) return {SPILLWAY_INVALID, "at most 8 filters"};
  if (bytes > wire::kMaxObjectBytes || bytes > config_.max_object)
    return {SPILLWAY_TOO_LARGE, fmt::format("an object has at most {} bytes (max_object), this one {}",
                                            std::min(wire::kMaxObjectBytes, config_.max_object), bytes)};
  if (client.made_bytes + bytes > config_.client_limit)
    return {SPILLWAY_FULL, fmt::format("this session's objects have {} bytes, and may have {} (client_limit)",
                                       client.made_bytes, config_.client_limit)};
  return {};
}

}  // namespace spillway::pool
