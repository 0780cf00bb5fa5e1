// victims.h - running a victim over every backing and comparing it with a plain run.
//
// A victim (tests/victims) prints checksums and `ok`. These functions run it plainly for the reference, then
// preloaded over each backing with a region directory of its own, and require: the same exit status and
// stdout, a silent stderr, and afterwards no file, no open deleted file and no process.
#pragma once
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace spillway::test {

using Words = std::vector<std::string>;

// As SPILLWAY_BACKING; after a plus sign, if there is one, the limit; after a minus sign the SPILLWAY_MASK.
inline const Words kBackings = {"file", "plain", "managed"};

// What the environment must say for it, and `more`.
Words environment_of(const std::string& backing, const Words& more = {});

// The default threshold, and one that sends nearly everything to regions.
inline const Words kThresholds = {"4M", "64k"};

// The victim as on plain Linux.
void same_on_every_backing(const std::string& name, const Words& args = {}, const Words& env = {},
                           const Words& thresholds = kThresholds);

// For what only Spillway has: `ok` is required, there is no plain reference.
void ok_on_every_backing(const std::string& name, const Words& args = {}, const Words& env = {});

// One preloaded run, after which nothing may be left. `env` wins over the backing and directory set here.
Outcome run_victim(const std::string& backing, const std::string& name, const Words& args = {},
                   const Words& env = {});
Outcome run_plainly(const std::string& name, const Words& args = {});

// Whether a managed backing can be had: it takes the right to answer faults of system calls (root). Otherwise
// says SKIPPED and why.
bool managed_is_possible();

// Exit status 0, `ok` as the last line of stdout, silent stderr.
void require_ok(const Outcome& outcome);

}  // namespace spillway::test
