// fork_safe.h - a mutex that no thread of the process holds when it forks, so that no child finds it taken
// for ever, nor half done what is changed under it.
//
// One for all: it is held for the length of a few stores. Who holds it takes no other lock and waits for
// nothing.
#pragma once
#include <mutex>

namespace spillway::segstore {

std::mutex& fork_safe_mutex();

}  // namespace spillway::segstore
