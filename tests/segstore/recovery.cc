// recovery.cc - damage of every kind: what is intact is found, what is not is told, nothing is invented.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "libpool/segstore/store_impl.h"
#include "tests/segstore/support.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

using Pairs = std::map<std::string, std::string>;

// A store with sealed segments, overwrites, removes, an open segment and a large value.
Pairs make_store(const ScratchDir& dir, bool with_large = true) {
  Pairs model;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  for (int i = 0; i < 300; ++i) {
    const std::string key = key_of(i % 200),
                      value = std::to_string(i) + std::string(static_cast<size_t>(i) * 3, 'v');
    must(store.put(key, value));
    model[key] = value;
  }
  for (int i = 0; i < 200; i += 10) {
    must(store.remove(key_of(i)));
    model.erase(key_of(i));
  }
  if (with_large) {
    must(store.put("large", std::string(1 << 20, 'l')));
    model["large"] = std::string(1 << 20, 'l');
  }
  must(store.close());
  return model;
}

std::vector<std::string> segments_of(const ScratchDir& dir) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir / "s"))
    if (entry.path().filename().string().compare(0, 4, "seg-") == 0) names.push_back(entry.path().string());
  std::sort(names.begin(), names.end());
  return names;
}

void overwrite(const std::string& path, uint64_t offset, const std::string& bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset));
  file << bytes;
}

}  // namespace

TEST_CASE("opening works when manifest, control, index or footers are missing or damaged") {
  for (const std::string what : {"MANIFEST", "CONTROL", "index", "footers", "all"}) {
    for (const bool damage : {false, true}) {
      ScratchDir dir;
      const Pairs model = make_store(dir);
      auto spoil = [&](const std::string& path) {
        if (damage)
          overwrite(path, 3, "damaged");
        else
          fs::remove(path);
      };
      if (what == "MANIFEST" || what == "all") spoil(dir / "s/MANIFEST");
      if (what == "CONTROL" || what == "all") spoil(dir / "s/CONTROL");
      if (what == "index" || what == "all")
        for (const auto& name : dir.files())
          if (name.compare(0, 8, "spillway") == 0) spoil(dir / name);
      if (what == "footers" || what == "all")
        for (const std::string& path : segments_of(dir))
          overwrite(path, fs::file_size(path) - 100, std::string(20, 'f'));
      INFO(what << (damage ? " damaged" : " missing"));
      {
        Store reader = must(Store::open_reader(dir / "s"));
        CHECK(all_of(reader) == model);
      }
      Store store = must(Store::open(dir / "s", small_segments(dir)));
      CHECK(all_of(store) == model);
      must(store.put("more", "x"));
      must(store.compact());
      must(store.close());
      store = must(Store::open(dir / "s", small_segments(dir)));
      Pairs more = model;
      more["more"] = "x";
      CHECK(all_of(store) == more);
    }
  }
}

TEST_CASE("zeroed regions, garbage and truncation: every intact record is found, none is invented") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 40; ++round) {
    ScratchDir dir;
    std::map<std::string, std::set<std::string>> ever;
    std::map<std::string, std::pair<std::string, uint64_t>> last;  // value, sequence
    {
      Store store = must(Store::open(dir / "s", small_segments(dir)));
      for (int i = 0; i < 150; ++i) {
        const std::string key = key_of(i), value = std::to_string(i) + std::string(random() % 2000, 'v');
        last[key] = {value, must(store.put(key, value))};
        ever[key].insert(value);
      }
      must(store.close());
    }
    const auto paths = segments_of(dir);
    const std::string path = paths[random() % paths.size()];
    std::set<std::string> hit;  // keys whose record the damage touches
    const uint64_t bytes = fs::file_size(path);
    uint64_t from = random() % bytes, to = from + 1 + random() % 5000;
    const int kind = static_cast<int>(random() % 3);
    if (kind == 2) to = bytes;
    to = std::min(to, bytes);
    must(dump_store(dir / "s", [&](const StoredRecord& record) {
      if (dir / ("s/" + record.file) == path && record.offset < to && record.offset + record.bytes > from)
        hit.insert(std::string(record.key));
    }));
    if (kind == 2)
      fs::resize_file(path, from);
    else if (kind == 1) {
      std::string garbage(to - from, '\0');
      for (char& c : garbage) c = static_cast<char>(random());
      overwrite(path, from, garbage);
    } else {
      overwrite(path, from, std::string(to - from, '\0'));
    }
    if (round % 2 == 0) fs::remove(dir / "s/CONTROL");
    INFO("round " << round << " " << path << " kind " << kind << " from " << from << " to " << to);
    for (const bool writer : {false, true}) {
      Store store =
          must(writer ? Store::open(dir / "s", small_segments(dir)) : Store::open_reader(dir / "s"));
      for (const auto& [key, pair] : last) {
        const auto got = store.get(key);
        if (!got) {
          CHECK(got.status().code() == StoreCode::kCorrupt);
          CHECK(hit.contains(key));
        } else if (const Value& value = *const_cast<StoreResult<Value>&>(got); value.found()) {
          CHECK(value.view() == pair.first);
        } else {
          CHECK(hit.contains(key));
        }
      }
    }
  }
}

TEST_CASE("a value or header whose checksum fails is told with its place, and never returned") {
  ScratchDir dir;
  {
    Store store = must(Store::open(dir / "s", small_segments(dir)));
    must(store.put("good", "fine"));
    must(store.put("small", std::string(100, 's')));
    must(store.put("page", std::string(6000, 'p')));
    must(store.put("large", std::string(1 << 20, 'l')));
    must(store.close());
  }
  std::map<std::string, std::pair<std::string, uint64_t>> place;
  must(dump_store(dir / "s", [&](const StoredRecord& record) {
    place[std::string(record.key)] = {dir / ("s/" + record.file), record.offset};
  }));
  for (const char* key : {"small", "page", "large"}) {
    overwrite(place[key].first, place[key].second + 90, "X");
    for (const bool writer : {false, true}) {
      Store store =
          must(writer ? Store::open(dir / "s", small_segments(dir)) : Store::open_reader(dir / "s"));
      for (int i = 0; i < 2; ++i) {
        const StoreStatus status = store.get(key).status();
        INFO(status.message());
        CHECK(status.code() == StoreCode::kCorrupt);
        CHECK(status.message().find("at byte " + std::to_string(place[key].second)) != std::string::npos);
        CHECK(status.message().find(place[key].first) != std::string::npos);
      }
      CHECK(value_of(store, "good") == "fine");
      // Who wants all pairs is told as well, and may have the others.
      const Snapshot all = must(store.snapshot());
      std::set<std::string> seen;
      std::string told;
      const auto see = [&](std::string_view name, const Value&) { return seen.emplace(name), true; };
      CHECK(all.for_each(see).code() == StoreCode::kCorrupt);
      must(all.for_each(see, [&](const StoreStatus& bad) { told += bad.message(); }));
      CHECK(seen.contains("good"));
      CHECK(!seen.contains(key));
      CHECK(told.find(place[key].first) != std::string::npos);
      if (writer) must(store.close());
    }
  }
  const VerifyReport report = must(verify_store(dir / "s"));
  CHECK(report.findings.size() == 3);
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  must(store.put("small", "mended"));
  CHECK(value_of(store, "small") == "mended");
  must(store.compact());
  CHECK(store.get("page").status().code() == StoreCode::kCorrupt);
}

TEST_CASE("backup while the store is written to is a store of its own with everything from before") {
  ScratchDir dir;
  const Pairs model = make_store(dir);
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      (void)store.put("during-" + std::to_string(i % 100), std::string(1000, 'd'));
      if (i % 500 == 0) (void)store.compact();
    }
  });
  for (int round = 0; round < 5; ++round) {
    const std::string to = dir / ("b" + std::to_string(round));
    must(must(Store::open_reader(dir / "s")).backup(to));
    Store copy = must(Store::open(to, small_segments(dir)));
    Pairs all = all_of(copy);
    std::erase_if(all, [](const auto& pair) { return pair.first.compare(0, 7, "during-") == 0; });
    CHECK(all == model);
    must(copy.put("only in the copy", "x"));
    CHECK_FALSE(value_of(store, "only in the copy").has_value());
    must(copy.close());
    CHECK(must(verify_store(to)).findings.empty());
  }
  stop = true;
  writer.join();
  CHECK(store.backup(dir / "s").code() == StoreCode::kInvalid);
  CHECK(store.backup(dir / "s/sub/further").code() == StoreCode::kInvalid);
  CHECK_FALSE(std::filesystem::exists(dir / "s/sub"));
  must(store.backup(dir / "s2"));  // a name that begins the same is another directory
}

TEST_CASE("a backup is the store as it was at one moment, also of batches with large values", "[threads]") {
  ScratchDir dir;
  constexpr uint64_t kKeys = 50;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0};
  std::thread writer([&] {
    for (uint64_t n = 1; !stop; ++n) {
      Batch batch;
      batch.put("small " + std::to_string(n % kKeys), std::to_string(n) + std::string(300, ' '));
      if (n % 10 == 0) batch.put("large", std::to_string(n) + std::string(20 << 10, ' '));
      if (!store.write(batch)) ++failed;
    }
  });
  for (int round = 0; round < 60; ++round) {
    const std::string to = dir / ("backup" + std::to_string(round));
    const uint64_t before = must(store.state()).sequence;
    must(store.backup(to));
    CHECK(must(verify_store(to)).findings.empty());
    Store copy = must(Store::open_reader(to));
    CHECK(must(copy.state()).sequence >= before);
    std::map<std::string, uint64_t> numbers;
    uint64_t last = 0;
    for (const auto& [key, value] : all_of(copy)) last = std::max(last, numbers[key] = std::stoull(value));
    for (uint64_t key = 0; key < kKeys; ++key) {
      const uint64_t wanted = last - (last + kKeys - key) % kKeys;
      if (wanted != 0 && last >= kKeys) CHECK(numbers["small " + std::to_string(key)] == wanted);
    }
    CHECK(numbers["large"] == last / 10 * 10);
    fs::remove_all(to);
  }
  stop = true;
  writer.join();
  CHECK(failed == 0);
}

TEST_CASE("a clock that runs backwards changes nothing, for order comes from sequence numbers") {
  // Two lives of a store; what the second wrote wins, whatever the files' times say.
  ScratchDir dir;
  {
    Store store = must(Store::open(dir / "s", small_segments(dir)));
    must(store.put("k", "first"));
    must(store.put("gone", "first"));
    must(store.close());
  }
  {
    Store store = must(Store::open(dir / "s", small_segments(dir)));
    must(store.put("k", "second"));
    must(store.remove("gone"));
    must(store.close());
  }
  for (const auto& entry : fs::directory_iterator(dir / "s"))
    fs::last_write_time(entry.path(), fs::file_time_type::clock::now() - std::chrono::hours(24 * 365));
  fs::remove(dir / "s/CONTROL");
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  CHECK(value_of(store, "k") == "second");
  CHECK_FALSE(value_of(store, "gone").has_value());
}

TEST_CASE("a copy of a store leaves the original's index alone, also while that one is in use") {
  ScratchDir dir;
  StoreOptions options = quick(dir);
  Store store = must(Store::open(dir / "s", options));
  for (uint64_t i = 0; i < 2000; ++i) must(store.put(key_of(i), "original"));
  must(store.sync());
  const std::string index = must(store.state()).index_file;
  std::filesystem::copy(dir / "s", dir / "copy", std::filesystem::copy_options::recursive);
  {
    Store copy = must(Store::open(dir / "copy", options));
    must(copy.put(key_of(0), "copy"));
    CHECK(must(copy.state()).keys == 2000);
    CHECK(must(copy.state()).index_file != index);
    must(copy.close());
  }
  CHECK(std::filesystem::exists(index));
  Store reader = must(Store::open_reader(dir / "s"));
  CHECK(must(reader.state()).index_file == index);
  CHECK(value_of(reader, key_of(0)) == "original");
  CHECK(value_of(must(Store::open_reader(dir / "copy")), key_of(0)) == "copy");
}

TEST_CASE("indexes of writers that were killed while they made them are removed by the next") {
  class Killed : public segstore::Files {
   public:
    void step(const char* name) override {
      if (std::string(name) == "recover:manifest") ::kill(::getpid(), SIGKILL);
    }
  };
  ScratchDir dir;
  std::filesystem::create_directory(dir / "shm");
  StoreOptions options = quick(dir);
  options.index_directory = dir / "shm";
  {
    Store store = must(Store::open(dir / "s", options));
    must(store.put("k", "v"));
    must(store.close());
  }
  auto files_there = [&] {
    return std::distance(std::filesystem::directory_iterator(dir / "shm"),
                         std::filesystem::directory_iterator());
  };
  for (int i = 0; i < 3; ++i) {
    Child writer([&] {
      Killed files;
      (void)StoreAccess::open(dir / "s", options, files);
      return 0;
    });
    REQUIRE(writer.wait() == 1000 + SIGKILL);
  }
  CHECK(files_there() == 1);  // of the last
  Store store = must(Store::open(dir / "s", options));
  CHECK(files_there() == 1);  // its own
  CHECK(value_of(store, "k") == "v");
  must(store.close());
  CHECK(files_there() == 0);
}

TEST_CASE("what is not the store's stays as it is: named like its files, in its directory or in others") {
  ScratchDir dir;
  namespace fs = std::filesystem;
  const auto write = [](const std::string& path, const std::string& text) { std::ofstream(path) << text; };
  const auto open = [&] { return Store::open(dir / "s", quick(dir)); };
  for (int i = 0; i < 2; ++i) must(must(open()).put("k", "v"));
  fs::create_directory(dir / "s/seg-00000000000000f1");
  REQUIRE(::mkfifo((dir / "s/seg-00000000000000f2").c_str(), 0600) == 0);
  fs::create_symlink("/dev/null", dir / "s/seg-00000000000000f3");
  write(dir / "s/seg-fffffffffffffffe", "mine");
  CHECK(value_of(must(Store::open_reader(dir / "s")), "k") == "v");
  must(must(open()).put("k", "w"));
  for (const char* name : {"1", "2", "3"}) {  // numbers that were given before
    fs::remove_all(dir / "s/seg-00000000000000f" + name);
    const std::string early = dir / "s/seg-000000000000001" + name;
    if (*name == '1') write(early, "mine, too");
    if (*name == '2') REQUIRE(::mkfifo(early.c_str(), 0600) == 0);
    if (*name == '3') fs::create_symlink("/dev/null", early);
  }
  must(must(open()).put("k", "x"));
  Store store = must(open());
  CHECK(value_of(store, "k") == "x");
  for (const char* name :
       {"seg-fffffffffffffffe", "seg-0000000000000011", "seg-0000000000000012", "seg-0000000000000013"})
    CHECK(fs::exists(fs::symlink_status(dir / (std::string("s/") + name))));

  fs::create_directory(dir / "other");
  write(dir / "other/LOCK", "precious");
  write(dir / "other/file", "x");
  fs::create_directory(dir / "empty");
  StoreOptions existing = quick(dir);
  existing.create = false;
  CHECK(Store::open(dir / "other", quick(dir)).status().code() == StoreCode::kNotAStore);
  CHECK(Store::open(dir / "empty", existing).status().code() == StoreCode::kNotAStore);
  CHECK(fs::file_size(dir / "other/LOCK") == 8);
  CHECK(fs::is_empty(dir / "empty"));
}

TEST_CASE("a store of another format is refused in words, and left as it is") {
  ScratchDir dir;
  must(must(Store::open(dir / "s", quick(dir))).put("k", "v"));
  std::string text = read_file(dir / "s/MANIFEST");
  text.replace(text.find(" 1\n"), 3, " 2\n");
  text.resize(text.rfind("crc "));
  char crc[16];
  snprintf(crc, sizeof crc, "crc %08x\n", crc32c(0, text.data(), text.size()));
  text += crc;
  std::ofstream(dir / "s/MANIFEST", std::ios::binary) << text;
  for (const StoreStatus& status :
       {Store::open(dir / "s", quick(dir)).status(), Store::open_shared(dir / "s", quick(dir)).status(),
        Store::open_reader(dir / "s").status(), verify_store(dir / "s").status()}) {
    CHECK(status.code() == StoreCode::kNotAStore);
    CHECK(status.message().find("format 2") != std::string::npos);
  }
  CHECK(read_file(dir / "s/MANIFEST") == text);
}
