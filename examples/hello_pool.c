/* hello_pool.c - the C interface: put, get by name, and what a failure looks like.
 *   cc hello_pool.c -lspillway && ./a.out          (a daemon is started when none runs) */
#include <spillway/pool.h>
#include <stdio.h>
#include <string.h>

static int failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, spillway_last_error());
  return 1;
}

int main(void) {
  spillway_pool* pool;
  if (spillway_pool_open(NULL, &pool) != SPILLWAY_OK) return failed("open");

  const char text[] = "hello from C";
  spillway_put_options options = {.name = "examples/hello", .tag = "text", .tag_bytes = 4};
  spillway_ref ref;
  if (spillway_put(pool, text, sizeof text, &options, &ref) != SPILLWAY_OK) return failed("put");

  spillway_pin* pin;
  if (spillway_get_name(pool, "examples/hello", NULL, &pin) != SPILLWAY_OK) return failed("get");
  printf("%s (%zu bytes)\n", (const char*)spillway_pin_data(pin), spillway_pin_size(pin));
  const int same = strcmp(spillway_pin_data(pin), text) == 0;
  spillway_pin_release(pin);

  if (spillway_erase(pool, ref) != SPILLWAY_OK) return failed("erase");
  spillway_ref_release(pool, ref);
  if (spillway_get_name(pool, "examples/hello", NULL, &pin) != SPILLWAY_NOT_FOUND)
    return failed("get after erase");
  printf("and now: %s\n", spillway_last_error());
  spillway_pool_close(pool);
  return same ? 0 : 1;
}
