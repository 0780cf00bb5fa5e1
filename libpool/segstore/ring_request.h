// ring_request.h - a write as bytes in a ring: one head and what belongs to it, or several for a batch.
//
// The reader of these bytes trusts nothing in them: lengths are compared with what is there before they are
// used.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libpool/segstore/writes.h"

namespace spillway::segstore {

enum class Wanted : uint8_t { kPut, kRemove, kBatch, kSync, kCompact };

// Followed by key, value and the expected value; of a batch by `value_bytes` heads with their keys and
// values.
struct RequestHead {
  Wanted what = Wanted::kSync;
  Durability durability = Durability::kGroup;
  enum class Expects : uint8_t { kAnything, kNothing, kThis } expects = Expects::kAnything;
  bool expects_sequence = false;
  uint32_t key_bytes = 0;
  uint64_t value_bytes = 0, alignment = 1;
  int64_t ttl_ms = 0;
  uint64_t expected_sequence = 0, expected_bytes = 0;
};

// The pieces of a request; what is not text of the caller's is in `heads`.
struct Request {
  std::vector<RequestHead> heads;
  std::vector<std::string_view> pieces;
};

Request request_for_put(std::string_view key, std::string_view value, const PutOptions& options,
                        Durability durability, const Condition& condition);
Request request_for_remove(std::string_view key, Durability durability, const Condition& condition);
Request request_for_batch(const Batch& batch, Durability durability);
Request request_for(Wanted what);

// The other side's.
struct ReadRequest {
  RequestHead head;
  std::string_view key, value;
  Condition condition;
  PutOptions options() const;
  Batch batch;
};
std::optional<ReadRequest> read_request(std::string_view bytes);

}  // namespace spillway::segstore
