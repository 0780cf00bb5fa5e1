// lifecycle.h - the library's beginning and end, and fork between them.
#pragma once

namespace spillway {

// Reads the environment and registers with fork, once. Called by the constructor and, for libraries whose
// constructors run before ours, by the first request that might be large.
void ensure_started();

// Before anybody else's fork handlers: with jemalloc's first memory.
void register_inner_fork_handlers();

}  // namespace spillway
