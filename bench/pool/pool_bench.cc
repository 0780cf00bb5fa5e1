// pool_bench.cc - the pool beside its rivals: memcpy into warm memory, and Redis on a Unix socket, in one
// run, in turns.
//   pool_bench SOCKET_OF_SPILLWAYD SOCKET_OF_REDIS|- [ROUNDS]
// One line per measure: name, value, unit. Ratios are of medians over the rounds. bench/pool/run starts the
// servers.
#include <hiredis/hiredis.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <spillway/pool.hpp>

namespace {

using namespace spillway;

double now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}
double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}
void say(const char* name, double value, const char* unit) {
  std::printf("%-40s %10.3f %s\n", name, value, unit);
}

Pool connect(const char* socket) { return Pool({.socket = socket, .start = false}); }

struct Redis {
  redisContext* c;
  explicit Redis(const char* socket) : c(redisConnectUnix(socket)) {
    if (c == nullptr || c->err)
      std::fprintf(stderr, "redis: %s\n", c ? c->errstr : "no memory"), std::exit(2);
  }
  ~Redis() { redisFree(c); }
  void set(const std::string& key, const char* data, size_t bytes) {
    freeReplyObject(redisCommand(c, "SET %b %b", key.data(), key.size(), data, bytes));
  }
  size_t get(const std::string& key) {
    auto* const reply = static_cast<redisReply*>(redisCommand(c, "GET %b", key.data(), key.size()));
    const size_t n = reply->len;
    freeReplyObject(reply);
    return n;
  }
};

void copies(Pool& pool, int rounds) {
  constexpr size_t kBytes = 100 << 20;
  std::vector<char> from(kBytes, 'a'), warm(kBytes, 'b');
  std::vector<double> plain, put;
  for (int r = 0; r < rounds; ++r) {
    double t = now_us();
    std::memcpy(warm.data(), from.data(), kBytes);
    plain.push_back(now_us() - t);
    t = now_us();
    const DRef dref = pool.set(from);
    put.push_back(now_us() - t);
  }
  say("memcpy 100 MiB, warm", median(plain) / 1000, "ms");
  say("set 100 MiB by copy", median(put) / 1000, "ms");
  say("set / memcpy, speed", median(plain) / median(put), "x (want 0.8)");
}

void builders(Pool& pool, int rounds) {
  std::vector<double> create;
  for (int r = 0; r < rounds * 50; ++r) {
    const double t = now_us();
    Builder b = pool.create(1 << 20);
    const DRef d = std::move(b).seal();
    create.push_back(now_us() - t);
  }
  say("create + seal of 1 MiB, untouched", median(create), "us (want 60)");
}

void gets(Pool& pool, const char* socket, int rounds) {
  std::vector<DRef> drefs;
  std::vector<char> data(1 << 20, 'x');
  for (int i = 0; i < 200; ++i) drefs.push_back(pool.set(data));
  std::vector<double> first, again;
  for (int r = 0; r < rounds; ++r) {
    Pool fresh = connect(socket);
    for (const DRef& d : drefs) {
      double t = now_us();
      const Pin pin = fresh.get(d.ref());
      first.push_back(now_us() - t);
      constexpr int kTimes = 1000;
      t = now_us();
      for (int i = 0; i < kTimes; ++i) (void)fresh.get(d.ref());
      again.push_back((now_us() - t) / kTimes);
    }
  }
  say("first get of a resident object", median(first), "us (want 40)");
  say("get again", median(again), "us (want 0.3)");
}

void gets_by_name(Pool& pool, const char* socket, int rounds) {
  std::vector<std::string> names;
  std::vector<double> set;
  for (int i = 0; i < 200; ++i) names.push_back("bench/" + std::to_string(i));
  for (int r = 0; r < rounds; ++r)
    for (const std::string& name : names) {
      const double t = now_us();
      (void)pool.set(std::string(1024, 'x'), {.name = name, .flags = SPILLWAY_UNCOUNTED});
      set.push_back(now_us() - t);
    }
  std::vector<double> first, again;
  for (int r = 0; r < rounds; ++r) {
    Pool fresh = connect(socket);
    for (const std::string& name : names) {
      double t = now_us();
      const Pin pin = fresh.get(name);
      first.push_back(now_us() - t);
      constexpr int kTimes = 1000;
      t = now_us();
      for (int i = 0; i < kTimes; ++i) (void)fresh.get(name);
      again.push_back((now_us() - t) / kTimes);
    }
  }
  for (const std::string& name : names) pool.erase(name);
  say("set by name, 1 KiB", median(set), "us");
  say("first get by name, 1 KiB", median(first), "us (want 2)");
  say("get by name again", median(again), "us (want 0.3)");
}

void large_against_redis(Pool& pool, Redis& redis, int rounds) {
  std::vector<char> data(1 << 20, 'x');
  std::vector<double> ours_set, theirs_set, ours_get, theirs_get;
  for (int r = 0; r < rounds * 20; ++r) {
    double t = now_us();
    const DRef d = pool.set(data);
    ours_set.push_back(now_us() - t);
    t = now_us();
    redis.set("large", data.data(), data.size());
    theirs_set.push_back(now_us() - t);
    t = now_us();
    volatile size_t n = pool.get(d).size();
    ours_get.push_back(now_us() - t);
    t = now_us();
    n = redis.get("large");
    theirs_get.push_back(now_us() - t);
    (void)n;
  }
  say("SET 1 MiB: ours", median(ours_set), "us");
  say("SET 1 MiB: Redis / ours", median(theirs_set) / median(ours_set), "x (want 10)");
  say("GET 1 MiB, first: ours", median(ours_get), "us");
  say("GET 1 MiB: Redis / ours", median(theirs_get) / median(ours_get), "x (want 10)");
}

// Operations per second of four processes for a second.
template <typename Make>
double throughput(Make make) {
  int ends[2];
  if (pipe(ends) != 0) std::exit(2);
  for (int c = 0; c < 4; ++c)
    if (fork() == 0) {
      auto operation = make(c);
      long count = 0;
      const double until = now_us() + 1e6;
      while (now_us() < until) count += operation();
      (void)!write(ends[1], &count, sizeof count);
      _exit(0);
    }
  long sum = 0;
  for (int c = 0; c < 4; ++c) {
    long count = 0;
    (void)!read(ends[0], &count, sizeof count);
    sum += count;
  }
  while (wait(nullptr) > 0) {
  }
  close(ends[0]), close(ends[1]);
  return static_cast<double>(sum);
}

void small_against_redis(const char* ours, const char* theirs, int rounds) {
  static const std::string value(1024, 'v');
  std::vector<double> set, batch, get, redis_set, redis_batch, redis_get;
  for (int r = 0; r < rounds; ++r) {
    set.push_back(throughput([&](int) {
      return [pool = std::make_shared<Pool>(connect(ours)), keep = std::vector<DRef>(1000),
              i = size_t{0}]() mutable {
        keep[i++ % 1000] = pool->set(value);
        return 1;
      };
    }));
    redis_set.push_back(throughput([&](int c) {
      return [redis = std::make_shared<Redis>(theirs), c, i = 0]() mutable {
        redis->set(std::to_string(c * 1000 + i++ % 1000), value.data(), value.size());
        return 1;
      };
    }));
    batch.push_back(throughput([&](int) {
      return [pool = std::make_shared<Pool>(connect(ours)), keep = std::vector<DRef>()]() mutable {
        static const std::vector<std::span<const std::byte>> values(100, std::as_bytes(std::span(value)));
        keep = pool->set_many(values);
        return 100;
      };
    }));
    redis_batch.push_back(throughput([&](int c) {
      return [redis = std::make_shared<Redis>(theirs), c]() {
        for (int i = 0; i < 100; ++i) {
          const std::string key = std::to_string(c * 1000 + i);
          redisAppendCommand(redis->c, "SET %b %b", key.data(), key.size(), value.data(), value.size());
        }
        for (int i = 0; i < 100; ++i) {
          void* reply = nullptr;
          redisGetReply(redis->c, &reply);
          freeReplyObject(reply);
        }
        return 100;
      };
    }));
    get.push_back(throughput([&](int) {
      auto pool = std::make_shared<Pool>(connect(ours));
      std::vector<DRef> drefs;
      for (int i = 0; i < 1000; ++i) drefs.push_back(pool->set(value));
      return [pool, drefs, i = size_t{0}]() mutable {
        volatile char c = pool->get(drefs[i++ % 1000]).text()[0];
        (void)c;
        return 1;
      };
    }));
    redis_get.push_back(throughput([&](int c) {
      return [redis = std::make_shared<Redis>(theirs), c, i = 0]() mutable {
        (void)redis->get(std::to_string(c * 1000 + i++ % 1000));
        return 1;
      };
    }));
  }
  say("SET 1 KiB, 4 clients, one by one", median(set) / 1000, "k/s");
  say("SET 1 KiB: ours / Redis", median(set) / median(redis_set), "x (want 2)");
  say("SET 1 KiB, batches of 100", median(batch) / 1000, "k/s");
  say("SET 1 KiB, batches: ours / Redis", median(batch) / median(redis_batch), "x");
  say("GET 1 KiB, held or cached", median(get) / 1000, "k/s");
  say("GET 1 KiB: ours / Redis", median(get) / median(redis_get), "x (want 2)");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3)
    return std::fprintf(stderr, "usage: pool_bench SPILLWAYD_SOCKET REDIS_SOCKET|- [ROUNDS]\n"), 2;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 9;
  const bool redis = std::strcmp(argv[2], "-") != 0;
  if (redis)
    small_against_redis(argv[1], argv[2], std::max(1, rounds / 3));  // before this process has threads
  Pool pool = connect(argv[1]);
  copies(pool, rounds);
  builders(pool, rounds);
  gets(pool, argv[1], std::max(1, rounds / 3));
  gets_by_name(pool, argv[1], std::max(1, rounds / 3));
  if (redis) {
    Redis r(argv[2]);
    large_against_redis(pool, r, rounds);
  }
  return 0;
}
