// Prints the threshold that is in force.
#include "tests/victims/victim.h"

int main() {
  printf("%zu\n", exm_set_threshold(0));
  return 0;
}
