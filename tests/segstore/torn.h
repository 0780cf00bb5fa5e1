// torn.h - writers that die in the middle of a write, and what is done by hand to the bytes they left.
#pragma once
#include "tests/segstore/crash.h"

namespace spillway::test {

// The process dies in the middle of the chosen write, of those that follow the named step if one is named.
class KilledInWrite : public segstore::Files {
 public:
  KilledInWrite(int write, uint64_t random, std::string after_step = "")
      : left_(write), random_(random), after_(std::move(after_step)), is_armed_(after_.empty()) {}
  void step(const char* name) override {
    if (name == after_) is_armed_ = true;
  }
  Errno write(int fd, const os::Piece* pieces, int count, uint64_t offset) override {
    if (!is_armed_ || left_-- != 0) return Files::write(fd, pieces, count, offset);
    uint64_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += pieces[i].bytes;
    // Within a page the kernel does not look for signals, and nobody writes less than that at the front.
    uint64_t part = random_ % bytes;
    if (offset == 0) part = part / 4096 * 4096;
    for (int i = 0; i < count && part > 0; ++i) {
      const os::Piece piece{pieces[i].data, std::min(part, pieces[i].bytes)};
      (void)Files::write(fd, &piece, 1, offset);
      offset += piece.bytes;
      part -= piece.bytes;
    }
    ::kill(::getpid(), SIGKILL);
    return {};
  }

 private:
  std::atomic<int> left_;
  const uint64_t random_;
  const std::string after_;
  std::atomic<bool> is_armed_;
};

// The process dies when a record has been written, and nothing points to it yet.
class KilledBeforePoint : public segstore::Files {
 public:
  std::atomic<bool> is_armed{false};
  void step(const char* name) override {
    if (is_armed && std::string(name) == "point") ::kill(::getpid(), SIGKILL);
  }
};

inline std::string findings_of(const std::string& directory) {
  std::string all;
  for (const auto& finding : must(verify_store(directory)).findings)
    all += finding.file + " at " + std::to_string(finding.offset) + ": " + finding.what + "; ";
  return all;
}

struct Placed {
  std::string path, key;
  uint64_t offset = 0, bytes = 0, sequence = 0;
};
inline std::vector<Placed> records_of(const std::string& directory) {
  std::vector<Placed> all;
  must(dump_store(directory, [&](const StoredRecord& record) {
    all.push_back({directory + "/" + record.file, std::string(record.key), record.offset, record.bytes,
                   record.sequence});
  }));
  return all;
}
inline Placed place_of(const std::string& directory, const std::string& key) {
  for (const Placed& record : records_of(directory))
    if (record.key == key) return record;
  FAIL("no record of " << key);
  return {};
}

inline void edit(const std::string& path, uint64_t offset, const std::string& bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset));
  file << bytes;
  REQUIRE(file.flush());
}
inline void flip(const std::string& path, uint64_t offset) {
  edit(path, offset, std::string(1, static_cast<char>(read_file(path)[offset] ^ 0x10)));
}

// A writer puts some records, then what is acknowledged, and dies with `last` written.
inline Pairs die_after(const ScratchDir& dir, const std::function<StoreStatus(Store&)>& acknowledged,
                       const std::function<void(Store&)>& last) {
  Child writer([&] {
    KilledBeforePoint files;
    auto store = StoreAccess::open(dir / "s", small_segments(dir), files);
    if (!store) return 2;
    for (uint64_t n = 0; n < 40; ++n)
      if (!store->put(key_of(n), std::string(n * 9, 'v')).ok()) return 3;
    if (!acknowledged(*store).ok()) return 4;
    files.is_armed = true;
    last(*store);
    return 5;
  });
  REQUIRE(writer.wait() == 1000 + SIGKILL);
  Pairs model{{"acknowledged", "x"}};
  for (uint64_t n = 0; n < 40; ++n) model[key_of(n)] = std::string(n * 9, 'v');
  return model;
}

}  // namespace spillway::test
