// fatal.h - the only ways this code speaks: one line on stderr, written whole, without heap or stdio.
#pragma once

namespace spillway::os {

// "spillway: <text>\n". Lines over 1,000 characters are cut.
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));

// say(), then abort(): the program's data can no longer be trusted.
[[noreturn]] void die(const char* format, ...) __attribute__((format(printf, 1, 2)));

[[noreturn]] void check_failed(const char* message, const char* file, int line);

}  // namespace spillway::os
