#include "pooldaemon/store/buffers.h"

#include <algorithm>
#include <bit>

#include "base/core/units.h"
#include "base/os/folder.h"
#include "libpool/wire/message.h"

namespace spillway::pool {
namespace {

// Every session maps each buffer it reads, and a process has 65,530 mappings.
constexpr size_t kMostOfSession = 256;

// Eight sizes for each doubling, so that objects of about the same size take turns.
uint64_t file_bytes_for(uint64_t bytes) {
  return round_up(round_up(bytes, std::bit_floor(bytes) / 8), kPageBytes);
}

}  // namespace

std::unique_ptr<Buffer> Buffers::take(uint64_t session, uint64_t bytes) {
  const auto found = owned_.find(session);
  if (found == owned_.end()) return nullptr;
  std::vector<std::unique_ptr<Buffer>>& idle = found->second.idle;
  const uint64_t file_bytes = file_bytes_for(bytes);
  // The last one used is in the caches still.
  const auto fits = std::find_if(idle.rbegin(), idle.rend(),
                                 [&](const auto& buffer) { return buffer->file_bytes == file_bytes; });
  if (fits == idle.rend()) return nullptr;
  std::unique_ptr<Buffer> buffer = std::move(*fits);
  idle.erase(std::next(fits).base());
  found->second.busy.push_back(buffer.get());
  idle_bytes_ -= buffer->warm_bytes;
  const uint64_t wanted = round_up(bytes, kPageBytes);
  if (buffer->warm_bytes > wanted) {
    os::give_back(buffer->fd.get(), wanted, buffer->warm_bytes - wanted);
    buffer->warm_bytes = wanted;
  }
  return buffer;
}

Result<std::unique_ptr<Buffer>> Buffers::make(uint64_t session, uint64_t bytes) {
  Owned& owned = owned_[session];
  if (owned.busy.size() + owned.idle.size() >= kMostOfSession) {
    if (owned.idle.empty()) return std::unique_ptr<Buffer>();
    drop_oldest(owned);
  }
  auto buffer = std::make_unique<Buffer>();
  buffer->id = ++last_id_ | wire::kBufferBit;
  buffer->owner = session;
  buffer->file_bytes = file_bytes_for(bytes);
  Result<os::Fd> fd = os::make_memfd("spillway-buffer", buffer->file_bytes);
  if (!fd) return fd.error();
  Result<os::Fd> read_only = os::reopen_read_only(fd->get());
  if (!read_only) return read_only.error();
  buffer->fd = std::move(*fd);
  buffer->read_only = std::move(*read_only);
  owned.busy.push_back(buffer.get());
  return buffer;
}

void Buffers::give_back(std::unique_ptr<Buffer> buffer, uint64_t now_ms) {
  const auto found = owned_.find(buffer->owner);
  if (found != owned_.end()) std::erase(found->second.busy, buffer.get());
  if (found == owned_.end() || buffer->warm_bytes == 0) return drop(std::move(buffer));
  buffer->idle_since_ms = now_ms;
  idle_bytes_ += buffer->warm_bytes;
  found->second.idle.push_back(std::move(buffer));
}

void Buffers::close(uint64_t session) {
  auto owned = owned_.extract(session);
  if (owned.empty()) return;
  // Whoever could write to them has gone. (EBUSY: not quite, yet; nobody else has a writable descriptor.)
  for (Buffer* buffer : owned.mapped().busy) (void)os::seal_memfd(buffer->fd.get()).ok();
  while (!owned.mapped().idle.empty()) drop_oldest(owned.mapped());
}

void Buffers::shrink_to(uint64_t bytes) {
  while (idle_bytes_ > bytes) {
    Owned* oldest = nullptr;
    for (auto& [session, owned] : owned_) {
      if (owned.idle.empty()) continue;
      if (oldest == nullptr || owned.idle.front()->idle_since_ms < oldest->idle.front()->idle_since_ms)
        oldest = &owned;
    }
    drop_oldest(*oldest);
  }
}

void Buffers::drop_idle_since(uint64_t before_ms) {
  for (auto& [session, owned] : owned_)
    while (!owned.idle.empty() && owned.idle.front()->idle_since_ms < before_ms) drop_oldest(owned);
}

void Buffers::drop_oldest(Owned& owned) {
  std::unique_ptr<Buffer> buffer = std::move(owned.idle.front());
  owned.idle.erase(owned.idle.begin());
  idle_bytes_ -= buffer->warm_bytes;
  drop(std::move(buffer));
}

void Buffers::drop(std::unique_ptr<Buffer> buffer) {
  gone_(buffer->owner, buffer->id);
  for (uint64_t session : buffer->mapped_by)
    if (session != buffer->owner) gone_(session, buffer->id);
  free_(std::move(buffer->fd), buffer->file_bytes, buffer->warm_bytes);
}

}  // namespace spillway::pool
