#include "libpool/segstore/control.h"

#include <cstring>
#include <utility>

#include "base/os/memory.h"

namespace spillway::segstore {
namespace {

constexpr const char* kControlName = "CONTROL";
constexpr uint64_t kMagic = 0x31304C5443575053;  // "SPWCTL01"

// Word by word: the writer may be changing it, and then the generation tells.
bool read_path(char (&from)[1024], uint64_t& changes, std::string& path, uint64_t& generation) {
  generation = load(changes);
  if (generation % 2 != 0) return false;
  char copy[sizeof from];
  for (size_t i = 0; i < sizeof copy; i += 8) {
    const uint64_t word = load(*reinterpret_cast<uint64_t*>(from + i));
    memcpy(copy + i, &word, 8);
  }
  copy[sizeof copy - 1] = '\0';
  path = copy;
  return load(changes) == generation;
}

void write_path(char (&to)[1024], uint64_t& changes, const std::string& path, uint64_t generation) {
  store(changes, generation - 1);
  char copy[sizeof to] = {};
  memcpy(copy, path.data(), std::min(path.size(), sizeof copy - 1));
  for (size_t i = 0; i < sizeof copy; i += 8) {
    uint64_t word;
    memcpy(&word, copy + i, 8);
    store(*reinterpret_cast<uint64_t*>(to + i), word);
  }
  store(changes, generation);
}

}  // namespace

Control& Control::operator=(Control&& other) noexcept {
  if (this != &other) {
    if (is_open()) os::unreserve(range_);
    range_ = std::exchange(other.range_, {});
    fd_ = std::move(other.fd_);
  }
  return *this;
}
Control::~Control() {
  if (is_open()) os::unreserve(range_);
}

Result<Control> Control::open(int directory) {
  Result<os::Fd> fd = os::open_in(directory, kControlName, os::OpenFor::kReading);
  if (!fd) return fd.error();
  Result<os::FileFacts> facts = os::facts_of(fd->get());
  if (!facts) return facts.error();
  if (!facts->is_regular || facts->bytes < kPageBytes) return Errno(EINVAL);
  Result<PageRange> range = os::map_shared_readable(fd->get(), kPageBytes);
  if (!range) return range.error();
  Control control;
  control.range_ = *range;
  if (load(control.block().magic) != kMagic) return Errno(EINVAL);
  return control;
}

Result<Control> Control::create(int directory) {
  Result<os::Fd> fd = os::open_in(directory, kControlName, os::OpenFor::kCreating);
  if (!fd) return fd.error();
  if (Errno e = os::allocate_file(fd->get(), 0, kPageBytes); !e.ok()) return e;
  Result<PageRange> range = os::map_shared_writable(fd->get(), kPageBytes);
  if (!range) return range.error();
  Control control;
  control.range_ = *range;
  control.fd_ = std::move(*fd);
  ControlBlock& block = control.block();
  if (block.magic != kMagic) {
    // Who has the damaged one mapped must see both change.
    const uint64_t generation = block.generation, ring_generation = block.ring_generation;
    memset(range->base, 0, kPageBytes);
    block.generation = (generation | 1) + 1;
    block.ring_generation = (ring_generation | 1) + 1;
    store(block.magic, kMagic);
    if (Errno e = os::flush_all(control.fd_.get()); !e.ok()) return e;
  }
  return control;
}

bool Control::read_index_path(std::string& path, uint64_t& generation) const {
  return read_path(block().index_path, block().generation, path, generation);
}
void Control::write_index_path(const std::string& path, uint64_t generation) {
  write_path(block().index_path, block().generation, path, generation);
}
bool Control::read_ring_path(std::string& path, uint64_t& generation) const {
  return read_path(block().ring_path, block().ring_generation, path, generation);
}
void Control::write_ring_path(const std::string& path, uint64_t generation) {
  write_path(block().ring_path, block().ring_generation, path, generation);
}

}  // namespace spillway::segstore
