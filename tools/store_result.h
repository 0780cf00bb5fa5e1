// store_result.h - a store's answers as the commands take them: a value, or the end of the command in the
// store's words.
#pragma once
#include <spillway/store.hpp>

#include <utility>

#include "tools/failure.h"

namespace spillway::tools {

[[noreturn]] inline void fail(const StoreStatus& status) { throw Failure(kCannotStart, status.message()); }

inline void must(const StoreStatus& status) {
  if (!status.ok()) fail(status);
}

template <typename T>
T must(StoreResult<T> result) {
  must(result.status());
  return std::move(*result);
}

}  // namespace spillway::tools
