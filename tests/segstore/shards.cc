// shards.cc - one more shard, added to others by calls that fail or die half way.
#include <filesystem>

#include "tests/segstore/torn.h"

using namespace spillway;
using namespace spillway::test;

namespace {

constexpr int kKeys = 400;

class Shards {
 public:
  Shards() : all_(must(ShardedStore::open(former(), quick(dir_)))) {
    for (int i = 0; i < kKeys; ++i) must(all_.put(key_of(i), "v"));
  }
  std::vector<std::string> former() const { return {dir_ / "0", dir_ / "1"}; }
  std::string fresh() const { return dir_ / "2"; }
  StoreResult<uint64_t> add() { return all_.add_shard(fresh(), quick(dir_)); }
  ShardedStore& all() { return all_; }
  StoreOptions options() const { return quick(dir_); }
  uint64_t keys() {
    uint64_t keys = 0;
    for (uint32_t i = 0; i < all_.size(); ++i) keys += must(all_.shard(i).state()).keys;
    return keys;
  }

 private:
  ScratchDir dir_;
  ShardedStore all_;
};

bool is_to_move(int key) { return jump_consistent_hash(segstore::hash_of(key_of(key), 0), 3) == 2; }
int first_to_move() {
  int key = 0;
  while (!is_to_move(key)) ++key;
  return key;
}

}  // namespace

TEST_CASE("a shard that could not be filled is added by another call, without what was removed meanwhile") {
  Shards shards;
  // A value in the second shard that cannot be read: by then the first one's are copied.
  int hit = 0;
  while (!is_to_move(hit) || shards.all().shard_of(key_of(hit)) != 1) ++hit;
  must(shards.all().put(key_of(hit), std::string(64, 'w')));
  const Placed place = place_of(shards.former()[1], key_of(hit));
  const uint64_t in_value = read_file(place.path).rfind(std::string(64, 'w')) + 10;
  flip(place.path, in_value);
  CHECK(shards.add().status().code() == StoreCode::kCorrupt);
  CHECK(shards.all().size() == 2);
  CHECK(ShardedStore::open({shards.former()[0], shards.former()[1], shards.fresh()}, shards.options())
            .status()
            .code() == StoreCode::kInvalid);
  flip(place.path, in_value);
  int removed = 0;
  while (!is_to_move(removed) || shards.all().shard_of(key_of(removed)) != 0) ++removed;
  CHECK(must(shards.all().remove(key_of(removed))));
  CHECK(must(shards.add()) > kKeys / 5);
  CHECK(shards.all().size() == 3);
  CHECK(shards.keys() == kKeys - 1);
  for (int i = 0; i < kKeys; ++i) CHECK(must(shards.all().get(key_of(i))).found() == (i != removed));
}

TEST_CASE("a shard that the others' keys were not removed for is finished by another call") {
  Shards shards;
  const uint64_t moved = must(shards.add());
  CHECK(moved > kKeys / 5);
  CHECK(must(shards.add()) == 0);
  // As a call leaves them that fails then.
  const int key = first_to_move();
  must(shards.all().put(key_of(key), "newer"));
  must(shards.all().shard(0).put(key_of(key), "v"));
  std::ofstream(shards.fresh() + "/MOVING") << "";
  CHECK(must(shards.add()) == 1);
  CHECK(must(shards.add()) == 0);
  CHECK(shards.keys() == kKeys);
  CHECK(must(shards.all().get(key_of(key))).view() == "newer");
}
