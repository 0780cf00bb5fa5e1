// check.h - CHECK: our own bugs end the program at once, in words. Always on; costs one predicted branch.
#pragma once
#include "base/os/fatal.h"

#define CHECK(condition, message) \
  (__builtin_expect(!!(condition), 1) ? (void)0 : ::spillway::os::check_failed(message, __FILE__, __LINE__))
