// stop_threads.h - every other thread of the process stands still, outside of system calls, for as long as
// the object lives. By a real-time signal whose handler waits: what garbage collectors do.
//
// The cost, and why it is used for nothing frequent: system calls that are never restarted (nanosleep, poll,
// epoll_wait) return EINTR. Threads that block the signal cannot be stopped, nor those of a process whose
// /proc does not list them; then nobody is. One stop at a time: a second finds that it could stop nobody.
#pragma once

namespace spillway::os {

// The calling thread, one of the library's own that touches no memory of the program, is left running from
// now on. At most twelve in a process.
void leave_this_thread_running();

class [[nodiscard]] StopThreads {
 public:
  // kRunning leaves alone those that sleep in a system call: enough to keep a program from going on, and no
  // sleep is cut short.
  enum Which { kAll, kRunning };
  explicit StopThreads(Which which = kAll);
  ~StopThreads();
  StopThreads(const StopThreads&) = delete;
  StopThreads& operator=(const StopThreads&) = delete;
  // False: some thread could not be stopped, all are running.
  bool stopped() const { return stopped_; }

 private:
  bool stopped_ = false;
};

}  // namespace spillway::os
