// rivals.h - the stores that the bench compares, behind one face: ours, LMDB, LevelDB, Redis on a Unix
// socket.
//
// Each as its users would set it up for this: LMDB without read-ahead, its sync when asked, and read either
// in a transaction renewed for each get, which sees what was written since, as all the others do, or in one
// for all gets, which is quicker and sees none of it; LevelDB with a cache that holds everything and a
// filter; Redis with pipelines of one, as a program that needs the answer has. Every value's first and last
// byte is read.
#pragma once
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <spillway/store.hpp>
#include <string>

using spillway::Durability;

[[noreturn]] inline void die(const std::string& what) {
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

inline uint64_t touched = 0;
inline void touch(const char* data, size_t bytes) {
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
  // What was written is on the device and in its final shape.
  virtual void settle() {}
};

class Ours : public Rival {
 public:
  explicit Ours(std::string dir) : dir_(std::move(dir)) {}
  // From now on it is opened as one of several that write.
  void share() { is_shared_ = true; }
  const char* name() const override { return "spillway"; }
  void open(bool reader) override {
    spillway::StoreOptions options;
    options.durability = Durability::kAsync;
    auto store = reader       ? spillway::Store::open_reader(dir_)
                 : is_shared_ ? spillway::Store::open_shared(dir_, options)
                              : spillway::Store::open(dir_, options);
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
  void settle() override { (void)store_->sync(); }
  spillway::Store& store() { return *store_; }

 private:
  std::string dir_;
  bool is_shared_ = false;
  std::unique_ptr<spillway::Store> store_;
  spillway::PutOptions group_;
};

class Lmdb : public Rival {
 public:
  explicit Lmdb(std::string dir) : dir_(std::move(dir)) {}
  const char* name() const override { return one_transaction_ ? "LMDB, 1 txn" : "LMDB"; }
  // All gets from now on in one transaction, or each in a renewed one.
  void read_in_one_transaction(bool one) {
    one_transaction_ = one;
    if (read_ != nullptr) mdb_txn_abort(read_);
    read_ = nullptr;
  }
  void settle() override { check(mdb_env_sync(env_, 1)); }
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
    } else if (!one_transaction_) {
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
  bool one_transaction_ = false;
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
  void settle() override { db_->CompactRange(nullptr, nullptr); }

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
