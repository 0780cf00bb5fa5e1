#include "libpool/segstore/files.h"

namespace spillway::segstore {

Result<os::Fd> Files::create(int directory, const char* name, uint64_t bytes) {
  Result<os::Fd> fd = os::open_in(directory, name, os::OpenFor::kCreatingNew);
  if (!fd) return fd;
  if (bytes == 0) return fd;
  if (Errno e = os::allocate_file(fd->get(), 0, bytes); !e.ok()) {
    (void)os::unlink_in(directory, name);  // what is told is why there is no file
    return e;
  }
  return fd;
}

Errno Files::write(int fd, const os::Piece* pieces, int count, uint64_t offset) {
  return os::write_pieces(fd, pieces, count, offset);
}
Errno Files::flush(int fd) { return os::flush_data(fd); }
Errno Files::flush_directory(int directory) { return os::flush_all(directory); }
Errno Files::rename(int directory, const char* from, const char* to) {
  return os::rename_in(directory, from, to);
}
Errno Files::unlink(int directory, const char* name) { return os::unlink_in(directory, name); }
Errno Files::link(int directory, const char* name, int other, const char* other_name) {
  return os::link_in(directory, name, other, other_name);
}
void Files::release(int fd, uint64_t offset, uint64_t bytes) { (void)os::punch_file(fd, offset, bytes); }
std::string Files::boot_id() {
  char text[40];
  os::read_boot_id(text);
  return text;
}

Files& Files::real() {
  static Files files;
  return files;
}

Errno replace_file(Files& files, int directory, const char* name, const std::string& bytes) {
  const std::string temporary = std::string(name) + ".new";
  if (Errno e = files.unlink(directory, temporary.c_str()); !e.ok() && e.code() != ENOENT) return e;
  Result<os::Fd> fd = files.create(directory, temporary.c_str(), 0);
  if (!fd) return fd.error();
  const os::Piece piece{bytes.data(), bytes.size()};
  if (Errno e = files.write(fd->get(), &piece, 1, 0); !e.ok()) return e;
  if (Errno e = files.flush(fd->get()); !e.ok()) return e;
  if (Errno e = files.rename(directory, temporary.c_str(), name); !e.ok()) return e;
  return files.flush_directory(directory);
}

}  // namespace spillway::segstore
