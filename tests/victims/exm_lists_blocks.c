/* exm_debug_list names the living blocks on stderr, one line each, and not those that were freed. */
#include <stdio.h>
#include <stdlib.h>

#include <spillway/exm.h>

int main(void) {
  char* freed = malloc(9 << 20);
  char *one = malloc(5 << 20), *other = malloc(6 << 20);
  if (!one || !other || !freed) return 1;
  free(freed);
  printf("%p %p\n", (void*)one, (void*)other);
  fflush(stdout);
  exm_print_blocks();
  free(one);
  free(other);
  puts("ok");
  return 0;
}
