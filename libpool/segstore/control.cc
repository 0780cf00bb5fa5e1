#include "libpool/segstore/control.h"

#include <cstring>
#include <utility>

#include "base/os/memory.h"

namespace spillway::segstore {
namespace {

constexpr const char* kName = "CONTROL";
constexpr uint64_t kMagic = 0x31304C5443575053;  // "SPWCTL01"

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
  Result<os::Fd> fd = os::open_in(directory, kName, os::OpenFor::kReading);
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
  Result<os::Fd> fd = os::open_in(directory, kName, os::OpenFor::kCreating);
  if (!fd) return fd.error();
  if (Errno e = os::allocate_file(fd->get(), 0, kPageBytes); !e.ok()) return e;
  Result<PageRange> range = os::map_shared_writable(fd->get(), kPageBytes);
  if (!range) return range.error();
  Control control;
  control.range_ = *range;
  control.fd_ = std::move(*fd);
  ControlBlock& block = control.block();
  if (block.magic != kMagic) {
    const uint64_t generation = block.generation;  // readers of the damaged one must see it change
    memset(range->base, 0, kPageBytes);
    block.generation = (generation | 1) + 1;
    store(block.magic, kMagic);
    if (Errno e = os::flush_all(control.fd_.get()); !e.ok()) return e;
  }
  return control;
}

bool Control::read_index_path(std::string& path, uint64_t& generation) const {
  generation = this->generation();
  if (generation % 2 != 0) return false;
  char copy[sizeof block().index_path];
  // Word by word: the writer may be changing it, and then the generation tells.
  for (size_t i = 0; i < sizeof copy; i += 8) {
    const uint64_t word = load(*reinterpret_cast<uint64_t*>(block().index_path + i));
    memcpy(copy + i, &word, 8);
  }
  copy[sizeof copy - 1] = '\0';
  path = copy;
  return this->generation() == generation;
}

void Control::write_index_path(const std::string& path, uint64_t generation) {
  store(block().generation, generation - 1);
  char copy[sizeof block().index_path] = {};
  memcpy(copy, path.data(), std::min(path.size(), sizeof copy - 1));
  for (size_t i = 0; i < sizeof copy; i += 8) {
    uint64_t word;
    memcpy(&word, copy + i, 8);
    store(*reinterpret_cast<uint64_t*>(block().index_path + i), word);
  }
  store(block().generation, generation);
}

}  // namespace spillway::segstore
