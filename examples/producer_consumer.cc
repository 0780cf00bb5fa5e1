// producer_consumer.cc - two processes: one publishes frames under names, the other waits for each and reads
// it in place. No byte is copied between them; a frame that was used goes with its last reference.
//   g++ -std=c++20 producer_consumer.cc -lspillway && ./a.out [FRAMES]
#include <sys/wait.h>
#include <unistd.h>
#include <spillway/pool.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

constexpr size_t kPixels = 1920 * 1080;

void produce(int frames) {
  spillway::Pool pool;
  for (int i = 0; i < frames; ++i) {
    // Written where it will stay; nobody sees it before it is sealed.
    spillway::Builder frame = pool.create(
        kPixels * sizeof(float), {.name = "frames/" + std::to_string(i), .flags = SPILLWAY_UNCOUNTED});
    for (float& pixel : frame.as<float>()) pixel = static_cast<float>(i);
    (void)std::move(frame).seal();
  }
}

bool consume(int frames) {
  spillway::Pool pool;
  for (int i = 0; i < frames; ++i) {
    const std::string name = "frames/" + std::to_string(i);
    const auto frame = pool.get_as<std::span<const float>>(name, {.timeout = std::chrono::seconds(60)});
    double sum = 0;
    for (const float pixel : frame.value) sum += pixel;
    std::printf("%s: mean %g\n", name.c_str(), sum / kPixels);
    if (sum != static_cast<double>(kPixels) * i) return false;
    pool.erase(name);
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const int frames = argc > 1 ? std::atoi(argv[1]) : 10;
  const pid_t producer = fork();
  if (producer == 0) {
    produce(frames);
    _exit(0);
  }
  const bool good = consume(frames);
  int status = 0;
  waitpid(producer, &status, 0);
  return good && status == 0 ? 0 : 1;
}
