// workers.h - threads for what may take long: reading and writing files, giving back large memory.
// The loop hands over work and gets `done` called on its own thread afterwards; neither ever waits for the
// other. With one thread, work is done in the order it came.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace spillway::pool {

class Workers {
 public:
  using Call = std::function<void()>;
  // `post` runs a call on the loop's thread, from any thread.
  Workers(unsigned threads, std::function<void(Call)> post);
  ~Workers();  // does what was handed over before it returns
  void run(Call work, Call done);

 private:
  struct Job {
    Call work, done;
  };
  void serve();

  std::function<void(Call)> post_;
  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<Job> jobs_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace spillway::pool
