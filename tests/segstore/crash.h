// crash.h - Files that fail, stop the process, or forget what was not flushed; a workload, and what it
// permits.
#pragma once
#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "libpool/segstore/files.h"
#include "libpool/segstore/store_impl.h"
#include "tests/segstore/support.h"

namespace spillway::test {

// Counts calls; the chosen one fails, or the process dies at the chosen step.
class FaultyFiles : public segstore::Files {
 public:
  int fail_at = -1, error = EIO, kill_at_step = -1;
  bool fail_from_then_on = false;
  std::atomic<int> calls{0}, steps{0};

  Result<os::Fd> create(int d, const char* name, uint64_t bytes) override {
    if (fails()) return Errno(error);
    return Files::create(d, name, bytes);
  }
  Errno write(int fd, const os::Piece* pieces, int count, uint64_t offset) override {
    if (fails()) {
      // A part of it may have arrived.
      const os::Piece half{pieces[0].data, pieces[0].bytes / 2};
      (void)Files::write(fd, &half, 1, offset);
      return Errno(error);
    }
    return Files::write(fd, pieces, count, offset);
  }
  Errno flush(int fd) override { return fails() ? Errno(EIO) : Files::flush(fd); }
  Errno flush_directory(int d) override { return fails() ? Errno(EIO) : Files::flush_directory(d); }
  Errno rename(int d, const char* from, const char* to) override {
    return fails() ? Errno(error) : Files::rename(d, from, to);
  }
  Errno unlink(int d, const char* name) override { return fails() ? Errno(EIO) : Files::unlink(d, name); }
  void step(const char*) override {
    if (steps++ == kill_at_step) ::kill(::getpid(), SIGKILL);
  }

 private:
  bool fails() {
    const int now = calls++;
    return fail_at >= 0 && (now == fail_at || (fail_from_then_on && now > fail_at));
  }
};

// Remembers of each file what was flushed, and makes a directory as a power cut could have left it.
class PowerFiles : public segstore::Files {
 public:
  explicit PowerFiles(std::string directory) : directory_(std::move(directory)) {}
  Errno flush(int fd) override {
    const Errno e = Files::flush(fd);
    const std::lock_guard lock(mutex_);
    if (e.ok()) flushed_[inode(fd)] = content(fd);
    return e;
  }
  Errno flush_directory(int d) override {
    const std::lock_guard lock(mutex_);
    const Errno e = Files::flush_directory(d);
    if (e.ok()) names_ = names_now();
    return e;
  }
  Errno unlink(int d, const char* name) override {
    const std::lock_guard lock(mutex_);
    keep(name);
    return Files::unlink(d, name);
  }
  Errno rename(int d, const char* from, const char* to) override {
    const std::lock_guard lock(mutex_);
    keep(to);
    return Files::rename(d, from, to);
  }
  // Each name as the directory was flushed with it, or as it is; each block of 512 bytes likewise.
  void cut_power(const std::string& to, std::mt19937_64& random) {
    const std::lock_guard lock(mutex_);
    namespace fs = std::filesystem;
    fs::remove_all(to);
    fs::create_directory(to);
    const auto now = names_now();
    std::set<std::string> all;
    for (const auto& [name, unused] : now) all.insert(name);
    for (const auto& [name, unused] : names_) all.insert(name);
    for (const std::string& name : all) {
      if (name.compare(0, 8, "spillway") == 0 || name == "LOCK") continue;
      const bool was = names_.contains(name), is = now.contains(name);
      const bool take_now = random() % 2 != 0;
      if (!(take_now ? is : was)) continue;
      const uint64_t file = take_now ? now.at(name) : names_.at(name);
      std::string current;
      if (is && now.at(name) == file)
        current = read_file(directory_ + "/" + name);
      else
        current = last_[file];
      std::string old = flushed_.contains(file) ? flushed_[file] : std::string();
      if (name == "CONTROL") old = current;
      old.resize(current.size());
      const int mood = static_cast<int>(random() % 3);  // mostly old, half and half, mostly new
      for (size_t at = 0; at < current.size(); at += 512)
        if (random() % 10 < (mood == 0 ? 1u : mood == 1 ? 5u : 9u))
          std::copy_n(current.begin() + static_cast<ptrdiff_t>(at),
                      std::min<size_t>(512, current.size() - at), old.begin() + static_cast<ptrdiff_t>(at));
      std::ofstream(to + "/" + name, std::ios::binary) << old;
    }
  }

 private:
  static uint64_t inode(int fd) {
    struct stat st {};
    ::fstat(fd, &st);
    return st.st_ino;
  }
  static std::string content(int fd) {
    struct stat st {};
    ::fstat(fd, &st);
    std::string all(static_cast<size_t>(st.st_size), '\0');
    const ssize_t n = ::pread(fd, all.data(), all.size(), 0);
    all.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return all;
  }
  std::map<std::string, uint64_t> names_now() const {
    std::map<std::string, uint64_t> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      struct stat st {};
      if (::stat(entry.path().c_str(), &st) == 0) names[entry.path().filename().string()] = st.st_ino;
    }
    return names;
  }
  void keep(const char* name) {
    struct stat st {};
    const std::string path = directory_ + "/" + name;
    if (::stat(path.c_str(), &st) == 0) last_[st.st_ino] = read_file(path);
  }

  std::string directory_;
  std::mutex mutex_;
  std::map<uint64_t, std::string> flushed_, last_;
  std::map<std::string, uint64_t> names_;
};

class AfterReboot : public segstore::Files {
 public:
  std::string boot_id() override { return "another-boot"; }
};

using Pairs = std::map<std::string, std::string>;

// Operation number n of a seeded workload: the same in every process. Applied to a store or to a model.
struct Operation {
  enum Kind { kPut, kRemove, kBatch, kCompact, kSync } kind = kPut;
  Durability durability = Durability::kAsync;
  Pairs puts;
  std::vector<std::string> removes;

  static Operation of(uint64_t seed, uint64_t n) {
    std::mt19937_64 random(seed * 1'000'003 + n);
    auto key = [&] { return key_of(random() % 30); };
    auto value = [&] {
      const size_t sizes[] = {0, 10, 300, 3000, 9000, 20000};
      return std::to_string(n) + ":" + std::string(sizes[random() % 6], static_cast<char>('a' + n % 26));
    };
    Operation op;
    const unsigned draw = random() % 100;
    op.durability =
        random() % 4 == 0 ? (random() % 2 == 0 ? Durability::kGroup : Durability::kSync) : Durability::kAsync;
    op.kind = draw < 60 ? kPut : draw < 75 ? kRemove : draw < 92 ? kBatch : draw < 96 ? kCompact : kSync;
    if (op.kind == kPut) op.puts[key()] = value();
    if (op.kind == kRemove) op.removes.push_back(key());
    for (int i = 0; op.kind == kBatch && i < 4; ++i) {
      if (random() % 4 == 0)
        op.removes.push_back(key());
      else
        op.puts[key()] = value();
    }
    std::erase_if(op.removes, [&](const std::string& k) { return op.puts.contains(k); });
    return op;
  }
  void apply(Pairs& model) const {
    for (const auto& [key, value] : puts) model[key] = value;
    for (const auto& key : removes) model.erase(key);
  }
  StoreStatus apply(Store& store) const {
    PutOptions options;
    options.durability = durability;
    switch (kind) {
      case kPut:
        return store.put(puts.begin()->first, puts.begin()->second, options).status();
      case kRemove:
        return store.remove(removes[0], durability).status();
      case kCompact:
        return store.compact();
      case kSync:
        return store.sync();
      case kBatch: {
        Batch batch;
        for (const auto& [key, value] : puts) batch.put(key, value);
        for (const auto& key : removes) batch.remove(key);
        return store.write(batch, durability).status();
      }
    }
    return {};
  }
  // Compaction only promises to lose nothing: with nothing to rewrite it flushes no value that has a file of
  // its own.
  bool makes_all_durable() const {
    return kind == kSync || (kind != kCompact && durability != Durability::kAsync);
  }
};

// Where two states differ, for a failure's message.
inline std::string difference(const Pairs& is, const Pairs& should) {
  std::string text;
  auto shown = [](const Pairs& from, const std::string& key) {
    const auto at = from.find(key);
    return at == from.end() ? std::string("absent") : at->second.substr(0, at->second.find(':'));
  };
  std::set<std::string> keys;
  for (const auto& [key, value] : is) keys.insert(key);
  for (const auto& [key, value] : should) keys.insert(key);
  for (const std::string& key : keys)
    if (shown(is, key) != shown(should, key))
      text += key + ": is " + shown(is, key) + ", should be " + shown(should, key) + "; ";
  return text;
}

// SPILLWAY_SOAK multiplies the seeds that a test tries: with 50 the crash tests make more than 15,000 runs.
inline uint64_t seeds(uint64_t quick_ones) {
  const char* factor = ::getenv("SPILLWAY_SOAK");
  return quick_ones * (factor != nullptr ? 2 * std::max(1ul, std::strtoul(factor, nullptr, 10)) : 1);
}

}  // namespace spillway::test
