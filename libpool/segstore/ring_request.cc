#include "libpool/segstore/ring_request.h"

#include <cstring>
#include <utility>

namespace spillway::segstore {
namespace {

std::string_view bytes_of(const RequestHead& head) {
  return {reinterpret_cast<const char*>(&head), sizeof head};
}

void set(RequestHead& head, const Condition& condition) {
  if (condition.value) {
    head.expects = *condition.value ? RequestHead::Expects::kThis : RequestHead::Expects::kNothing;
    if (*condition.value) head.expected_bytes = (*condition.value)->size();
  }
  head.expects_sequence = condition.sequence.has_value();
  head.expected_sequence = condition.sequence.value_or(0);
}

RequestHead head_of_put(std::string_view key, std::string_view value, const PutOptions& options) {
  RequestHead head;
  head.what = Wanted::kPut;
  head.key_bytes = static_cast<uint32_t>(key.size());
  head.value_bytes = value.size();
  head.alignment = options.alignment;
  head.ttl_ms = options.ttl.count();
  return head;
}

Request request_of(const RequestHead& head, std::string_view key, std::string_view value,
                   const Condition& condition) {
  Request request;
  request.heads = {head};
  request.pieces = {bytes_of(request.heads[0]), key, value};
  if (condition.value && *condition.value) request.pieces.push_back(**condition.value);
  return request;
}

// Takes from the front; false: there is not so much.
bool take(std::string_view& from, uint64_t bytes, std::string_view& piece) {
  if (bytes > from.size()) return false;
  piece = from.substr(0, bytes);
  from.remove_prefix(bytes);
  return true;
}

bool take(std::string_view& from, RequestHead& head) {
  std::string_view piece;
  if (!take(from, sizeof head, piece)) return false;
  // As numbers first: not every byte is one of an enum's values, or a bool's.
  const auto is_at_most = [&](size_t offset, unsigned most) {
    return static_cast<unsigned char>(piece[offset]) <= most;
  };
  if (!is_at_most(offsetof(RequestHead, what), static_cast<unsigned>(Wanted::kCompact)) ||
      !is_at_most(offsetof(RequestHead, durability), static_cast<unsigned>(Durability::kSync)) ||
      !is_at_most(offsetof(RequestHead, expects), static_cast<unsigned>(RequestHead::Expects::kThis)) ||
      !is_at_most(offsetof(RequestHead, expects_sequence), 1))
    return false;
  memcpy(static_cast<void*>(&head), piece.data(), sizeof head);
  return true;
}

}  // namespace

Request request_for_put(std::string_view key, std::string_view value, const PutOptions& options,
                        Durability durability, const Condition& condition) {
  RequestHead head = head_of_put(key, value, options);
  head.durability = durability;
  set(head, condition);
  return request_of(head, key, value, condition);
}

Request request_for_remove(std::string_view key, Durability durability, const Condition& condition) {
  RequestHead head;
  head.what = Wanted::kRemove;
  head.key_bytes = static_cast<uint32_t>(key.size());
  head.durability = durability;
  set(head, condition);
  return request_of(head, key, {}, condition);
}

Request request_for_batch(const Batch& batch, Durability durability) {
  Request request;
  request.heads.reserve(batch.size() + 1);  // pieces point into it
  RequestHead& all = request.heads.emplace_back();
  all.what = Wanted::kBatch;
  all.durability = durability;
  all.value_bytes = batch.size();
  request.pieces.push_back(bytes_of(all));
  for (const Batch::Write& write : batch.writes()) {
    RequestHead& head = request.heads.emplace_back(head_of_put(write.key, write.value, write.options));
    if (!write.is_put) head.what = Wanted::kRemove;
    request.pieces.insert(request.pieces.end(), {bytes_of(head), write.key, write.value});
  }
  return request;
}

Request request_for(Wanted what) {
  RequestHead head;
  head.what = what;
  return request_of(head, {}, {}, {});
}

PutOptions ReadRequest::options() const {
  PutOptions options;
  options.durability = head.durability;
  options.ttl = std::chrono::milliseconds(head.ttl_ms);
  options.alignment = head.alignment;
  return options;
}

std::optional<ReadRequest> read_request(std::string_view bytes) {
  ReadRequest request;
  RequestHead& head = request.head;
  if (!take(bytes, head)) return std::nullopt;
  if (head.what == Wanted::kBatch) {
    for (uint64_t i = 0; i < head.value_bytes; ++i) {
      ReadRequest write;
      if (!take(bytes, write.head) || !take(bytes, write.head.key_bytes, write.key) ||
          !take(bytes, write.head.value_bytes, write.value))
        return std::nullopt;
      if (write.head.what == Wanted::kPut)
        request.batch.put(write.key, write.value, write.options());
      else
        request.batch.remove(write.key);
    }
    return request;
  }
  std::string_view expected;
  if (!take(bytes, head.key_bytes, request.key) || !take(bytes, head.value_bytes, request.value) ||
      !take(bytes, head.expected_bytes, expected))
    return std::nullopt;
  if (head.expects != RequestHead::Expects::kAnything) {
    request.condition.value.emplace();
    if (head.expects == RequestHead::Expects::kThis) *request.condition.value = expected;
  }
  if (head.expects_sequence) request.condition.sequence = head.expected_sequence;
  return request;
}

}  // namespace spillway::segstore
