#include "base/os/fatal.h"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/os/file.h"
#include "base/os/keep_errno.h"

namespace spillway::os {
namespace {

void say_list(const char* format, va_list arguments) {
  KeepErrno keep;
  char line[1024] = "spillway: ";
  const size_t prefix = strlen(line);
  const int n = vsnprintf(line + prefix, sizeof line - prefix - 1, format, arguments);
  if (n < 0) return;
  const size_t length = strnlen(line, sizeof line - 2);
  line[length] = '\n';
  // In a table of descriptors of the library's own 2 is something else, or nothing.
  Fd programs;
  if (has_own_descriptors())
    if (Result<Fd> fd = fetch_descriptor(STDERR_FILENO)) programs = std::move(*fd);
  const int to = has_own_descriptors() ? programs.get() : STDERR_FILENO;
  // One write, so that lines of several processes do not mix. Nobody is left to tell when stderr is closed.
  if (write(to, line, length + 1) < 0) return;
}

}  // namespace

void say(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say_list(format, arguments);
  va_end(arguments);
}

void die(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say_list(format, arguments);
  va_end(arguments);
  abort();
}

void check_failed(const char* message, const char* file, int line) {
  die("internal error: %s (%s:%d)", message, file, line);
}

}  // namespace spillway::os
