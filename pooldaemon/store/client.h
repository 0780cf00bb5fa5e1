// client.h - a session, as the store sees it: what it holds, refers to and is making.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/os/memfd.h"
#include "base/os/process.h"
#include "base/os/socket.h"
#include "libpool/wire/announce.h"
#include "pooldaemon/store/index_set.h"
#include "pooldaemon/store/object.h"

namespace spillway::pool {

// Slots in which a session may publish without asking.
struct SlotLease {
  struct Slot {
    uint64_t id = 0;  // of the object to be; 0: it has been announced
    uint64_t key = 0;
    uint32_t offset = 0;
  };
  uint32_t number = 0;
  Slab* slab = nullptr;
  std::vector<Slot> slots;
  size_t left = 0;
};

// A session, as the store sees it.
struct Client {
  uint64_t id = 0;
  uint64_t key = 0;
  os::Peer peer;
  std::string program;
  // A frame on the session's second connection.
  std::function<void(wire::Verb, std::string payload)> tell;

  os::Fd lease_table;
  os::Mapping lease_mapping;
  std::unordered_map<uint32_t, std::unique_ptr<Lease>> leases;
  std::vector<uint32_t> free_slots;
  uint32_t next_slot = 1;
  uint64_t seen_gets = 0;
  std::vector<uint64_t> seen_uses;  // by slot
  std::unordered_map<uint32_t, SlotLease> slot_leases;
  uint32_t last_slot_lease = 0;
  uint64_t heard = 0;  // of its ring
  bool hearing = false;

  IndexSet references;                                     // objects
  std::unordered_map<uint32_t, uint32_t> more_references;  // counted beyond one
  std::unordered_set<uint64_t> creating;
  std::map<uint32_t, std::string> watches;
  std::unordered_set<uint64_t> cells;
  bool retain_all = false;

  uint64_t connected_ms = 0;
  uint64_t made_bytes = 0, made_objects = 0;
  uint64_t puts = 0, gets = 0, hits = 0;

  wire::LeaseSlot* slot(uint32_t n) { return reinterpret_cast<wire::LeaseSlot*>(lease_mapping.data()) + n; }
};

}  // namespace spillway::pool
