#include "libpool/segstore/locking_fd.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

namespace spillway::segstore {
namespace {

// Of the process; never destroyed, like the stores of static objects.
struct OpenOnes {
  std::mutex mutex;
  std::vector<int> all;
};

OpenOnes& open_ones() {
  static OpenOnes* const made = [] {
    static OpenOnes* forking = nullptr;
    forking = new OpenOnes;
    (void)pthread_atfork([] { forking->mutex.lock(); }, [] { forking->mutex.unlock(); },
                         [] {
                           for (const int fd : forking->all) (void)os::Fd(fd);
                           forking->all.clear();
                           forking->mutex.unlock();
                         });
    return forking;
  }();
  return *made;
}

}  // namespace

LockingFd::LockingFd(os::Fd fd) : fd_(std::move(fd)) {
  OpenOnes& ones = open_ones();
  const std::lock_guard lock(ones.mutex);
  ones.all.push_back(fd_.get());
}

LockingFd& LockingFd::operator=(LockingFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::move(other.fd_);
  }
  return *this;
}

void LockingFd::reset() {
  if (!fd_.valid()) return;
  OpenOnes& ones = open_ones();
  const std::lock_guard lock(ones.mutex);
  const auto at = std::find(ones.all.begin(), ones.all.end(), fd_.get());
  if (at == ones.all.end()) {
    (void)fd_.release();
    return;
  }
  ones.all.erase(at);
  fd_.reset();
}

}  // namespace spillway::segstore
