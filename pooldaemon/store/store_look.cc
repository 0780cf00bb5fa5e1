// store_look.cc - what there is: lists, devices, counters.
#include <algorithm>
#include <atomic>

#include "pooldaemon/store/store.h"

namespace spillway::pool {

Store::Cursor Store::list(Client& client, const std::string& prefix, bool unnamed, Cursor from,
                          const std::function<bool(Object&)>& visit) {
  hear_all();
  unsigned looked_at = 0;  // others wait meanwhile: a bounded part at a time
  constexpr unsigned kMostAtOnce = 20'000;
  if (from.index == 0) {
    auto at = from.name.empty() ? names_.lower_bound(std::string_view(prefix))
                                : names_.upper_bound(std::string_view(from.name));
    for (; at != names_.end() && (*at)->name.view().starts_with(prefix); ++at) {
      if (++looked_at > kMostAtOnce) return from;
      if (may(client, **at, 04) && !visit(**at)) return from;
      from.name = (*at)->name.view();
    }
    if (!unnamed) return {};
    from = {"", 1};
  }
  for (uint64_t i = from.index - 1; i < table_.size(); ++i) {
    Object* const object = table_[i];
    if (++looked_at > kMostAtOnce) return {"", i + 1};
    if (object == nullptr || !object->name.empty() || !may(client, *object, 04)) continue;
    if (!visit(*object)) return {"", i + 1};
  }
  return {};
}

uint32_t Store::pins_of(const Object& object) const {
  uint32_t pins = object.kept_resident();
  for (const Lease* lease = object.leases; lease != nullptr; lease = lease->next) {
    const uint32_t word =
        std::atomic_ref(lease->client->slot(lease->slot)->word).load(std::memory_order_acquire);
    pins += word & wire::kPinMask;
  }
  return pins;
}

uint64_t Store::pinned_bytes(const Client& client) const {
  uint64_t sum = 0;
  for (const auto& [slot, lease] : client.leases) {
    const uint32_t word = std::atomic_ref(lease->client->slot(slot)->word).load(std::memory_order_acquire);
    if ((word & wire::kPinMask) != 0 && lease->memory) sum += lease->memory->charge;
  }
  return sum;
}

std::string Store::file_of(const Object& object) const {
  if (!object.disk) return "";
  return object.disk->small ? object.disk->small->path() : object.disk->path;
}

std::vector<DeviceState> Store::devices() {
  std::vector<DeviceState> all;
  hear_all();
  const uint64_t used = used_bytes() - leased_bytes_ - freeing_bytes_;
  const uint64_t limit = room_limit();
  all.push_back({"memory", "", limit, used, limit > used ? limit - used : 0});
  for (const auto& directory : disk_.directories()) {
    const uint64_t room = disk_.room_in(*directory);
    const uint64_t used_here = disk_.used(*directory);
    uint64_t capacity = std::min(directory->limit_bytes, disk_.limit());
    capacity = std::min(capacity, used_here + room);
    all.push_back({fmt::format("disk{}", directory->index), directory->path, capacity, used_here, room});
  }
  return all;
}

std::vector<std::pair<std::string, uint64_t>> Store::counters() {
  hear_all();
  const os::Resident resident = os::resident_bytes();
  uint64_t small_store_bytes = 0;
  for (const auto& [where, small] : small_stores_) small_store_bytes += small->disk_bytes();
  return {{"memory_limit_bytes", room_limit()},
          {"memory_used_bytes", used_bytes() - leased_bytes_ - freeing_bytes_},
          {"leased_bytes", leased_bytes_},
          {"small_object_bytes", small_bytes_},
          {"slab_bytes", slabs_.allocated_bytes()},
          {"idle_buffer_bytes", buffers_.idle_bytes()},
          {"leaving_bytes", leaving_bytes()},
          {"disk_limit_bytes", config_.disk_limit},
          {"disk_used_bytes", disk_.used()},
          {"small_store_disk_bytes", small_store_bytes},
          {"small_names_disk_bytes", small_names_.disk_bytes()},
          {"objects", object_count_},
          {"names", names_.size()},
          {"clients", clients_.size()},
          {"waiting_for_room", queue_.size()},
          {"tokens_in_flight", tickets_.size()},
          {"puts", counters_.puts},
          {"gets", counters_.gets},
          {"hits", counters_.hits},
          {"misses", counters_.misses},
          {"spills", counters_.spills},
          {"spilled_bytes", counters_.spilled_bytes},
          {"commits", counters_.commits},
          {"free_evictions", counters_.free_evictions},
          {"destroyed_on_evict", counters_.destroyed_on_evict},
          {"loads", counters_.loads},
          {"loaded_bytes", counters_.loaded_bytes},
          {"file_reads", counters_.file_reads},
          {"spill_failures", counters_.spill_failures},
          {"load_failures", counters_.load_failures},
          {"full_answers", counters_.full_answers},
          {"erased", counters_.erased},
          {"revokes", counters_.revokes},
          {"daemon_resident_bytes", resident.all_bytes},
          {"daemon_private_bytes", resident.all_bytes - resident.shared_bytes}};
}

Store::Unwritten Store::unwritten() const {
  Unwritten all;
  for (const Object* object : table_) {
    if (object == nullptr || object->disk || object->hint == wire::Hint::kRecomputable) continue;
    if (object->state == wire::Residency::kCreating) continue;  // nobody was told that it is there
    if (!object->memory && object->state != wire::Residency::kResident) continue;
    ++all.objects;
    all.bytes += object->bytes;
  }
  return all;
}

}  // namespace spillway::pool
