#include "libpreload/lifecycle.h"

#include <dlfcn.h>
#include <pthread.h>

#include <cerrno>

#include "libpreload/backing/pacer.h"
#include "libpreload/large.h"
#include "libpreload/pager/pager.h"
#include "libpreload/pager/trace.h"
#include "libpreload/settings.h"
#include "libpreload/small.h"
#include "libpreload/spillable_heap.h"
#include "libpreload/stats.h"
#include "libpreload/thread_cache.h"

namespace spillway {
namespace {

pthread_once_t once = PTHREAD_ONCE_INIT;

// Two sets of handlers around everybody else's, which may use blocks. The outer set is registered last, so
// that its first part runs before all others, and may allocate. The inner one is registered before anybody
// allocates; it runs with jemalloc's locks held.
void before_fork() {
  pacer.before_fork();
  large_heap.before_fork();
}
void freeze() { large_heap.freeze_for_fork(); }
void thaw() { large_heap.thaw_in_parent(); }
void begin_child() { large_heap.begin_child(); }
void after_fork_in_parent() {
  large_heap.after_fork_in_parent();
  pacer.after_fork_in_parent();
}
void after_fork_in_child() {
  large_heap.after_fork_in_child(/*may_start_threads=*/true);
  pacer.after_fork_in_child();
}

// glibc's, which fork() calls within libc; only programs that call _Fork themselves come through ours.
pid_t (*real_Fork)() = nullptr;

void start() {
  real_Fork = reinterpret_cast<pid_t (*)()>(dlsym(RTLD_NEXT, "_Fork"));  // since glibc 2.34
  settings.read_environment();
  pacer.configure();
  pager.configure();
  trace.configure(settings.trace_file);
  jemalloc_free(jemalloc_malloc(1));  // which registers jemalloc's handlers, if nothing was allocated yet
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  if (ThreadCache::is_laid_out_like_this()) settings.use_thread_cache(ThreadCache::kMostBytes + 1);
  if (settings.stats) stats.start();
  if (settings.spills_small)
    spillable_heap.open();  // the last: from here on requests wait for us to be through
}

// Not linked -z initfirst: libc would not be initialised yet, and environ empty. Libraries whose constructors
// ran before may have allocated; their large requests started us.
__attribute__((constructor)) void on_load() { ensure_started(); }
__attribute__((destructor)) void on_exit() {
  if (settings.stats) stats.report();
  trace.flush();
}

}  // namespace

// Runs no fork handlers, but the child must not share blocks with its parent all the same. The child may call
// only what is async-signal-safe, so nothing is started there before it allocates again.
extern "C" __attribute__((visibility("default"))) pid_t _Fork() {
  ensure_started();
  if (real_Fork == nullptr) {
    errno = ENOSYS;
    return -1;
  }
  before_fork();
  freeze();
  const pid_t pid = real_Fork();
  if (pid == 0) {
    begin_child();
    large_heap.after_fork_in_child(/*may_start_threads=*/false);
    pacer.forget_thread();
  } else {
    thaw();
    after_fork_in_parent();
  }
  return pid;
}

void register_inner_fork_handlers() { pthread_atfork(freeze, thaw, begin_child); }

void ensure_started() { pthread_once(&once, start); }

}  // namespace spillway
