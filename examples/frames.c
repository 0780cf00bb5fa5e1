/* frames.c - a producer and a consumer in C: one process builds frames in place and publishes them under
 * names, the other waits for each and reads it where it lies. No byte is copied between them. cc frames.c
 * -lspillway && ./a.out */
#include <spillway/pool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kFrames = 10, kPixels = 1920 * 1080 };

static int failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, spillway_last_error());
  return 1;
}

static int produce(void) {
  spillway_pool* pool;
  if (spillway_pool_open(NULL, &pool) != SPILLWAY_OK) return failed("open");
  for (int i = 0; i < kFrames; ++i) {
    char name[32];
    snprintf(name, sizeof name, "c-frames/%d", i);
    /* Only the name keeps it: the producer needs no reference. */
    spillway_put_options options = {.name = name, .flags = SPILLWAY_UNCOUNTED};
    spillway_builder* frame;
    if (spillway_create(pool, kPixels * sizeof(float), &options, &frame) != SPILLWAY_OK)
      return failed("create");
    float* const pixels = spillway_builder_data(frame);
    for (int p = 0; p < kPixels; ++p) pixels[p] = (float)i;
    if (spillway_builder_seal(frame, NULL) != SPILLWAY_OK) return failed("seal");
  }
  spillway_pool_close(pool);
  return 0;
}

static int consume(void) {
  spillway_pool* pool;
  if (spillway_pool_open(NULL, &pool) != SPILLWAY_OK) return failed("open");
  for (int i = 0; i < kFrames; ++i) {
    char name[32];
    snprintf(name, sizeof name, "c-frames/%d", i);
    const spillway_get_options options = {.timeout_ms = 60000};
    spillway_pin* frame;
    if (spillway_get_name(pool, name, &options, &frame) != SPILLWAY_OK) return failed(name);
    const float* const pixels = spillway_pin_data(frame);
    double sum = 0;
    for (int p = 0; p < kPixels; ++p) sum += pixels[p];
    spillway_pin_release(frame);
    printf("%s: mean %g\n", name, sum / kPixels);
    if (sum != (double)kPixels * i) return 1;
    if (spillway_erase_name(pool, name) != SPILLWAY_OK) return failed("erase");
  }
  spillway_pool_close(pool);
  return 0;
}

int main(void) {
  const pid_t producer = fork();
  if (producer < 0) return 1;
  if (producer == 0) _exit(produce());
  const int result = consume();
  int status = 0;
  waitpid(producer, &status, 0);
  return result != 0 || status != 0;
}
