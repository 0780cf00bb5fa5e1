// typed.h - `spillway typed dump|verify|schema FILE`: looks into a typed blob.
#pragma once
#include <string>
#include <vector>

namespace spillway::tools {

inline constexpr const char* kTypedFooter =
    R"(Verbs:
  dump FILE     Print what the blob holds
  verify FILE   Check every object, reference, index and text
  schema FILE   Print the record types and their fields
FILE may end in @OFFSET, a number of bytes: where in the file the blob starts.

Exit status: 0; 1 when the blob is damaged; 125 when it cannot be read at all.)";

// words: the verb, the file, and --json wherever. Returns the exit status; throws Failure.
int typed(const std::vector<std::string>& words, bool json);

}  // namespace spillway::tools
