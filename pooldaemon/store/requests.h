// requests.h - what the store is asked for, and what it answers.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "pooldaemon/store/object.h"
#include "spillway/pool.h"

namespace spillway::pool {

struct Failure {
  spillway_status status = SPILLWAY_OK;
  std::string what;
  bool bad() const { return status != SPILLWAY_OK; }
};

template <typename T>
struct Answer {
  Failure failure;
  T value{};
};
template <typename T>
using Reply = std::function<void(Answer<T>)>;
using Done = std::function<void(Failure)>;

// Which object a request means: by name when there is one.
struct Which {
  uint64_t id = 0, key = 0;
  std::string name;
};

struct PutRequest {
  std::string name, tag, filters;
  uint16_t mode = 0;
  wire::Hint hint = wire::Hint::kNormal;
  wire::WhenFull when_full = wire::WhenFull::kSpill;
  uint64_t timeout_ms = 0;
  uint32_t flags = 0;
};
struct Published {
  uint64_t id = 0, key = 0, version = 0;
};
struct Created {
  uint64_t id = 0, key = 0, offset = 0;
  wire::Place place = wire::Place::kMemory;
  int fd = -1;                     // good until the call returns
  const Buffer* buffer = nullptr;  // likewise; null: the memory is used once
};
struct Held {
  Object* object = nullptr;
  wire::Place place = wire::Place::kEmpty;
  uint32_t slot = 0, slab = 0;
  uint64_t slab_bytes = 0;
  uint64_t offset = 0;
  int fd = -1;  // likewise; -1: the client has it
  os::Fd own_fd;
};
// Bytes of a file that clients may map.
struct FilePlace {
  std::shared_ptr<os::Fd> fd;
  uint64_t offset = 0;
};
struct GetRequest {
  Which which;
  uint64_t timeout_ms = 0;
  wire::WhenFull when_full = wire::WhenFull::kSpill;
};
struct ToDisk {
  Which which{};
  bool keep_memory = false;
  bool overwrite = false, sync = false, other_filters = false;
  std::string path{}, filters{};
};
struct Filed {
  std::string path;
  uint64_t bytes = 0;
};
struct DeviceState {
  std::string name, path;
  uint64_t capacity = 0, used = 0, available = 0;
};

}  // namespace spillway::pool
