#include "libpool/segstore/ring.h"

#include <cstring>
#include <new>

#include "base/os/futex.h"
#include "base/os/memory.h"
#include "libpool/segstore/shared_files.h"

namespace spillway::segstore {

Ring& Ring::operator=(Ring&& other) noexcept {
  if (this != &other) {
    if (is_open()) os::unreserve(range_);
    range_ = std::exchange(other.range_, {});
    fd_ = std::move(other.fd_);
  }
  return *this;
}
Ring::~Ring() {
  if (is_open()) os::unreserve(range_);
}

Result<Ring> Ring::create(int directory, const std::string& index_directory, const std::string& store_path,
                          std::string& path) {
  Result<std::vector<std::string>> names = new_shared_names(directory, index_directory);
  if (!names) return names.error();
  Errno error;
  for (const std::string& name : *names) {
    Result<os::Fd> fd = os::open_in(directory, name.c_str(), os::OpenFor::kCreatingNew);
    if (!fd) {
      error = fd.error();
      continue;
    }
    auto make = [&]() -> Result<Ring> {
      // Pieces get their memory when somebody takes the slot.
      if (Errno e = os::allocate_file(fd->get(), 0, kPiecesOffset); !e.ok()) return e;
      if (Errno e = os::set_length(fd->get(), kBytes); !e.ok()) return e;
      Result<PageRange> range = os::map_shared_writable(fd->get(), kBytes);
      if (!range) return range.error();
      Ring ring;
      ring.range_ = *range;
      ring.fd_ = LockingFd(std::move(*fd));
      auto& head = *reinterpret_cast<IndexHeader*>(range->base);
      char boot_id[40];
      os::read_boot_id(boot_id);
      if (Errno e = fill_head(head, directory, store_path, boot_id); !e.ok()) return e;
      store(head.magic, kRingMagic);
      return ring;
    };
    Result<Ring> ring = make();
    if (ring) {
      path = name;
      return ring;
    }
    error = ring.error();
    (void)os::unlink_in(directory, name.c_str());  // the error that matters is the first
  }
  return error;
}

Result<Ring> Ring::attach(int directory, const std::string& path) {
  Result<os::Fd> fd = os::open_in(directory, path.c_str(), os::OpenFor::kWriting);
  if (!fd) return fd.error();
  Result<os::FileFacts> facts = os::facts_of(fd->get());
  Result<os::FileFacts> own = os::facts_of(directory);
  if (!facts || !own) return facts ? own.error() : facts.error();
  if (!facts->is_regular || facts->bytes != kBytes) return Errno(EINVAL);
  Result<PageRange> range = os::map_shared_writable(fd->get(), kBytes);
  if (!range) return range.error();
  Ring ring;
  ring.range_ = *range;
  ring.fd_ = LockingFd(std::move(*fd));
  const auto& head = *reinterpret_cast<const IndexHeader*>(range->base);
  if (load(head.magic) != kRingMagic || head.directory_inode != own->inode ||
      head.directory_device != own->device)
    return Errno(EINVAL);
  return ring;
}

Errno Ring::take(uint32_t number) {
  if (Errno e = os::lock_byte(fd_.get(), number); !e.ok()) return e;
  RingSlot& its = slot(number);
  SlotState before = its.state;
  // What a dead client left: withdrawn, or read by nobody. The writer may just have it.
  while (before != SlotState::kFree && before != SlotState::kTaken && before != SlotState::kMade)
    if (its.state.compare_exchange_strong(before, SlotState::kFree)) before = SlotState::kFree;
  Errno error = before == SlotState::kFree
                    ? os::allocate_file(fd_.get(), kPiecesOffset + number * kPieceBytes, kPieceBytes)
                    : Errno(EAGAIN);
  if (!error.ok()) give_back(number);
  return error;
}

void Ring::end(RingEnd how) {
  header().end = how;
  for (uint32_t number = 0; number < kRingSlots; ++number) os::wake_all_shared(&slot(number).state);
}

void retire_ring(int directory, Control& control, bool another_follows) {
  std::string path;
  uint64_t generation = 0;
  if (control.read_ring_path(path, generation) && !path.empty()) {
    if (Result<Ring> ring = Ring::attach(directory, path)) ring->end(kEnded);
    remove_shared_file(directory, path);
  }
  generation = (control.ring_generation() | 1) + 3;
  control.write_ring_path("", generation);
  if (another_follows) store(control.block().ring_generation, generation + 1);
}

}  // namespace spillway::segstore
