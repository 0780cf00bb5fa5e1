#include "tools/doctor.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/directory_probe.h"
#include "tools/failure.h"
#include "tools/preload_path.h"
#include "tools/settings.h"

namespace spillway::tools {
namespace {

using Status = Finding::Status;

Finding library() {
  try {
    return ok("library", find_preload_library().path);
  } catch (const Failure& failure) {
    return {"library", Status::kFail, failure.what(), "no program can be run under Spillway",
            "export SPILLWAY_PRELOAD=/path/to/libspillway-preload.so"};
  }
}

Finding environment() {
  try {
    std::string set;
    for (const auto& [name, value] : environment_for({}))
      set += fmt::format("{}{}={}", set.empty() ? "" : " ", name, value);
    if (environment_variable("SPILLWAY_BACKING") == "plain")
      return {"environment", Status::kFail, set, "plain memory does not spill", "unset SPILLWAY_BACKING"};
    return ok("environment", set.empty() ? "nothing set" : set);
  } catch (const Failure& failure) {
    const std::string what = failure.what();
    return {"environment", Status::kFail, what, "`spillway run` refuses to start",
            "unset " + what.substr(0, what.find(':'))};
  }
}

}  // namespace

int doctor(const std::string& wanted_directory, bool json) {
  const Directory directory = choose_directory(wanted_directory);
  std::vector<Finding> findings = {library(), environment()};
  for (const auto& topic : {examine_directory(directory), examine_memory_and_kernel()})
    findings.insert(findings.end(), topic.begin(), topic.end());

  if (json)
    print_json(findings);
  else
    print_for_people(findings);
  auto prevents = [](const Finding& finding) { return finding.status == Status::kFail; };
  return std::any_of(findings.begin(), findings.end(), prevents) ? 1 : 0;
}

}  // namespace spillway::tools
