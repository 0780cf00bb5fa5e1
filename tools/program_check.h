// program_check.h - will this program start, and will the dynamic loader put the library into it?
//
// Asked before exec, because afterwards there is nobody left to answer: ld.so passes over a static program, a
// setuid one and one for another machine in silence or with a line nobody understands, and the program would
// run without Spillway.
#pragma once
#include <string>

#include "tools/elf_file.h"

namespace spillway::tools {

// The file that execvp would run for `name`. Throws Failure: 127 not there, 126 there but cannot be executed.
std::string find_program(const std::string& name);

// Throws Failure, 126 or 127, when the program or the interpreter that its #! line names cannot take a
// library of this kind. A file that cannot be read, or of a format that only the kernel knows (binfmt_misc),
// passes.
void check_preloadable(const std::string& path, const ElfKind& library);

}  // namespace spillway::tools
