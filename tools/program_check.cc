#include "tools/program_check.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "tools/failure.h"

namespace fs = std::filesystem;

namespace spillway::tools {
namespace {

constexpr int kScriptDepth = 5;  // as deep as the kernel follows scripts that interpret scripts

[[noreturn]] void fail(int status, const std::string& path, const std::string& why) {
  throw Failure(status, path + ": " + why);
}

bool on_mount_with(const std::string& path, unsigned long flag) {
  struct statvfs mount;
  return ::statvfs(path.c_str(), &mount) == 0 && (mount.f_flag & flag) != 0;
}

bool is_regular_file(const std::string& path) {
  std::error_code unreachable;
  return fs::is_regular_file(path, unreachable);
}

// Why execve would not run the file: 0, or an errno.
int execution_error(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return errno;
  if (S_ISDIR(status.st_mode)) return EISDIR;
  if (!S_ISREG(status.st_mode)) return EACCES;
  return ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

void require_executable(const std::string& path) {
  const int error = execution_error(path);
  if (error == 0) return;
  if (error == ENOENT || error == ENOTDIR) fail(kNotFound, path, "no such file or directory");
  if (error == EISDIR) fail(kCannotExecute, path, "is a directory");
  if (error != EACCES) fail(kCannotExecute, path, ::strerror(error));
  if (on_mount_with(path, ST_NOEXEC))
    fail(kCannotExecute, path, "lies on a file system that is mounted noexec");
  if (is_regular_file(path))
    fail(kCannotExecute, path, "is not executable; if it is a program: chmod +x " + path);
  fail(kCannotExecute, path, "permission denied");
}

struct Shebang {
  std::string interpreter;
  std::string argument;  // the rest of the line, as one word: so the kernel passes it
};

std::optional<Shebang> read_shebang(const std::string& path) {
  char head[256];  // BINPRM_BUF_SIZE: the kernel looks no further
  std::ifstream file(path, std::ios::binary);
  file.read(head, sizeof head);
  std::string line(head, static_cast<size_t>(file.gcount()));
  if (!line.starts_with("#!")) return std::nullopt;
  line = line.substr(2, line.find('\n') - 2);

  constexpr const char* kBlank = " \t";
  auto trimmed = [](const std::string& text) {
    const size_t first = text.find_first_not_of(kBlank);
    return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(kBlank) - first + 1);
  };
  line = trimmed(line);
  const size_t end = std::min(line.find_first_of(kBlank), line.size());
  return Shebang{line.substr(0, end), trimmed(line.substr(end))};
}

// What `env` would run, or "": env's own options are too many to follow, and it can speak for itself.
std::string program_of_env(const std::string& argument) {
  const bool split = argument.starts_with("-S");  // without it, env gets the whole line as one word
  std::istringstream words(split ? argument.substr(2) : argument);
  for (std::string word;
       split ? static_cast<bool>(words >> word) : static_cast<bool>(std::getline(words, word));) {
    if (word[0] == '-' || word.find_first_of("\"'\\$") != std::string::npos) return "";
    if (word.find('=') == std::string::npos) return word;
  }
  return "";
}

// Does a file capability give the process a right that it has not got? To root none do.
bool gains_capabilities(const std::string& path) {
  if (::getuid() == 0) return false;
  vfs_ns_cap_data data{};
  const ssize_t bytes = ::getxattr(path.c_str(), "security.capability", &data, sizeof data);
  if (bytes < static_cast<ssize_t>(XATTR_CAPS_SZ_1)) return false;
  return (data.magic_etc & VFS_CAP_FLAGS_EFFECTIVE) != 0 || data.data[0].permitted != 0 ||
         (bytes > static_cast<ssize_t>(XATTR_CAPS_SZ_1) && data.data[1].permitted != 0);
}

constexpr const char* kPrivilegesHint =
    ", and nothing is preloaded into programs that gain privileges; start Spillway inside it (as in "
    "`sudo spillway run ...`), or the program as a user who has them already";

// How the program would get privileges that the user has not (the kernel's AT_SECURE): in words, or "".
// A setuid-root program started by root changes nothing, and is loaded like any other.
std::string privileges_gained(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return "";
  const bool bits_count = !on_mount_with(path, ST_NOSUID) && ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
  const bool setuid = bits_count && (status.st_mode & S_ISUID);
  // Without the group's execute bit, setgid means mandatory locking.
  const bool setgid = bits_count && (status.st_mode & S_ISGID) && (status.st_mode & S_IXGRP);
  if ((setuid ? status.st_uid : ::geteuid()) != ::getuid())
    return setuid ? "is setuid" : "runs as another user";
  if ((setgid ? status.st_gid : ::getegid()) != ::getgid())
    return setgid ? "is setgid" : "runs as another group";
  if (bits_count && gains_capabilities(path)) return "has file capabilities";
  return "";
}

// ld.so itself is a program without a loader, and one that takes LD_PRELOAD: `/lib64/ld-linux-x86-64.so.2
// prog`.
bool is_dynamic_loader(const std::string& path) {
  std::error_code ignored;
  const std::string name = fs::canonical(path, ignored).filename().string();
  return name.starts_with("ld-linux") || name.starts_with("ld-2.") || name.starts_with("ld64.so");
}

void check_elf(const std::string& path, const ElfFile& elf, const ElfKind& library) {
  if (elf.kind != library)
    fail(kCannotExecute, path,
         fmt::format("is a {} program, and the preload library is {}; use a {} build of the program",
                     elf.kind.name(), library.name(), library.name()));
  if (!elf.interpreter) {
    if (is_dynamic_loader(path)) return;
    fail(kCannotExecute, path,
         "is statically linked, so that no library can be preloaded into it; use a dynamically linked build "
         "of it");
  }
  if (fs::path(*elf.interpreter).filename().string().starts_with("ld-musl"))
    fail(kCannotExecute, path,
         "is linked with musl, and the preload library is for glibc; use a glibc build of it");
  if (::access(elf.interpreter->c_str(), F_OK) != 0)
    fail(
        kNotFound, path,
        fmt::format("its dynamic loader {} is not there; is it built for another system?", *elf.interpreter));
}

void check(const std::string& path, const ElfKind& library, int depth) {
  const auto script = read_shebang(path);
  if (!script) {
    if (const std::string how = privileges_gained(path); !how.empty())
      fail(kCannotExecute, path, how + kPrivilegesHint);
    if (const auto elf = read_elf(path)) check_elf(path, *elf, library);
    return;
  }
  // The kernel ignores the setuid bits of a script: its interpreter's count.
  if (script->interpreter.empty() || depth == 0) return;  // exec knows better
  try {
    require_executable(script->interpreter);
    check(script->interpreter, library, depth - 1);
    if (fs::path(script->interpreter).filename() != "env") return;
    if (const std::string program = program_of_env(script->argument); !program.empty())
      check(find_program(program), library, depth - 1);
  } catch (const Failure& of_interpreter) {
    fail(of_interpreter.status(), path, std::string("its interpreter ") + of_interpreter.what());
  }
}

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    require_executable(name);
    return name;
  }
  const char* set = ::getenv("PATH");
  std::istringstream directories(set ? std::string(set) + ":"
                                     : "/bin:/usr/bin:");  // ":" makes "a:" two entries
  std::string forbidden;  // found, but not executable: better than nothing to report
  for (std::string directory; !name.empty() && std::getline(directories, directory, ':');) {
    std::string path = (directory.empty() ? "." : directory) + "/" + name;
    const int error = execution_error(path);
    if (error == 0) return path;
    // As a shell, and unlike execvp: what lies in a directory that the user may not enter is not found.
    if (error == EACCES && forbidden.empty() && is_regular_file(path)) forbidden = path;
  }
  if (!forbidden.empty()) require_executable(forbidden);
  throw Failure(kNotFound, name + ": command not found");
}

void check_preloadable(const std::string& path, const ElfKind& library) {
  check(path, library, kScriptDepth);
}

}  // namespace spillway::tools
