#include "pooldaemon/store/charged_files.h"

#include "pooldaemon/store/store_folder.h"

namespace spillway::pool {
namespace {

// The others are a page of text.
bool has_blocks(const std::string& name) { return name.starts_with("seg-") || name == "RESERVE"; }

}  // namespace

void ChargedFiles::charge(File& file, uint64_t bytes) {
  if (bytes > file.bytes) disk_.charge(directory_, bytes - file.bytes);
  if (bytes < file.bytes) disk_.release(directory_, file.bytes - bytes);
  bytes_ += bytes - file.bytes;
  file.bytes = bytes;
}

Result<os::Fd> ChargedFiles::create(int directory, const char* name, uint64_t bytes) {
  if (bytes == 0) return Files::create(directory, name, bytes);  // a page of text, for a moment
  const std::lock_guard lock(mutex_);
  if (!disk_.take(directory_, bytes)) return Errno(ENOSPC);
  Result<os::Fd> fd = Files::create(directory, name, bytes);
  Result<os::FileFacts> facts = fd ? os::facts_of(fd->get()) : Result<os::FileFacts>(fd.error());
  if (!fd) {
    disk_.release(directory_, bytes);
    return fd;
  }
  files_[name] = {bytes, facts ? facts->inode : 0};
  bytes_ += bytes;
  return fd;
}

Errno ChargedFiles::unlink(int directory, const char* name) {
  const std::lock_guard lock(mutex_);
  if (Errno e = Files::unlink(directory, name); !e.ok()) return e;
  const auto found = files_.find(name);
  if (found == files_.end()) return {};
  charge(found->second, 0);
  files_.erase(found);
  return {};
}

void ChargedFiles::release(int fd, uint64_t offset, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  Files::release(fd, offset, bytes);
  Result<os::FileFacts> facts = os::facts_of(fd);
  if (!facts) return;
  for (auto& [name, file] : files_)
    if (file.inode == facts->inode) charge(file, std::min(file.bytes, facts->disk_bytes));
}

void ChargedFiles::recount(const std::string& path) {
  const std::lock_guard lock(mutex_);
  std::map<std::string, File> before = std::move(files_);
  files_.clear();
  for (const std::string& name : names_in(path)) {
    if (!has_blocks(name)) continue;
    File& file = files_[name] = before[name];
    before.erase(name);
    Result<os::Fd> fd = os::open_file((path + "/" + name).c_str(), os::Open::kRead);
    Result<os::FileFacts> facts = fd ? os::facts_of(fd->get()) : Result<os::FileFacts>(fd.error());
    if (!facts) continue;
    file.inode = facts->inode;
    charge(file, facts->disk_bytes);
  }
  for (auto& [name, file] : before) charge(file, 0);
}

}  // namespace spillway::pool
