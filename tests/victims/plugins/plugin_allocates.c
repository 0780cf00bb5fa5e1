/* A shared object that allocates in its constructor and destructor and hands blocks out.
 * Loaded with dlopen, or before everything else with LD_PRELOAD. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kLarge = 6 << 20 };

static char *constructed_small, *constructed_large;

static void die(const char* why) {
  if (write(1, why, strlen(why)) < 0) _exit(3);
  _exit(3);
}

__attribute__((constructor)) static void constructed(void) {
  constructed_small = malloc(500);
  constructed_large = calloc(1, kLarge);
  if (!constructed_small || !constructed_large) die("plugin: no memory in the constructor\n");
  memset(constructed_small, 's', 500);
  memset(constructed_large, 'l', kLarge);
}

__attribute__((destructor)) static void destructed(void) {
  if (constructed_small[499] != 's' || constructed_large[kLarge - 1] != 'l')
    die("plugin: wrong data at the end\n");
  char* late = malloc(kLarge);
  if (!late) die("plugin: no memory in the destructor\n");
  late[0] = late[kLarge - 1] = 1;
  free(late);
  free(constructed_small);
  free(constructed_large);
}

/* A block whose call site lies in this object, which may be gone when the block is reported or freed. */
__attribute__((noinline)) void* plugin_makes_a_block(size_t bytes) {
  unsigned char* p = malloc(bytes);
  if (p) memset(p, 0x5A, bytes);
  return p;
}

void plugin_frees(void* p) { free(p); }
