// scale.cc - the largest values and keys, and many of them: small here, at full size in `make soak`.
#include <cstdlib>
#include <fstream>

#include "tests/segstore/support.h"
#include "tests/support/memory_cap.h"

using namespace spillway;
using namespace spillway::test;

namespace {

bool at_full_size() { return ::getenv("SPILLWAY_SOAK") != nullptr; }

}  // namespace

TEST_CASE("a value of a gigabyte under a key of 64 KiB is one file, read in place, also by others") {
  ScratchDir dir;
  const uint64_t bytes = at_full_size() ? uint64_t{1} << 30 : uint64_t{48} << 20;
  std::string value(bytes, '\0');
  for (uint64_t at = 0; at < bytes; at += 4096) memcpy(value.data() + at, &at, sizeof at);
  const std::string key(64 << 10, 'k');
  Store store = must(Store::open(dir / "s", quick(dir)));
  PutOptions aligned;
  aligned.alignment = 4096;
  must(store.put(key, value, aligned));
  Store reader = must(Store::open_reader(dir / "s"));
  const Value got = must(reader.get(key));
  REQUIRE(got.size() == bytes);
  CHECK(reinterpret_cast<uintptr_t>(got.data()) % 4096 == 0);
  CHECK(memcmp(got.data(), value.data(), bytes) == 0);
  CHECK(store.put(key + "k", "too long").status().code() == StoreCode::kInvalid);
  must(store.close());
  Store again = must(Store::open(dir / "s", quick(dir)));
  CHECK(must(again.get(key)).view() == value);
  CHECK(must(again.remove(key)));
}

static uint64_t anonymous_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::stoull(line.substr(8));
  return 0;
}

TEST_CASE("values of a store far larger than memory are read in place, within the memory there is") {
  if (!MemoryCap::possible()) return;
  ScratchDir dir;
  const uint64_t cap_bytes = uint64_t{48} << 20, value_bytes = uint64_t{3} << 20;  // a file each
  const uint64_t values = (at_full_size() ? 20 : 4) * cap_bytes / value_bytes;
  const auto word = [](uint64_t value, uint64_t at) { return (value << 40) ^ (at * 0x9E3779B97F4A7C15); };
  MemoryCap cap(cap_bytes);
  // Both under the cap: what is in the page cache already costs a reader nothing.
  Child child([&] {
    std::ofstream(cap.procs_file()) << ::getpid() << std::flush;
    {
      Store store = must(Store::open(dir / "s", quick(dir)));
      std::vector<uint64_t> words(value_bytes / sizeof(uint64_t));
      PutOptions aligned;
      aligned.alignment = alignof(uint64_t);
      for (uint64_t n = 0; n < values; ++n) {
        for (uint64_t at = 0; at < words.size(); ++at) words[at] = word(n, at);
        must(store.put(key_of(n), {reinterpret_cast<const char*>(words.data()), value_bytes}, aligned));
      }
      must(store.close());
    }
    const uint64_t before = anonymous_kib();
    Store store = must(Store::open_reader(dir / "s"));
    std::vector<Value> held;
    for (uint64_t n = 0; n < values; ++n) held.push_back(must(store.get(key_of(n))));
    for (uint64_t n = 0; n < values; ++n) {
      const auto* words = reinterpret_cast<const uint64_t*>(held[n].data());
      for (uint64_t at = 0; at < value_bytes / sizeof *words; ++at)
        if (words[at] != word(n, at)) return 1;
      if (must(store.get(key_of(n))).data() != held[n].data()) return 2;
    }
    // All held at once, and they would not fit: nothing of them is a copy.
    return anonymous_kib() < before + (16 << 10) ? 0 : 3;
  });
  CHECK(child.wait() == 0);
  CHECK(cap.oom_kills() == 0);
  CHECK(cap.peak_bytes() > cap_bytes / 2);  // so it was under the cap
  CHECK(cap.peak_bytes() <= cap_bytes);
}

TEST_CASE("many small keys: all found after reopening, and the index takes at most 16 bytes for each") {
  ScratchDir dir;
  const uint64_t keys = at_full_size() ? 10'000'000 : 200'000;
  {
    Store store = must(Store::open(dir / "s", quick(dir)));
    uint64_t wrong = 0;
    for (uint64_t n = 0; n < keys; ++n) wrong += store.put(key_of(n), std::to_string(n)).ok() ? 0 : 1;
    REQUIRE(wrong == 0);
    must(store.close());
  }
  Store store = must(Store::open(dir / "s", quick(dir)));
  Store reader = must(Store::open_reader(dir / "s"));
  uint64_t wrong = 0;
  for (uint64_t n = 0; n < keys; n += 7)
    wrong += must(reader.get(key_of(n))).view() == std::to_string(n) ? 0 : 1;
  CHECK(wrong == 0);
  CHECK_FALSE(must(reader.get(key_of(keys))).found());
  const StoreState state = must(store.state());
  CHECK(state.keys == keys);
  CHECK(state.index_bytes <= 16 * keys);
}
