// scale.cc - the largest values and keys, and many of them: small here, at full size in `make soak`.
#include <cstdlib>

#include "tests/segstore/support.h"

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
