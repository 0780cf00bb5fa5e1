// pool_view.h - what is in a pool, as text for people: for `spillway ls`, `top`, `clients` and `pool status`.
#pragma once
#include <spillway/pool.hpp>
#include <string>

namespace spillway::tools {

std::string size_text(uint64_t bytes);
std::string limit_text(uint64_t bytes);
std::string time_text(uint64_t ms);
// What terminals must not be told to do by a name.
std::string shown(const std::string& text);

// Each line ends with a newline.
std::string status_text(Pool& pool);
std::string clients_text(Pool& pool);
enum class ObjectOrder { kSize, kAge, kIdle };
std::string objects_text(Pool& pool, ObjectOrder order, size_t most);

// `spillway top` on a terminal, until q.
int watch_pool(Pool& pool);

}  // namespace spillway::tools
