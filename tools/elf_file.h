// elf_file.h - what the head of an ELF file says about how it is loaded.
//
// The file may be anything at all: every offset and length in it is checked against what can be read.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace spillway::tools {

// Two files with equal kinds can be loaded into one process.
struct ElfKind {
  uint8_t elf_class = 0;  // ELFCLASS32, ELFCLASS64
  uint8_t byte_order = 0;
  uint16_t machine = 0;  // EM_X86_64 ...
  bool operator==(const ElfKind&) const = default;

  std::string name() const;  // "32-bit x86"
};

struct ElfFile {
  ElfKind kind;
  uint16_t type = 0;                       // ET_EXEC, ET_DYN ...
  std::optional<std::string> interpreter;  // PT_INTERP: the dynamic loader that the kernel starts for it
};

// nullopt: cannot be read, or is not ELF. A file of another class or byte order has no interpreter here:
// nobody asks.
std::optional<ElfFile> read_elf(const std::string& path);

}  // namespace spillway::tools
