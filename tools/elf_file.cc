#include "tools/elf_file.h"

#include <elf.h>
#include <fmt/format.h>
#include <string.h>

#include <bit>
#include <fstream>

namespace spillway::tools {
namespace {

constexpr uint8_t kOwnByteOrder = std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;

// False: the file is shorter than that.
bool read_at(std::ifstream& file, uint64_t offset, void* to, size_t bytes) {
  file.clear();
  return file.seekg(static_cast<std::streamoff>(offset)) &&
         file.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
}

std::optional<std::string> interpreter_of(std::ifstream& file, const Elf64_Ehdr& header) {
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (header.e_phentsize != sizeof segment ||
        !read_at(file, header.e_phoff + i * sizeof segment, &segment, sizeof segment))
      return std::nullopt;
    if (segment.p_type != PT_INTERP) continue;
    char path[4096];
    if (segment.p_filesz == 0 || segment.p_filesz > sizeof path ||
        !read_at(file, segment.p_offset, path, segment.p_filesz))
      return std::nullopt;
    return std::string(path, ::strnlen(path, segment.p_filesz));
  }
  return std::nullopt;
}

}  // namespace

std::optional<ElfFile> read_elf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Elf32_Ehdr head;  // its first fields, up to the machine, are the same in both classes
  if (!read_at(file, 0, &head, sizeof head) || ::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0)
    return std::nullopt;

  ElfFile elf;
  elf.kind.elf_class = head.e_ident[EI_CLASS];
  elf.kind.byte_order = head.e_ident[EI_DATA];
  const bool swapped = elf.kind.byte_order != kOwnByteOrder;
  elf.kind.machine = swapped ? __builtin_bswap16(head.e_machine) : head.e_machine;
  elf.type = swapped ? __builtin_bswap16(head.e_type) : head.e_type;

  Elf64_Ehdr header;
  if (elf.kind.elf_class == ELFCLASS64 && !swapped && read_at(file, 0, &header, sizeof header))
    elf.interpreter = interpreter_of(file, header);
  return elf;
}

std::string ElfKind::name() const {
  const char* machine_name = nullptr;
  switch (machine) {
    case EM_386:
    case EM_X86_64:
      machine_name = "x86";
      break;
    case EM_ARM:
    case EM_AARCH64:
      machine_name = "ARM";
      break;
    case EM_RISCV:
      machine_name = "RISC-V";
      break;
    case EM_PPC:
    case EM_PPC64:
      machine_name = "PowerPC";
      break;
    case EM_S390:
      machine_name = "S/390";
      break;
    default:
      break;
  }
  const int bits = elf_class == ELFCLASS32 ? 32 : 64;
  // x32: 64-bit instructions with 32-bit addresses; to the loader it is a world of its own.
  if (machine == EM_X86_64 && bits == 32) return "x32 (32-bit x86)";
  return machine_name ? fmt::format("{}-bit {}", bits, machine_name)
                      : fmt::format("{}-bit machine {}", bits, machine);
}

}  // namespace spillway::tools
