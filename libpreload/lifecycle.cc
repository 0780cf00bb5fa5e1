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
#include "libpreload/stats.h"

namespace spillway {
namespace {

pthread_once_t once = PTHREAD_ONCE_INIT;

void before_fork() {
  pacer.before_fork();
  large_heap.before_fork();
}
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
  // jemalloc registers its handlers in its first allocation. After that, ours run first before a fork and
  // last after it, so they may allocate.
  jemalloc_free(jemalloc_malloc(1));
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  if (settings.stats) stats.start();
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
  const pid_t pid = real_Fork();
  if (pid == 0) {
    large_heap.after_fork_in_child(/*may_start_threads=*/false);
    pacer.forget_thread();
  } else {
    after_fork_in_parent();
  }
  return pid;
}

void ensure_started() { pthread_once(&once, start); }

}  // namespace spillway
