#include "tests/simulation/schedule.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace spillway::simulation {
namespace {

constexpr size_t kStackBytes = 512 * 1024;
Schedule* starting = nullptr;  // makecontext(3) passes no pointers

// The address sanitizer must know which stack is in use.
void leaves(void** shadow, const void* stack, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(shadow, stack, bytes);
#else
  (void)shadow, (void)stack, (void)bytes;
#endif
}
void arrived(void* shadow, const void** stack, size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(shadow, stack, bytes);
#else
  (void)shadow, (void)stack, (void)bytes;
#endif
}
// Of the first thread.
const void* first_stack = nullptr;
size_t first_stack_bytes = 0;

}  // namespace

Schedule::Schedule(uint64_t seed) : random_(seed), seed_(seed), history_(seed) {
  threads_.push_back(std::make_unique<Thread>());
}

void Schedule::end() {
  ending_ = true;
  for (uint32_t i = 1; i < threads_.size(); ++i)
    if (!threads_[i]->over) switch_to(i);
  threads_.resize(1);
}

void Schedule::start(Kind kind, std::function<void()> body) {
  auto thread = std::make_unique<Thread>();
  thread->kind = kind;
  thread->body = std::move(body);
  thread->stack.resize(kStackBytes);
  getcontext(&thread->context);
  thread->context.uc_stack.ss_sp = thread->stack.data();
  thread->context.uc_stack.ss_size = thread->stack.size();
  makecontext(&thread->context, run, 0);
  threads_.push_back(std::move(thread));
}

void Schedule::run() {
  Schedule& me = *starting;
  Thread& self = *me.threads_[me.current_];
  const bool is_first = me.previous_ == 0;
  arrived(nullptr, is_first ? &first_stack : nullptr, is_first ? &first_stack_bytes : nullptr);
  try {
    if (!me.ending_) self.body();
  } catch (const WorldEnds&) {
  }
  self.over = true;
  me.switch_to(me.ending_ ? 0 : me.choose());
}

void Schedule::switch_to(uint32_t next) {
  if (next == current_) return;
  Thread& self = *threads_[current_];
  Thread& other = *threads_[next];
  previous_ = current_;
  current_ = next;
  starting = this;
  const void* const stack = next == 0 ? first_stack : other.stack.data();
  leaves(self.over ? nullptr : &self.shadow, stack, next == 0 ? first_stack_bytes : other.stack.size());
  swapcontext(&self.context, &other.context);
  const bool from_first = previous_ == 0;
  arrived(self.shadow, from_first ? &first_stack : nullptr, from_first ? &first_stack_bytes : nullptr);
}

void Schedule::join_program() {
  (void)wait_until([this] {
    return std::all_of(threads_.begin() + 1, threads_.end(),
                       [](const auto& thread) { return thread->kind != Kind::kProgram || thread->over; });
  });
}

bool Schedule::may_go_on(const Thread& thread) const {
  return !thread.over && (!thread.is_so || thread.deadline_us <= now_us_ || thread.is_so());
}

uint32_t Schedule::choose() {
  for (;;) {
    std::vector<uint32_t> ready;
    uint64_t next_us = kNever;
    for (uint32_t i = 0; i < threads_.size(); ++i) {
      const Thread& thread = *threads_[i];
      if (lock_holder_ != nullptr && &thread != lock_holder_ && thread.kind != Kind::kProgram) continue;
      if (may_go_on(thread)) ready.push_back(i);
      if (!thread.over && thread.is_so) next_us = std::min(next_us, thread.deadline_us);
    }
    if (!ready.empty()) {
      const uint32_t chosen = ready[random(ready.size())];
      remember(chosen);
      return chosen;
    }
    if (next_us == kNever) {
      fprintf(stderr, "seed %llu: everybody waits, and nothing will happen any more\n",
              static_cast<unsigned long long>(seed_));
      abort();
    }
    now_us_ = next_us;
  }
}

void Schedule::give_turn() {
  switch_to(choose());
  if (ending_ && current_ != 0) throw WorldEnds{};
}

void Schedule::pause(bool locked) {
  if (ending_ && current_ != 0) throw WorldEnds{};
  Thread* const self = threads_[current_].get();
  // A thread of the program has no such lock, whatever it calls.
  const bool holds = locked && self->kind == Kind::kPager;
  if (holds) lock_holder_ = self;
  give_turn();
  if (holds) lock_holder_ = nullptr;
}

bool Schedule::wait_until(std::function<bool()> is_so, uint64_t deadline_us) {
  if (ending_ && current_ != 0) throw WorldEnds{};
  Thread& self = *threads_[current_];
  self.is_so = std::move(is_so);
  self.deadline_us = deadline_us;
  give_turn();
  const bool was_so = self.is_so();
  self.is_so = nullptr;
  self.deadline_us = kNever;
  return was_so;
}

}  // namespace spillway::simulation
