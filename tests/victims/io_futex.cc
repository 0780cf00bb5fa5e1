// Futex words in spilled memory wake who waits on them: a mutex and a condition variable, private and
// process-shared, and a bare FUTEX_WAIT, while their pages are sent out again and again.
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>

#include <atomic>
#include <thread>

#include "tests/victims/spilled.h"

using namespace victim;

namespace {

constexpr size_t kBytes = 6 * MiB;

struct Meeting {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  long turn;
};

// Two threads take turns through the mutex and condition variable in the block.
void take_turns(int sharing) {
  char* block = spilled_block(kBytes, 1);
  auto* m = reinterpret_cast<Meeting*>(block + 3 * MiB);
  pthread_mutexattr_t mutex_kind;
  pthread_condattr_t cond_kind;
  pthread_mutexattr_init(&mutex_kind);
  pthread_mutexattr_setpshared(&mutex_kind, sharing);
  pthread_condattr_init(&cond_kind);
  pthread_condattr_setpshared(&cond_kind, sharing);
  pthread_mutex_init(&m->mutex, &mutex_kind);
  pthread_cond_init(&m->changed, &cond_kind);
  m->turn = 0;
  constexpr long kTurns = 2000;
  auto player = [&](long side) {
    pthread_mutex_lock(&m->mutex);
    while (m->turn < kTurns) {
      if (m->turn % 2 == side) {
        if (++m->turn % 100 == 0) send_out(block, kBytes);
        pthread_cond_broadcast(&m->changed);
      } else {
        pthread_cond_wait(&m->changed, &m->mutex);
      }
    }
    pthread_mutex_unlock(&m->mutex);
  };
  std::thread other([&] { player(1); });
  player(0);
  other.join();
  printf("turns %ld\n", m->turn);
  free(block);
}

void bare_futex(int flag) {
  char* block = spilled_block(kBytes, 1);
  auto* word = reinterpret_cast<std::atomic<uint32_t>*>(block + 2 * MiB + 64);
  word->store(0);
  std::thread waker([&] {
    for (uint32_t i = 1; i <= 200; ++i) {
      while (word->load() != 2 * i - 1) std::this_thread::yield();
      send_out(block, kBytes);
      word->store(2 * i);
      syscall(SYS_futex, word, FUTEX_WAKE | flag, 1, nullptr, nullptr, 0);
    }
  });
  for (uint32_t i = 1; i <= 200; ++i) {
    word->store(2 * i - 1);
    while (word->load() == 2 * i - 1) {
      const long r = syscall(SYS_futex, word, FUTEX_WAIT | flag, 2 * i - 1, nullptr, nullptr, 0);
      EXPECT(r == 0 || errno == EAGAIN || errno == EINTR, "FUTEX_WAIT: %s", strerror(errno));
    }
  }
  waker.join();
  printf("wakes %u\n", word->load() / 2);
  free(block);
}

}  // namespace

int main() {
  take_turns(PTHREAD_PROCESS_PRIVATE);
  take_turns(PTHREAD_PROCESS_SHARED);
  bare_futex(FUTEX_PRIVATE_FLAG);
  bare_futex(0);
  return done();
}
