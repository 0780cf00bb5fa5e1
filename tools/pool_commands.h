// pool_commands.h - the subcommands that look at and steer the pool: ls stat get put rm pin unpin spill load
// save restore drain top clients, and `pool start|stop|status|config`.
#pragma once
#include <string>
#include <vector>

namespace spillway::tools {

struct PoolCommand {
  const char* name;
  const char* description;
};
const std::vector<PoolCommand>& pool_commands();
bool is_pool_command(const std::string& name);

// words[0] is the command. The exit status: 0, 1 when the pool says no (no such object, full, ...), 125 for
// wrong usage and when no daemon can be reached.
int run_pool_command(std::vector<std::string> words);

}  // namespace spillway::tools
