#include "tools/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/failure.h"
#include "tools/preload_path.h"
#include "tools/program_check.h"

namespace spillway::tools {
namespace {

[[noreturn]] void become(const std::string& path, std::vector<std::string>& argv) {
  std::vector<char*> pointers;
  for (std::string& argument : argv) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  ::execv(path.c_str(), pointers.data());

  const int error = errno;
  // execvp would hand such a file to sh; a program that is meant to be measured or limited should say what it
  // is.
  if (error == ENOEXEC)
    throw Failure(kCannotExecute,
                  path +
                      ": is neither a program nor a script with a #! line; if it is a shell script: "
                      "spillway run sh " +
                      path);
  throw Failure(error == ENOENT ? kNotFound : kCannotExecute, path + ": " + ::strerror(error));
}

}  // namespace

void run_program(const OptionValues& options, std::vector<std::string> argv) {
  const auto variables = environment_for(options);        // 1. nothing is started with a bad setting
  const PreloadLibrary library = find_preload_library();  // 2. nor without the library
  const std::string path = find_program(argv.front());    // 3. nor when it cannot run, or not with it
  check_preloadable(path, library.kind);
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  const std::string preload = ld_preload_with(library, environment_variable("LD_PRELOAD"));
  ::setenv("LD_PRELOAD", preload.c_str(), 1);
  become(path, argv);  // 4. argv[0] stays as the user wrote it
}

}  // namespace spillway::tools
