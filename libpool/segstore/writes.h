// writes.h - who makes a store's writes: a writer of this process, or another process that is asked.
#pragma once
#include <optional>
#include <string_view>

#include "spillway/store.hpp"

namespace spillway::segstore {

// Under which a write is made.
struct Condition {
  std::optional<std::optional<std::string_view>> value;  // what must be there; inner nullopt: nothing
  std::optional<uint64_t> sequence;                      // of what must be there; 0: nothing
};

// Threads: any.
class Writes {
 public:
  virtual ~Writes() = default;
  // The sequence number; 0: the condition does not hold.
  virtual StoreResult<uint64_t> put(std::string_view key, std::string_view value, const PutOptions& options,
                                    const Condition& condition) = 0;
  // The sequence number; 0: there was nothing, or the condition does not hold.
  virtual StoreResult<uint64_t> remove(std::string_view key, std::optional<Durability> durability,
                                       const Condition& condition) = 0;
  virtual StoreResult<uint64_t> write(const Batch& batch, std::optional<Durability> durability) = 0;
  virtual StoreStatus sync() = 0;
  virtual StoreStatus compact() = 0;
  virtual StoreStatus close() = 0;
  // No write will be made any more, as the disk refused a flush: the store must be opened again.
  virtual bool has_failed() const { return false; }
};

}  // namespace spillway::segstore
