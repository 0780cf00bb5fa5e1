// store.h - `spillway store`: a segment store from the command line.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace spillway::tools {

// The words after `store`. Returns the exit status: 1 when a key is absent or damage was found. Throws
// Failure.
int store_command(const std::vector<std::string>& words);

// Puts and gets in a store of its own below `directory`, which goes when it is done. Prints operations a
// second.
int store_bench(const std::string& directory, uint64_t keys, uint64_t value_bytes);

}  // namespace spillway::tools
