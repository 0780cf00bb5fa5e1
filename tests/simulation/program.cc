#include "tests/simulation/program.h"

#include <cstdio>
#include <cstdlib>
#include <new>

namespace spillway::simulation {

Program::Program(uint64_t seed, uint64_t bytes)
    : kernel(seed),
      pages(bytes / kPageBytes),
      extents(bytes / kExtentBytes),
      pager_(std::make_unique<Pager>()),
      chunk_memory_(Chunk::footprint(bytes) / 8 + 1) {
  settings.limit_bytes = kLimit;
  chunk_ = new (chunk_memory_.data()) Chunk;
  range_ = kernel.reserve(bytes, kExtentBytes);
  chunk_->range = range_;
  expected_.resize(pages);
  pager_->configure();
  chunk_->set_mapped(range_, true);
  if (!pager_->add_chunk(*chunk_).ok() || !pager_->engage(directory_.path().c_str()).ok()) {
    fprintf(stderr, "the pager does not start\n");
    abort();
  }
  kernel.forget_most();
}

Program::~Program() {
  kernel.trouble = {};
  request([&] { pager_->remove_chunk(*chunk_); });  // closes its files
  kernel.schedule.end();
}

void Program::write(uint64_t page) {
  const uint64_t value = ++writes_ << 20 | page;
  expected_[page] = value;
  if (!kernel.store(address(page), value)) ++wrong;
}

void Program::read(uint64_t page) {
  uint64_t value = 0;
  if (!kernel.load(address(page), value) || value != expected_[page]) {
    if (wrong++ == 0)
      fprintf(stderr, "page %llu: %llx instead of %llx\n", static_cast<unsigned long long>(page),
              static_cast<unsigned long long>(value), static_cast<unsigned long long>(expected_[page]));
  }
}

bool Program::can_read(uint64_t page) {
  uint64_t value = 0;
  if (!kernel.load(address(page), value)) return false;
  wrong += value != expected_[page];
  return true;
}

void Program::request(const std::function<void()>& what) {
  (void)kernel.schedule.wait_until([this] { return !is_requesting_; });
  is_requesting_ = true;
  what();
  is_requesting_ = false;
}

void Program::discard(uint64_t page, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) expected_[page + i] = 0;
  request([&] { wrong += !pager_->discard(range(page, count)).ok(); });
}

void Program::release(uint64_t page, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) expected_[page + i] = 0;
  request([&] { pager_->release(range(page, count)); });
}

void Program::advise(uint64_t page, uint64_t count, Advice advice) {
  request([&] { pager_->advise(range(page, count), advice); });
}

void Program::set_limit(uint64_t bytes) {
  request([&] { pager_->set_limit(bytes); });
}

// Of the child nothing is to be seen but what it shares.
void Program::fork() {
  request([&] {
    pager_->before_fork();
    kernel.fork();
    pager_->after_fork_in_parent();
  });
}

void Program::start_using(int threads, uint64_t accesses) {
  for (int i = 0; i < threads; ++i)
    kernel.schedule.start(Schedule::Kind::kProgram,
                          [=, this] { use_some(static_cast<uint32_t>(i), threads, accesses); });
  kernel.schedule.join_program();
}

// Of the first half every page that is its own by number; of the second half whole extents, of which it may
// throw some away.
void Program::use_some(uint32_t me, int threads, uint64_t accesses) {
  Schedule& schedule = kernel.schedule;
  const auto all = static_cast<uint64_t>(threads);
  const uint64_t half = extents / 2 * kExtentPages;
  const uint64_t shared_pages = half / all, own_extents = (extents - extents / 2) / all;
  while (accesses > 0) {
    const bool in_own = schedule.one_in(2);
    const uint64_t own_pages = in_own ? own_extents * kExtentPages : shared_pages;
    const auto page = [&](uint64_t i) {
      i %= own_pages;
      return in_own ? half + (i / kExtentPages * all + me) * kExtentPages + i % kExtentPages : i * all + me;
    };
    if (in_own && schedule.one_in(8)) {
      const uint64_t first = page(schedule.random(own_extents) * kExtentPages);
      const uint64_t offset = schedule.one_in(2) ? 0 : schedule.random(kExtentPages / 2);
      discard(first + offset, schedule.one_in(2) ? kExtentPages - offset : 1 + schedule.random(50));
    }
    const uint64_t count = 1 + schedule.random(std::min<uint64_t>(accesses, 2000));
    const uint64_t from = schedule.random(own_pages), kind = schedule.random(5);
    const uint64_t step = schedule.random(40) + 1;
    const bool writes = schedule.one_in(2);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t at = kind == 0   ? page(from + i)
                          : kind == 1 ? page(from + own_pages - i % own_pages)
                          : kind == 2 ? page(from + i * step)
                          : kind == 3 ? page(schedule.random(own_pages))
                                      : page(from + schedule.random(64));
      read(at);
      if (writes) write(at);
    }
    accesses -= count;
  }
}

}  // namespace spillway::simulation
