// kept_settings.h - SOCKET.settings: what the running daemon was started with, beside its socket, as a TOML
// file. When it is killed, or ends because nobody needs it, a client starts the next one, which then finds
// the same spill directories and limits; when somebody ends it, the file goes.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "base/core/result.h"

namespace spillway::pool {

std::string settings_path(const std::string& socket);
// It is there, and a daemon wrote it.
bool are_kept_settings(const std::string& path);
// EPERM: something else is there, and stays as it is.
Errno keep_settings(const std::string& path, const std::vector<std::pair<std::string, std::string>>& given);
void forget_settings(const std::string& path);

}  // namespace spillway::pool
