/* A program without a dynamic linker: no library can be preloaded into it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  char* p = malloc(9 << 20);
  if (!p) return 1;
  memset(p, 1, 9 << 20);
  puts(p[(9 << 20) - 1] == 1 ? "ok" : "wrong data");
  free(p);
  return 0;
}
