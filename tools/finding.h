// finding.h - one thing that the doctor looked at: what was found, what it costs the user, and the command
// that mends it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace spillway::tools {

struct Finding {
  enum class Status {
    kOk,
    kNote,  // costs something, or will
    kWarn,  // costs much
    kFail   // nothing can spill at all
  };

  std::string name;
  Status status = Status::kOk;
  std::string value;   // what was found
  std::string cost;    // what it costs the user; "" for kOk
  std::string remedy;  // the command that mends it; "" when there is none
};

// What the topics have to say, in the order it is shown. They look and try; they change nothing.
struct Directory;
std::vector<Finding> examine_directory(const Directory& directory);
std::vector<Finding> examine_memory_and_kernel();

Finding ok(std::string name, std::string value);

std::string human_size(uint64_t bytes);  // "1.5 GiB"

// Commands for remedies, with `sudo` when the user is not root.
std::string as_root(const std::string& command);
std::string set_sysctl(const std::string& assignment);
std::string write_to(const std::string& file, const std::string& text);

}  // namespace spillway::tools
