#include "tools/preload_path.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/auxv.h>

#include <filesystem>
#include <vector>

#include "tools/failure.h"
#include "tools/settings.h"

namespace fs = std::filesystem;

namespace spillway::tools {
namespace {

constexpr const char* kLibraryName = "libspillway-preload.so";
constexpr const char* kSeparators = " :";  // ld.so takes both

PreloadLibrary examine(const std::string& path) {
  if (path.find_first_of(kSeparators) != std::string::npos)
    throw Failure(kCannotStart,
                  fmt::format("the preload library is at '{}', and LD_PRELOAD cannot hold a path with a "
                              "space or colon; move it, or let SPILLWAY_PRELOAD name a link to it",
                              path));
  const auto elf = read_elf(path);
  if (!elf || elf->type != ET_DYN)
    throw Failure(kCannotStart, fmt::format("{}: is not a shared library that can be read", path));
  return {path, elf->kind};
}

bool is_file(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// Not argv[0]: `spillway` may be a link from anywhere, and argv[0] may be anything. Where there is no /proc,
// the kernel was given the path, too. "": it is gone.
std::string beside_this_command() {
  std::error_code error;
  fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (error) self = fs::canonical(reinterpret_cast<const char*>(::getauxval(AT_EXECFN)), error);
  return error ? "" : (self.parent_path().parent_path() / "lib" / kLibraryName).string();
}

}  // namespace

PreloadLibrary find_preload_library() {
  if (const std::string file = environment_variable("SPILLWAY_PRELOAD"); !file.empty()) {
    if (!is_file(file))
      throw Failure(kCannotStart, fmt::format("SPILLWAY_PRELOAD: '{}' is not a file", file));
    return examine(absolute_path(file));
  }
  std::vector<std::string> places;
  if (const std::string home = environment_variable("EXM_HOME"); !home.empty()) {
    places.push_back(absolute_path(home + "/" + kLibraryName));
    places.push_back(absolute_path(home + "/lib/" + kLibraryName));
  }
  if (std::string beside = beside_this_command(); !beside.empty()) places.push_back(std::move(beside));
  for (const std::string& path : places)
    if (is_file(path)) return examine(path);

  std::string looked;
  for (const std::string& path : places) looked += (looked.empty() ? "" : ", ") + path;
  throw Failure(
      kCannotStart,
      fmt::format("the preload library was not found; looked for {}; SPILLWAY_PRELOAD can name it", looked));
}

std::string ld_preload_with(const PreloadLibrary& library, const std::string& inherited) {
  std::string list = library.path;
  for (size_t at = 0; at < inherited.size();) {
    const size_t end = std::min(inherited.find_first_of(kSeparators, at), inherited.size());
    const std::string entry = inherited.substr(at, end - at);
    at = end + 1;
    // By name as well: another copy of the library would be a second heap in the same process.
    const bool ours = entry == library.path || fs::path(entry).filename() == kLibraryName;
    if (!entry.empty() && !ours) list += ":" + entry;
  }
  return list;
}

}  // namespace spillway::tools
