// segstore.cc - the segment store beside what one would use instead: LMDB, LevelDB, Redis on a Unix socket.
//
//   build/bench/segstore [--keys N] [--value-bytes N] [--dir DIR] [--rounds N] [--quick]
//
// One process, one run: every round does the same operation with each store, in turn, on the same keys, so
// that the machine's moods hit all alike. Printed are medians over the rounds, and ratios to ours. Fair to
// the rivals: LMDB reads in one long read transaction per round, reset and renewed per get (what a program
// must do to see new data); LevelDB has a cache that holds everything; Redis gets pipelines of one, as a
// program that needs the answer has. All values are touched (first and last byte).
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <spillway/store.hpp>
#include <string>
#include <thread>
#include <vector>

namespace {

using spillway::Durability;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
[[noreturn]] void die(const std::string& what) {
  fprintf(stderr, "segstore bench: %s\n", what.c_str());
  exit(1);
}

struct Key {
  char text[24];
  size_t bytes;
  explicit Key(uint64_t n)
      : bytes(static_cast<size_t>(
            snprintf(text, sizeof text, "key-%012llu", static_cast<unsigned long long>(n)))) {}
};

uint64_t touched = 0;
void touch(const char* data, size_t bytes) {
  if (bytes > 0) touched += static_cast<unsigned char>(data[0]) + static_cast<unsigned char>(data[bytes - 1]);
}

class Rival {
 public:
  virtual ~Rival() = default;
  virtual const char* name() const = 0;
  virtual void put(const Key& key, const std::string& value) = 0;
  virtual void put_durably(const Key& key, const std::string& value) = 0;  // any thread
  virtual bool get(const Key& key) = 0;
  // For another process that only reads; the object must have been closed before it forked.
  virtual void open(bool reader) = 0;
  virtual void close() = 0;
};

class Ours : public Rival {
 public:
  explicit Ours(std::string dir) : dir_(std::move(dir)) {}
  const char* name() const override { return "spillway"; }
  void open(bool reader) override {
    spillway::StoreOptions options;
    options.durability = Durability::kAsync;
    auto store = reader ? spillway::Store::open_reader(dir_) : spillway::Store::open(dir_, options);
    if (!store) die(store.status().message());
    store_ = std::make_unique<spillway::Store>(std::move(*store));
    group_.durability = Durability::kGroup;
  }
  void close() override { store_.reset(); }
  void put(const Key& key, const std::string& value) override {
    if (auto r = store_->put({key.text, key.bytes}, value); !r) die(r.status().message());
  }
  void put_durably(const Key& key, const std::string& value) override {
    if (auto r = store_->put({key.text, key.bytes}, value, group_); !r) die(r.status().message());
  }
  bool get(const Key& key) override {
    auto r = store_->get({key.text, key.bytes});
    if (!r) die(r.status().message());
    touch(r->data(), r->size());
    return r->found();
  }
  spillway::Store& store() { return *store_; }

 private:
  std::string dir_;
  std::unique_ptr<spillway::Store> store_;
  spillway::PutOptions group_;
};

class Lmdb : public Rival {
 public:
  explicit Lmdb(std::string dir) : dir_(std::move(dir)) {}
  const char* name() const override { return "LMDB"; }
  void open(bool reader) override {
    std::filesystem::create_directories(dir_);
    check(mdb_env_create(&env_));
    check(mdb_env_set_mapsize(env_, 8ull << 30));
    check(mdb_env_set_maxreaders(env_, 126));
    check(mdb_env_open(env_, dir_.c_str(), reader ? MDB_RDONLY | MDB_NORDAHEAD : MDB_NOSYNC | MDB_NORDAHEAD,
                       0600));
    MDB_txn* txn = nullptr;
    check(mdb_txn_begin(env_, nullptr, reader ? MDB_RDONLY : 0, &txn));
    check(mdb_dbi_open(txn, nullptr, 0, &dbi_));
    check(mdb_txn_commit(txn));
  }
  void close() override {
    if (read_ != nullptr) mdb_txn_abort(read_);
    read_ = nullptr;
    if (env_ != nullptr) mdb_env_close(env_);
    env_ = nullptr;
  }
  void put(const Key& key, const std::string& value) override { write(key, value, false); }
  void put_durably(const Key& key, const std::string& value) override { write(key, value, true); }
  bool get(const Key& key) override {
    if (read_ == nullptr) {
      check(mdb_txn_begin(env_, nullptr, MDB_RDONLY, &read_));
    } else {
      mdb_txn_reset(read_);
      check(mdb_txn_renew(read_));
    }
    MDB_val k{key.bytes, const_cast<char*>(key.text)}, v{};
    const int error = mdb_get(read_, dbi_, &k, &v);
    if (error == MDB_NOTFOUND) return false;
    check(error);
    touch(static_cast<const char*>(v.mv_data), v.mv_size);
    return true;
  }

 private:
  static void check(int error) {
    if (error != 0) die(std::string("LMDB: ") + mdb_strerror(error));
  }
  void write(const Key& key, const std::string& value, bool durably) {
    MDB_txn* txn = nullptr;
    check(mdb_txn_begin(env_, nullptr, 0, &txn));
    MDB_val k{key.bytes, const_cast<char*>(key.text)}, v{value.size(), const_cast<char*>(value.data())};
    check(mdb_put(txn, dbi_, &k, &v, 0));
    if (!durably) {
      check(mdb_txn_commit(txn));
      return;
    }
    // A synced commit, as without MDB_NOSYNC; the lock is LMDB's own, so commits go one by one.
    check(mdb_env_set_flags(env_, MDB_NOSYNC, 0));
    check(mdb_txn_commit(txn));
  }
  std::string dir_;
  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
  MDB_txn* read_ = nullptr;
};

class LevelDb : public Rival {
 public:
  explicit LevelDb(std::string dir) : dir_(std::move(dir)) {}
  const char* name() const override { return "LevelDB"; }
  void open(bool) override {
    leveldb::Options options;
    options.create_if_missing = true;
    cache_.reset(leveldb::NewLRUCache(1 << 30));
    filter_.reset(leveldb::NewBloomFilterPolicy(10));
    options.block_cache = cache_.get();
    options.filter_policy = filter_.get();
    options.write_buffer_size = 64 << 20;
    options.compression = leveldb::kNoCompression;
    leveldb::DB* db = nullptr;
    const leveldb::Status status = leveldb::DB::Open(options, dir_, &db);
    if (!status.ok()) die("LevelDB: " + status.ToString());
    db_.reset(db);
  }
  void close() override { db_.reset(); }
  void put(const Key& key, const std::string& value) override { write(key, value, false); }
  void put_durably(const Key& key, const std::string& value) override { write(key, value, true); }
  bool get(const Key& key) override {
    thread_local std::string value;
    const leveldb::Status status = db_->Get({}, {key.text, key.bytes}, &value);
    if (status.IsNotFound()) return false;
    if (!status.ok()) die("LevelDB: " + status.ToString());
    touch(value.data(), value.size());
    return true;
  }
  void settle() { db_->CompactRange(nullptr, nullptr); }

 private:
  void write(const Key& key, const std::string& value, bool sync) {
    leveldb::WriteOptions options;
    options.sync = sync;
    const leveldb::Status status = db_->Put(options, {key.text, key.bytes}, value);
    if (!status.ok()) die("LevelDB: " + status.ToString());
  }
  std::string dir_;
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::DB> db_;
};

class Redis : public Rival {
 public:
  explicit Redis(std::string dir) : dir_(std::move(dir)) {}
  const char* name() const override { return "Redis"; }
  void open(bool) override {
    std::filesystem::create_directories(dir_);
    const std::string socket = dir_ + "/socket";
    server_ = fork();
    if (server_ == 0) {
      const int null = ::open("/dev/null", 2);
      dup2(null, 1);
      execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket.c_str(), "--save", "",
             "--appendonly", "no", "--dir", dir_.c_str(), nullptr);
      _exit(127);
    }
    for (int i = 0; i < 200; ++i) {
      usleep(20'000);
      connection_ = redisConnectUnix(socket.c_str());
      if (connection_ != nullptr && connection_->err == 0) return;
      if (connection_ != nullptr) redisFree(connection_);
      connection_ = nullptr;
    }
    die("Redis does not answer");
  }
  void close() override {
    if (connection_ != nullptr) redisFree(connection_);
    connection_ = nullptr;
    if (server_ > 0) {
      kill(server_, SIGTERM);
      waitpid(server_, nullptr, 0);
    }
    server_ = -1;
  }
  ~Redis() override { close(); }
  void put(const Key& key, const std::string& value) override {
    reply(redisCommand(connection_, "SET %b %b", key.text, key.bytes, value.data(), value.size()));
  }
  void put_durably(const Key&, const std::string&) override {}
  bool get(const Key& key) override {
    auto* r = static_cast<redisReply*>(redisCommand(connection_, "GET %b", key.text, key.bytes));
    if (r == nullptr) die("Redis went away");
    const bool found = r->type == REDIS_REPLY_STRING;
    if (found) touch(r->str, r->len);
    freeReplyObject(r);
    return found;
  }

 private:
  static void reply(void* r) {
    if (r == nullptr) die("Redis went away");
    freeReplyObject(r);
  }
  std::string dir_;
  pid_t server_ = -1;
  redisContext* connection_ = nullptr;
};

struct Settings {
  uint64_t keys = 1'000'000, value_bytes = 100, rounds = 3;
  std::string dir = "/var/tmp/spillway-bench-segstore";
};

std::map<std::string, std::map<std::string, std::vector<double>>>
    rates;  // what -> who -> operations a second
std::vector<std::string> order;

void note(const std::string& what, const std::string& who, double rate) {
  if (!rates.contains(what)) order.push_back(what);
  rates[what][who].push_back(rate);
}
double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void print() {
  for (const std::string& what : order) {
    printf("\n%s\n", what.c_str());
    const double ours = median(rates[what]["spillway"]);
    for (const auto& [who, all] : rates[what])
      printf("  %-10s %12.0f /s   spillway is %.2fx\n", who.c_str(), median(all), ours / median(all));
  }
}

double get_rate(Rival& rival, uint64_t keys, uint64_t count, uint64_t seed,
                std::vector<float>* latencies = nullptr) {
  std::mt19937_64 random(seed);
  std::vector<uint32_t> chosen(count);
  for (uint32_t& n : chosen) n = static_cast<uint32_t>(random() % keys);
  uint64_t missing = 0;
  const double start = now();
  for (const uint32_t n : chosen) {
    const Key key(n);
    if (latencies != nullptr) {
      const double before = now();
      missing += rival.get(key) ? 0 : 1;
      latencies->push_back(static_cast<float>((now() - before) * 1e6));
    } else {
      missing += rival.get(key) ? 0 : 1;
    }
  }
  const double seconds = now() - start;
  if (missing != 0) die(std::string(rival.name()) + ": keys are missing");
  return static_cast<double>(count) / seconds;
}

// Making the key's text is not the store's work: what it costs alone, to be taken off.
double key_seconds(uint64_t count) {
  const double start = now();
  for (uint64_t n = 0; n < count; ++n) {
    const Key key(n * 7919 % 1'000'000);
    touch(key.text, key.bytes);
  }
  return now() - start;
}
double without_keys(double rate, double key_cost) { return 1 / (1 / rate - key_cost); }

// Two processes read while this one writes.
void readers_and_writer(const std::string& what, Rival& rival, const Settings& s, uint64_t seed) {
  int results[2];
  if (pipe(results) != 0) die("pipe");
  rival.close();
  std::vector<pid_t> children;
  for (int i = 0; i < 2; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      usleep(200'000);  // until the writer has opened it
      rival.open(true);
      (void)get_rate(rival, s.keys, s.keys / 20, seed);
      const double rate = get_rate(rival, s.keys, s.keys / 2, seed + 10 + static_cast<uint64_t>(i));
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
  note(what, rival.name(), sum);
}

}  // namespace

int main(int argc, char** argv) {
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
    else if (option == "--quick")
      s.keys = 100'000, s.rounds = 1;
    else
      die("options: --keys N --value-bytes N --rounds N --dir DIR --quick");
  }
  std::filesystem::remove_all(s.dir);
  std::filesystem::create_directories(s.dir);
  Ours ours(s.dir + "/spillway");
  Lmdb lmdb(s.dir + "/lmdb");
  LevelDb level(s.dir + "/leveldb");
  Redis redis(s.dir + "/redis");
  const std::vector<Rival*> all = {&ours, &lmdb, &level, &redis};
  const std::string value(s.value_bytes, 'v');
  std::vector<uint64_t> keys(s.keys);
  for (uint64_t i = 0; i < s.keys; ++i) keys[i] = i;
  std::shuffle(keys.begin(), keys.end(), std::mt19937_64(42));
  for (Rival* rival : all) rival->open(false);

  // In pieces, so that all grow side by side.
  constexpr uint64_t kPieces = 10;
  std::map<Rival*, double> seconds;
  for (uint64_t piece = 0; piece < kPieces; ++piece)
    for (Rival* rival : all) {
      const double start = now();
      for (uint64_t i = s.keys * piece / kPieces; i < s.keys * (piece + 1) / kPieces; ++i)
        rival->put(Key(keys[i]), value);
      seconds[rival] += now() - start;
    }
  for (Rival* rival : all)
    note("put, random order, not synced", rival->name(), static_cast<double>(s.keys) / seconds[rival]);
  level.settle();
  const auto state = ours.store().state();
  const double payload = static_cast<double>(s.keys) * (16 + static_cast<double>(s.value_bytes));
  uint64_t used = 0;
  for (const auto& segment : const_cast<spillway::StoreResult<spillway::StoreState>&>(state)->segments)
    used += segment.used_bytes;
  printf("index: %.2f bytes a key; log: %.3f x payload\n",
         static_cast<double>(const_cast<spillway::StoreResult<spillway::StoreState>&>(state)->index_bytes) /
             static_cast<double>(s.keys),
         static_cast<double>(used) / payload);

  for (Rival* rival : all) (void)get_rate(*rival, s.keys, s.keys / 2, 1);  // warm
  for (uint64_t round = 0; round < s.rounds; ++round) {
    const double key_cost = key_seconds(s.keys) / static_cast<double>(s.keys);
    for (Rival* rival : all)
      note("get, random, hot, 1 reader", rival->name(),
           without_keys(get_rate(*rival, s.keys, rival == &redis ? s.keys / 20 : s.keys, round + 2),
                        key_cost));
  }
  for (Rival* rival : all) {
    std::vector<float> latencies;
    (void)get_rate(*rival, s.keys, s.keys / 10, 77, &latencies);
    std::sort(latencies.begin(), latencies.end());
    printf("get, %-9s 50%% %.2f us, 99%% %.2f us, 99.9%% %.2f us\n", rival->name(),
           static_cast<double>(latencies[latencies.size() / 2]),
           static_cast<double>(latencies[latencies.size() * 99 / 100]),
           static_cast<double>(latencies[latencies.size() * 999 / 1000]));
  }
  for (uint64_t round = 0; round < s.rounds; ++round)
    for (Rival* rival : {static_cast<Rival*>(&ours), static_cast<Rival*>(&lmdb)})
      readers_and_writer("get, 2 reading processes and a writer (sum)", *rival, s, 100 + round);

  constexpr unsigned kWriters = 16;
  for (uint64_t round = 0; round < s.rounds; ++round)
    for (Rival* rival :
         {static_cast<Rival*>(&ours), static_cast<Rival*>(&lmdb), static_cast<Rival*>(&level)}) {
      std::atomic<uint64_t> done{0};
      const double start = now();
      std::vector<std::thread> threads;
      for (unsigned t = 0; t < kWriters; ++t)
        threads.emplace_back([&, t] {
          std::mt19937_64 random(round * 100 + t);
          while (now() - start < 1.0) {
            rival->put_durably(Key(random() % s.keys), value);
            ++done;
          }
        });
      for (std::thread& thread : threads) thread.join();
      note("put, durable, 16 writers", rival->name(), static_cast<double>(done) / (now() - start));
    }
  {
    ours.close();
    const double start = now();
    ours.open(false);
    printf("open, clean: %.1f ms\n", (now() - start) * 1000);
    ours.close();
    std::filesystem::remove(s.dir + "/spillway/CONTROL");
    const double again = now();
    ours.open(false);
    printf("open, index made anew: %.1f ms, %.2f million keys a second\n", (now() - again) * 1000,
           static_cast<double>(s.keys) / (now() - again) / 1e6);
  }
  print();
  for (Rival* rival : all) rival->close();
  std::filesystem::remove_all(s.dir);
  return touched == 1 ? 1 : 0;
}
