#include "tests/support/loop_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "tests/support/needs.h"
#include "tests/support/program.h"
#include "tests/support/wait.h"

namespace spillway::test {
namespace {

std::string checked(const std::vector<std::string>& argv) {
  const Outcome got = run({.argv = argv});
  if (got.exit_code != 0) throw std::runtime_error(argv[0] + " failed: " + got.text());
  return got.out.substr(0, got.out.find('\n'));
}

void detach(const std::string& mount_point, const std::string& device) {
  // A program that was killed a moment ago may still hold the mount.
  const bool unmounted = wait_until([&] { return ::umount(mount_point.c_str()) == 0 || errno == EINVAL; });
  if (!unmounted) ::umount2(mount_point.c_str(), MNT_DETACH);
  if (!device.empty()) (void)run({.argv = {"losetup", "--detach", device}});
}

}  // namespace

bool LoopDisk::possible() {
  if (!needs_root()) return false;
  for (const char* program : {"losetup", "mkfs.ext4"}) {
    if (!needs_program(program)) return false;
  }
  return needs_file("/dev/loop-control");
}

LoopDisk::LoopDisk(size_t bytes) : mount_point_(dir_ / "disk") {
  const std::string image = dir_ / "image";
  const int fd = ::open(image.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(bytes)) != 0) throw std::runtime_error("making " + image);
  ::close(fd);
  ::mkdir(mount_point_.c_str(), 0755);
  checked({"mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", image});
  device_ = checked({"losetup", "--find", "--show", image});
  if (::mount(device_.c_str(), mount_point_.c_str(), "ext4", 0, nullptr) != 0) {
    const std::string why = ::strerror(errno);
    detach(mount_point_, device_);
    throw std::runtime_error("mounting " + device_ + ": " + why);
  }
  ::chmod(mount_point_.c_str(), 01777);
}

LoopDisk::~LoopDisk() { detach(mount_point_, device_); }

size_t LoopDisk::free_bytes() const {
  struct statvfs fs {};
  ::statvfs(mount_point_.c_str(), &fs);
  return static_cast<size_t>(fs.f_bavail) * fs.f_frsize;
}

void LoopDisk::fill_up(size_t left) const {
  const int fd = ::open((mount_point_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const std::string zeros(64 << 10, '\0');
  while (free_bytes() > left) {
    const size_t n = std::min(zeros.size(), free_bytes() - left);
    if (::write(fd, zeros.data(), n) <= 0) break;
    ::fsync(fd);  // blocks are only taken when they are written out
  }
  ::close(fd);
}

// ext4's answer to a device that has gone.
void LoopDisk::fail() const {
  constexpr unsigned long kShutDown = _IOR('X', 125, uint32_t);
  uint32_t without_flushing = 2;
  const int fd = ::open(mount_point_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int result = ::ioctl(fd, kShutDown, &without_flushing);
  ::close(fd);
  if (result != 0) throw std::runtime_error("shutting down " + mount_point_ + ": " + ::strerror(errno));
}

void remove_stale_loop_disks() {
  if (::geteuid() != 0 || program_path("losetup").empty()) return;
  std::istringstream list(
      run({.argv = {"losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"}}).out);
  std::string device, file;
  while (list >> device && std::getline(list, file)) {
    const size_t at = file.find("/spillway-test-");
    if (at == std::string::npos) continue;
    const pid_t owner = static_cast<pid_t>(::atoi(file.c_str() + at + 15));
    if (owner <= 0 || ::kill(owner, 0) == 0 || errno != ESRCH) continue;
    const size_t begin = file.find('/');
    const size_t image = file.rfind("/image");
    if (image != std::string::npos && image > begin)
      detach(file.substr(begin, image - begin) + "/disk", device);
  }
}

}  // namespace spillway::test
