// preload_path.h - where the preload library is, and what LD_PRELOAD has to say for it to be loaded.
#pragma once
#include <string>

#include "tools/elf_file.h"

namespace spillway::tools {

struct PreloadLibrary {
  std::string path;  // from the root: the program may go to another directory before it starts the next one
  ElfKind kind;
};

// $SPILLWAY_PRELOAD (a file), $EXM_HOME, $EXM_HOME/lib, then the lib directory beside this command's bin.
// Throws Failure with the places it looked, or with what is wrong with the file.
PreloadLibrary find_preload_library();

// The library first, so that its malloc is the one that is used; then what the user preloads, in the user's
// order. Once, also when a program under Spillway starts another one with `spillway run`.
std::string ld_preload_with(const PreloadLibrary& library, const std::string& inherited);

}  // namespace spillway::tools
