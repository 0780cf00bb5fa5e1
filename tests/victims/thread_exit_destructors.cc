// Destructors that run when a thread ends (thread_local objects and pthread keys) allocate, and free what the
// thread made; the blocks that it handed to the main thread live on.
#include <pthread.h>

#include <thread>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

constexpr size_t kLarge = 5 * MiB;

int g_destroyed;

void allocate_and_free() {
  for (size_t bytes : {size_t{50}, kLarge}) {
    char* p = must_malloc(bytes);
    fill(p, bytes, 1);
    EXPECT_FILLED(p, bytes, 1, "in a thread's destructor");
    free(p);
  }
}

struct Local {
  char* block = must_malloc(kLarge);
  ~Local() {
    allocate_and_free();
    free(block);
    __atomic_fetch_add(&g_destroyed, 1, __ATOMIC_RELAXED);
  }
};
thread_local Local t_local;

pthread_key_t g_key;

// POSIX calls a key's destructor again when it sets the key again: the last of these runs after nearly all
// else.
void destroy_key(void* value) {
  auto* p = static_cast<char*>(value);
  allocate_and_free();
  const char left = p[0];
  free(p);
  if (left > 1) {
    char* next = must_malloc(kLarge);
    next[0] = static_cast<char>(left - 1);
    pthread_setspecific(g_key, next);
  } else {
    __atomic_fetch_add(&g_destroyed, 1, __ATOMIC_RELAXED);
  }
}

}  // namespace

int main() {
  EXPECT(pthread_key_create(&g_key, destroy_key) == 0, "pthread_key_create");
  constexpr int kThreads = 50;
  for (int i = 0; i < kThreads; ++i) {
    char* handed_over = nullptr;
    std::thread([&] {
      t_local.block[0] = 1;
      char* p = must_malloc(kLarge);
      p[0] = 3;
      pthread_setspecific(g_key, p);
      handed_over = must_malloc(kLarge);
      fill(handed_over, kLarge, static_cast<uint64_t>(i));
    }).join();
    EXPECT_FILLED(handed_over, kLarge, static_cast<uint64_t>(i), "a block of a thread that has ended");
    free(handed_over);
  }
  printf("destructors %d\n", g_destroyed);
  EXPECT(g_destroyed == 2 * kThreads, "only %d destructors ran", g_destroyed);
  return done();
}
