// buffers.cc - where the program writes large objects: memory that stays mapped from one object to the next.
// What a builder showed the program is write-protected while it is published, so that a store through an old
// pointer ends the program and not the object (put shows nothing, and protecting 100 MiB takes as long as
// copying 20). Other processes have no writable descriptor at all.
#include "libpool/client/client.h"

namespace spillway::client {

Errno State::protect_buffer(WriteBuffer& buffer) {
  std::lock_guard lock(buffers_mutex_);
  if (Errno e = buffer.mapping.protect(false); !e.ok()) return e;
  buffer.writable = false;
  return {};
}

Result<std::shared_ptr<WriteBuffer>> State::open_buffer(uint32_t id, const os::Fd& fd, uint64_t file_bytes,
                                                        uint64_t bytes, uint64_t warm_bytes) {
  // All pages are there before the program touches one: no memory is an answer, not a SIGBUS.
  if (warm_bytes < bytes)
    if (Errno e = os::preallocate(fd.get(), warm_bytes, bytes - warm_bytes, true); !e.ok()) return e;
  std::lock_guard lock(buffers_mutex_);
  if (const auto found = buffers_.find(id); found != buffers_.end()) {
    if (found->second->writable) return found->second;
    if (Errno e = found->second->mapping.protect(true); !e.ok()) return e;
    found->second->writable = true;
    return found->second;
  }
  Result<os::Mapping> mapping = os::Mapping::read_write(fd.get(), 0, file_bytes);
  if (!mapping) return mapping.error();
  mapping->populate(bytes);
  return buffers_[id] = std::make_shared<WriteBuffer>(WriteBuffer{std::move(*mapping), true});
}

void State::forget_buffer(uint32_t id) {
  std::shared_ptr<WriteBuffer> last;  // declared first: it is unmapped, which takes long, after the lock
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
