// doctor.h - `spillway doctor`: what this host permits, what it costs the user, and the command that mends
// it.
#pragma once
#include <string>
#include <vector>

#include "tools/finding.h"

namespace spillway::tools {

// The command. `wanted_directory`: of --dir, or "". Returns the exit status: 1 when something prevents
// spilling.
int doctor(const std::string& wanted_directory, bool json);

// doctor_report.cc
void print_for_people(const std::vector<Finding>& findings);
void print_json(const std::vector<Finding>& findings);

}  // namespace spillway::tools
