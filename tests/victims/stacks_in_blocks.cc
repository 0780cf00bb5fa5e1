// Threads run on stacks that the program took from malloc, and fork from there.
#include <pthread.h>
#include <sys/wait.h>

#include "tests/victims/spilled.h"

using namespace victim;

namespace {

constexpr size_t kStack = 8 * MiB;

size_t deep(size_t depth) {
  volatile char frame[512];
  frame[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : deep(depth - 1) + static_cast<size_t>(frame[0] != static_cast<char>(depth)) + 1;
}

void* body(void*) {
  size_t sum = deep(8000);
  const pid_t pid = fork();
  if (pid == 0) _exit(deep(4000) == 4000 ? 0 : 1);
  int status = -1;
  EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "the child on such a stack ended with %d",
         status);
  sum += deep(8000);
  return reinterpret_cast<void*>(sum);
}

}  // namespace

int main() {
  for (int i = 0; i < 4; ++i) {
    char* stack = spilled_block(kStack, 1);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    EXPECT(pthread_attr_setstack(&attributes, stack, kStack) == 0, "pthread_attr_setstack");
    pthread_t thread;
    EXPECT(pthread_create(&thread, &attributes, body, nullptr) == 0, "pthread_create");
    void* sum = nullptr;
    pthread_join(thread, &sum);
    EXPECT(reinterpret_cast<size_t>(sum) == 16000, "the thread counted %zu", reinterpret_cast<size_t>(sum));
    free(stack);
  }
  return done();
}
