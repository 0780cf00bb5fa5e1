// tools.h - precompiled for the commands: arguments and JSON, whose headers are large.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "scripts/pch/std.h"
