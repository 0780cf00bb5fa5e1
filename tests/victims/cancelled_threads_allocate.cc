// malloc, realloc and free are no cancellation points: a thread that is being cancelled comes out of them.
#include <pthread.h>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

bool g_came_out;

void* body(void*) {
  pthread_cancel(pthread_self());  // acted upon at the next cancellation point
  for (int i = 0; i < 20; ++i) {
    char* p = must_malloc(5 * MiB + static_cast<size_t>(i) * MiB);
    memset(p, 1, 5 * MiB);
    p = static_cast<char*>(realloc(p, 60 * MiB));
    if (!p) return nullptr;
    free(p);
    free(must_malloc(100));
  }
  g_came_out = true;
  pthread_testcancel();
  return nullptr;
}

}  // namespace

int main() {
  for (int i = 0; i < 5; ++i) {
    g_came_out = false;
    pthread_t thread;
    EXPECT(pthread_create(&thread, nullptr, body, nullptr) == 0, "pthread_create");
    void* result = nullptr;
    pthread_join(thread, &result);
    EXPECT(result == PTHREAD_CANCELED, "the thread was not cancelled");
    EXPECT(g_came_out, "the thread was cancelled inside the allocator");
  }
  free(must_malloc(30 * MiB));  // and nothing stayed locked
  return done();
}
