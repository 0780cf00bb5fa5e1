// segstore.cc - the segment store beside what one would use instead: LMDB, LevelDB, Redis on a Unix socket.
//
//   build/bench/segstore [--keys N] [--value-bytes N] [--dir DIR] [--rounds N] [--quick] [--opening] [--gets]
//
// One process, one run: every round does the same operation with each store, in turn, on the same
// keys, so that the machine's moods hit all alike. Printed are medians over the rounds, and ratios to ours.
// Keys are chosen and spelled before the clock starts. How the rivals are set up: rivals.h.
#include "bench/segstore/rivals.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <random>
#include <thread>
#include <vector>

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

const std::string kPut = "put, random order, not synced";
const std::string kGetHot = "get, random, hot, 1 reader (processor time, but for Redis)";
const std::string kReadersAndWriter = "get, 2 reading processes and a writer (sum)";
const std::string kPutDurably = "put, durable, 16 writers";
const std::string kPutFromProcesses = "put, durable, 16 writing processes";

struct Settings {
  uint64_t keys = 1'000'000, value_bytes = 100, rounds = 3;
  bool only_opening = false;  // ours alone, so that it can be done with many keys
  bool only_gets = false;     // of one reader, without Redis: the rows that take little time
  std::string dir = "/var/tmp/spillway-bench-segstore";
};

// Of this thread. Where the store is in this process and waits for nothing it is the time there is, less what
// the machine gave to other programs meanwhile.
double now_on_processor() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

std::map<std::string, std::map<std::string, std::vector<double>>>
    rates;  // what -> who -> operations a second

void note(const std::string& what, const std::string& who, double rate) { rates[what][who].push_back(rate); }
double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void print(const std::string& what) {
  printf("%s\n", what.c_str());
  const double ours = median(rates[what]["spillway"]);
  for (const auto& [who, all] : rates[what])
    printf("  %-12s %12.0f /s   spillway is %.2fx\n", who.c_str(), median(all), ours / median(all));
  fflush(stdout);
}

std::vector<Key> chosen_keys(uint64_t keys, uint64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Key> chosen;
  chosen.reserve(count);
  for (uint64_t i = 0; i < count; ++i) chosen.emplace_back(random() % keys);
  return chosen;
}

double get_seconds(Rival& rival, const Key* keys, uint64_t count, double (*clock)() = now) {
  uint64_t missing = 0;
  const double start = clock();
  for (uint64_t i = 0; i < count; ++i) missing += rival.get(keys[i]) ? 0 : 1;
  const double seconds = clock() - start;
  if (missing != 0) die(std::string(rival.name()) + ": keys are missing");
  return seconds;
}

void put_all(const std::vector<Rival*>& all, const Settings& s) {
  const std::string value(s.value_bytes, 'v');
  std::vector<uint64_t> keys(s.keys);
  for (uint64_t i = 0; i < s.keys; ++i) keys[i] = i;
  std::shuffle(keys.begin(), keys.end(), std::mt19937_64(42));
  constexpr uint64_t kPieces = 10;  // so that all grow side by side
  std::map<Rival*, double> seconds;
  for (uint64_t piece = 0; piece < kPieces; ++piece)
    for (Rival* rival : all) {
      const double start = now();
      for (uint64_t i = s.keys * piece / kPieces; i < s.keys * (piece + 1) / kPieces; ++i)
        rival->put(Key(keys[i]), value);
      seconds[rival] += now() - start;
    }
  for (Rival* rival : all) note(kPut, rival->name(), static_cast<double>(s.keys) / seconds[rival]);
  print(kPut);
}

void print_size(Ours& ours, const Settings& s) {
  auto state = ours.store().state();
  const double payload = static_cast<double>(s.keys) * (16 + static_cast<double>(s.value_bytes));
  uint64_t used = 0;
  for (const auto& segment : state->segments) used += segment.used_bytes;
  printf("index: %.2f bytes a key; log: %.3f x payload\n",
         static_cast<double>(state->index_bytes) / static_cast<double>(s.keys),
         static_cast<double>(used) / payload);
}

// Each in turn, warmed by gets that do not count: the others have been through the processor's caches.
void get_hot(const std::vector<Rival*>& all, Lmdb& lmdb, Redis& redis, const Settings& s) {
  for (uint64_t round = 0; round < s.rounds; ++round) {
    const std::vector<Key> keys = chosen_keys(s.keys, s.keys, round + 1);
    auto turn = [&](Rival& rival, uint64_t count, double (*clock)()) {
      (void)get_seconds(rival, keys.data() + s.keys - count / 2, count / 2);
      note(kGetHot, rival.name(), static_cast<double>(count) / get_seconds(rival, keys.data(), count, clock));
    };
    for (Rival* rival : all)
      if (rival == &redis)
        turn(redis, s.keys / 50, now);
      else
        turn(*rival, s.keys, now_on_processor);
    lmdb.read_in_one_transaction(true);
    turn(lmdb, s.keys, now_on_processor);
    lmdb.read_in_one_transaction(false);
  }
  print(kGetHot);
}

void print_latencies(Rival& rival, const Settings& s) {
  const std::vector<Key> keys = chosen_keys(s.keys, s.keys / 10, 77);
  std::vector<double> latencies;
  for (const Key& key : keys) latencies.push_back(get_seconds(rival, &key, 1) * 1e6);
  std::sort(latencies.begin(), latencies.end());
  printf("get, %-9s 50%% %.2f us, 99%% %.2f us, 99.9%% %.2f us\n", rival.name(),
         latencies[latencies.size() / 2], latencies[latencies.size() * 99 / 100],
         latencies[latencies.size() * 999 / 1000]);
}

// Two processes read while this one writes.
void readers_and_writer(Rival& rival, const Settings& s, uint64_t seed) {
  int results[2];
  if (pipe(results) != 0) die("pipe");
  rival.close();
  std::vector<pid_t> children;
  for (uint64_t i = 0; i < 2; ++i) {
    const std::vector<Key> keys = chosen_keys(s.keys, s.keys / 2, seed + 10 + i);
    const pid_t child = fork();
    if (child == 0) {
      usleep(200'000);  // until the writer has opened it
      rival.open(true);
      (void)get_seconds(rival, keys.data(), keys.size());  // warms
      const double rate = static_cast<double>(keys.size()) / get_seconds(rival, keys.data(), keys.size());
      if (write(results[1], &rate, sizeof rate) != sizeof rate) _exit(1);
      _exit(0);
    }
    children.push_back(child);
  }
  rival.open(false);
  const std::string value(s.value_bytes, 'w');
  std::mt19937_64 random(seed);
  size_t ended = 0;
  while (ended < children.size()) {
    for (int i = 0; i < 100; ++i) rival.put(Key(random() % s.keys), value);
    usleep(1000);  // about 50,000 writes a second at most: a writer, not a flood
    for (pid_t& child : children) {
      int status = 0;
      if (child > 0 && waitpid(child, &status, WNOHANG) == child) {
        if (status != 0) die("a reader failed");
        child = -1;
        ++ended;
      }
    }
  }
  double sum = 0, rate = 0;
  for (int i = 0; i < 2; ++i)
    if (read(results[0], &rate, sizeof rate) == sizeof rate) sum += rate;
  ::close(results[0]);
  ::close(results[1]);
  note(kReadersAndWriter, rival.name(), sum);
}

void put_durably(Rival& rival, const Settings& s, uint64_t round) {
  constexpr unsigned kWriters = 16;
  const std::string value(s.value_bytes, 'v');
  rival.settle();  // what earlier phases left unwritten is not this one's
  std::atomic<uint64_t> done{0};
  const double start = now();
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kWriters; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 random(round * 100 + t);
      while (now() - start < 1.0) {
        rival.put_durably(Key(random() % s.keys), value);
        ++done;
      }
    });
  for (std::thread& thread : threads) thread.join();
  note(kPutDurably, rival.name(), static_cast<double>(done) / (now() - start));
}

// The same from processes of their own: LMDB's share its lock, ours one writer.
void put_from_processes(Rival& rival, const Settings& s, uint64_t round) {
  constexpr unsigned kWriters = 16;
  const std::string value(s.value_bytes, 'v');
  int results[2];
  if (pipe(results) != 0) die("pipe");
  rival.close();
  std::vector<pid_t> children;
  for (unsigned t = 0; t < kWriters; ++t) {
    const pid_t child = fork();
    if (child == 0) {
      rival.open(false);
      std::mt19937_64 random(round * 100 + t);
      rival.put_durably(Key(random() % s.keys), value);  // all have opened it by the time the clock starts
      uint64_t done = 0;
      const double start = now();
      for (; now() - start < 1.0; ++done) rival.put_durably(Key(random() % s.keys), value);
      const double rate = static_cast<double>(done) / (now() - start);
      if (write(results[1], &rate, sizeof rate) != sizeof rate) _exit(1);
      rival.close();
      _exit(0);
    }
    children.push_back(child);
  }
  double sum = 0, rate = 0;
  for (const pid_t child : children) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) die("a writing process failed");
  }
  for (unsigned t = 0; t < kWriters; ++t)
    if (read(results[0], &rate, sizeof rate) == sizeof rate) sum += rate;
  ::close(results[0]);
  ::close(results[1]);
  rival.open(false);
  note(kPutFromProcesses, rival.name(), sum);
}

// Opening after a clean close, and after a writer was killed in the middle of its work.
void print_opening(Ours& ours, const Settings& s) {
  std::vector<double> clean, killed;
  for (uint64_t round = 0; round < s.rounds; ++round) {
    ours.close();
    const double start = now();
    ours.open(false);
    clean.push_back(now() - start);
    ours.close();
    const pid_t child = fork();
    if (child == 0) {
      ours.open(false);
      ours.put(Key(round), std::string(s.value_bytes, 'k'));
      kill(getpid(), SIGKILL);
    }
    waitpid(child, nullptr, 0);
    const double again = now();
    ours.open(false);
    killed.push_back(now() - again);
  }
  printf("open, clean: %.1f ms; after a kill: %.1f ms, %.2f million keys a second\n", median(clean) * 1000,
         median(killed) * 1000, static_cast<double>(s.keys) / median(killed) / 1e6);
}

Settings settings_from(int argc, char** argv) {
  Settings s;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    auto value = [&]() -> std::string {
      if (i + 1 == argc) die(option + " needs a value");
      return argv[++i];
    };
    if (option == "--keys")
      s.keys = std::stoull(value());
    else if (option == "--value-bytes")
      s.value_bytes = std::stoull(value());
    else if (option == "--rounds")
      s.rounds = std::stoull(value());
    else if (option == "--dir")
      s.dir = value();
    else if (option == "--opening")
      s.only_opening = true;
    else if (option == "--gets")
      s.only_gets = true;
    else if (option == "--quick")
      s.keys = 100'000, s.rounds = 1;
    else
      die("options: --keys N --value-bytes N --rounds N --dir DIR --quick --opening --gets");
  }
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  const Settings s = settings_from(argc, argv);
  std::filesystem::remove_all(s.dir);
  std::filesystem::create_directories(s.dir);
  Ours ours(s.dir + "/spillway");
  Lmdb lmdb(s.dir + "/lmdb");
  LevelDb level(s.dir + "/leveldb");
  Redis redis(s.dir + "/redis");
  std::vector<Rival*> all = {&ours, &lmdb, &level, &redis};
  if (s.only_opening) all.resize(1);
  if (s.only_gets) all.pop_back();
  for (Rival* rival : all) rival->open(false);

  put_all(all, s);
  for (Rival* rival : all) rival->settle();
  print_size(ours, s);
  print_opening(ours, s);
  if (s.only_opening) {
    ours.close();
    std::filesystem::remove_all(s.dir);
    return 0;
  }
  get_hot(all, lmdb, redis, s);
  for (Rival* rival : all) print_latencies(*rival, s);
  if (s.only_gets) {
    for (Rival* rival : all) rival->close();
    std::filesystem::remove_all(s.dir);
    return touched == 1 ? 1 : 0;
  }
  for (uint64_t round = 0; round < s.rounds; ++round) {
    readers_and_writer(ours, s, 100 + round);
    readers_and_writer(lmdb, s, 100 + round);
  }
  print(kReadersAndWriter);
  for (uint64_t round = 0; round < s.rounds; ++round) {
    put_durably(ours, s, round);
    put_durably(lmdb, s, round);
    put_durably(level, s, round);
  }
  print(kPutDurably);
  ours.share();
  for (uint64_t round = 0; round < s.rounds; ++round) {
    put_from_processes(ours, s, round);
    put_from_processes(lmdb, s, round);
  }
  print(kPutFromProcesses);
  for (Rival* rival : all) rival->close();
  std::filesystem::remove_all(s.dir);
  return touched == 1 ? 1 : 0;
}
