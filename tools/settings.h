// settings.h - what a user may set for a run: the one table behind the options of `spillway run`, the
// environment variables and their messages.
//
// Every setting has an option and a SPILLWAY_ variable, some an older EXM_ variable; the first of these three
// that is given counts. The preload library reads the variables only, so a run turns options into variables,
// in a form that means the same in every directory the program may go to (sizes in bytes, absolute paths).
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>

namespace spillway::tools {

struct Setting {
  const char* option = nullptr;        // "threshold"; null: a variable only
  const char* placeholder = nullptr;   // of the option's value; null: a flag
  const char* help = nullptr;          // for --help
  const char* variable = nullptr;      // "SPILLWAY_THRESHOLD"
  const char* exm_variable = nullptr;  // "EXM_THRESHOLD"; null: exm had none
  const char* forms = nullptr;         // what is accepted, to follow "expected"
  // The value as the library shall see it, or nothing: not accepted.
  std::optional<std::string> (*normalise)(const std::string& value) = nullptr;
  bool value_is_optional = false;  // only as --option=VALUE then
};

std::span<const Setting> settings();

// Option name -> value, as given on the command line.
using OptionValues = std::map<std::string, std::string>;

// The variables to set for the program. Throws Failure naming the option or variable, the value and what is
// accepted.
std::map<std::string, std::string> environment_for(const OptionValues& options);

// The same path from the root. Nothing is resolved or required to exist.
std::string absolute_path(const std::string& path);

// "" when the variable is unset: an empty variable means the same everywhere in Spillway.
std::string environment_variable(const char* name);

// Does SPILLWAY_MASK say to pretend that this feature of the host is missing?
bool is_masked(const char* feature);

}  // namespace spillway::tools
