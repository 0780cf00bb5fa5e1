// buffers.cc - where the program writes large objects: memory that stays mapped from one object to the next.
// While an object in it is published the mapping is write-protected, so that a stray store ends the program
// and not the object; other processes have no writable descriptor at all.
#include "libpool/client/client.h"

namespace spillway::client {

Result<std::shared_ptr<os::Mapping>> State::open_buffer(uint32_t id, const os::Fd& fd, uint64_t file_bytes,
                                                        uint64_t bytes, uint64_t warm_bytes) {
  // All pages are there before the program touches one: no memory is an answer, not a SIGBUS.
  if (warm_bytes < bytes)
    if (Errno e = os::preallocate(fd.get(), warm_bytes, bytes - warm_bytes, true); !e.ok()) return e;
  std::lock_guard lock(buffers_mutex_);
  if (const auto found = buffers_.find(id); found != buffers_.end()) {
    if (Errno e = found->second->protect(true); !e.ok()) return e;
    return found->second;
  }
  Result<os::Mapping> mapping = os::Mapping::read_write(fd.get(), 0, file_bytes);
  if (!mapping) return mapping.error();
  mapping->populate(bytes);
  return buffers_[id] = std::make_shared<os::Mapping>(std::move(*mapping));
}

bool State::has_buffer(uint32_t id) {
  std::lock_guard lock(buffers_mutex_);
  return buffers_.contains(id);
}

void State::forget_buffer(uint32_t id) {
  std::shared_ptr<os::Mapping> last;  // declared first: it is unmapped, which takes long, after the lock
  std::lock_guard lock(buffers_mutex_);
  if (const auto found = buffers_.find(id); found != buffers_.end()) {
    last = std::move(found->second);
    buffers_.erase(found);
  }
}

void State::forget_buffers() {
  std::lock_guard lock(buffers_mutex_);
  buffers_.clear();
}

}  // namespace spillway::client
