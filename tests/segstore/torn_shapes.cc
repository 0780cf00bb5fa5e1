// torn_shapes.cc - every shape the end of a segment can have after a writer's death, made by hand; and damage
// that looks much like it, but took something that was acknowledged.
#include <filesystem>

#include "tests/segstore/torn.h"

using namespace spillway;
using namespace spillway::test;

namespace {

StoreStatus acknowledge(Store& store, Durability durability) {
  PutOptions options;
  options.durability = durability;
  return store.put("acknowledged", "x", options).status();
}
void put_torn(Store& store) { (void)store.put("torn", std::string(300, 't')); }
StoreStatus write_batch(Store& store, Durability durability) {
  Batch batch;
  for (const char* key : {"b1", "b2", "b3"}) batch.put(key, std::string(300, 'b'));
  return store.write(batch, durability).status();
}
void put_batch(Store& store) { (void)write_batch(store, Durability::kAsync); }

}  // namespace

TEST_CASE("a torn end of any shape is no damage: readers, the next writer and the one after do not see it") {
  struct Shape {
    const char* what;
    bool is_batch;
    // Of the bytes from the first record of the last write on, what a kill or a power cut left.
    std::function<void(std::string& bytes, const std::vector<uint64_t>& records)> tear;
    bool is_power_cut = false;
  };
  auto zero = [](std::string& bytes, uint64_t from, uint64_t to) {
    std::fill(bytes.begin() + static_cast<ptrdiff_t>(from), bytes.begin() + static_cast<ptrdiff_t>(to), '\0');
  };
  const Shape shapes[] = {
      {"half a header", false, [&](auto& b, auto&) { zero(b, 12, b.size()); }},
      {"half a key", false, [&](auto& b, auto&) { zero(b, 22, b.size()); }},
      {"half a value", false, [&](auto& b, auto&) { zero(b, 150, b.size()); }},
      {"no beginning", false, [&](auto& b, auto&) { zero(b, 0, 8); }},
      {"no header, as of a record that was wiped", false, [&](auto& b, auto&) { zero(b, 0, 20); }},
      {"garbage of a header's length", false,
       [&](auto& b, auto&) {
         std::fill(b.begin(), b.begin() + 20, '\xA5');
         zero(b, 20, b.size());
       }},
      {"garbage, also behind the end", false, [&](auto& b, auto&) { b.assign(b.size() + 500, '\x5A'); }},
      {"half the first header of a batch", true, [&](auto& b, auto&) { zero(b, 12, b.size()); }},
      {"half the second header of a batch", true, [&](auto& b, auto& r) { zero(b, r[1] + 12, b.size()); }},
      {"half the last value of a batch", true, [&](auto& b, auto& r) { zero(b, r[2] + 150, b.size()); }},
      {"half the header of a batch's end", true, [&](auto& b, auto& r) { zero(b, r[3] + 12, b.size()); }},
      {"half the value of a batch's end", true, [&](auto& b, auto& r) { zero(b, r[3] + 24, b.size()); }},
      {"a batch without its first header and its end", true,
       [&](auto& b, auto& r) {
         zero(b, 0, 20);
         zero(b, r[3], b.size());
       }},
      {"a batch without its middle", true, [&](auto& b, auto& r) { zero(b, r[1], r[2]); }, true},
      {"half the first header of a batch, all others whole", true,
       [&](auto& b, auto& r) { zero(b, 12, r[1]); }, true},
  };
  for (const Shape& shape : shapes)
    for (const Durability before : {Durability::kAsync, Durability::kGroup}) {
      INFO(shape.what << (before == Durability::kGroup ? ", all before on the device" : ""));
      ScratchDir dir("/dev/shm");
      const StoreOptions options = small_segments(dir);
      Pairs model = die_after(
          dir, [&](Store& store) { return acknowledge(store, before); },
          shape.is_batch ? put_batch : put_torn);
      const Placed first = place_of(dir / "s", shape.is_batch ? "b1" : "torn");
      uint64_t end = 0;
      std::vector<uint64_t> records;
      for (const Placed& record : records_of(dir / "s"))
        if (record.sequence >= first.sequence) {
          records.push_back(record.offset - first.offset);
          end = record.offset + record.bytes;
        }
      std::string bytes = read_file(first.path).substr(first.offset, end - first.offset);
      shape.tear(bytes, records);
      edit(first.path, first.offset, bytes);
      if (shape.is_power_cut)
        edit(dir / "s/CONTROL", offsetof(segstore::ControlBlock, boot_id), "another-boot");

      std::filesystem::copy(dir / "s", dir / "read");
      CHECK(all_of(must(Store::open_reader(dir / "read"))) == model);
      {
        Store store = must(Store::open(dir / "s", options));
        CHECK(all_of(store) == model);
        CHECK(findings_of(dir / "s") == "");
        const std::string after = read_file(first.path);
        CHECK(after.find("ttttt") == std::string::npos);
        CHECK(after.find("bbbbb") == std::string::npos);
        must(store.put("afterwards", "x"));
        model["afterwards"] = "x";
        must(store.close());
      }
      CHECK(findings_of(dir / "s") == "");
      for (const auto& entry : std::filesystem::directory_iterator(dir / "s"))
        if (entry.path().filename() == "MANIFEST" || entry.path().filename() == "CONTROL")
          std::filesystem::remove(entry.path());
      Store store = must(Store::open(dir / "s", options));
      CHECK(all_of(store) == model);
      CHECK(findings_of(dir / "s") == "");
    }
}

TEST_CASE("what a write that failed left behind the last record is wiped also after a proper close") {
  ScratchDir dir("/dev/shm");
  {
    Store store = must(Store::open(dir / "s", small_segments(dir)));
    must(store.put("k", "v"));
    must(store.close());
  }
  const Placed last = place_of(dir / "s", "k");
  edit(last.path, last.offset + last.bytes, "half of something");
  REQUIRE(findings_of(dir / "s") != "");
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  CHECK(findings_of(dir / "s") == "");
  must(store.put("more", "x"));
  CHECK(all_of(store) == Pairs{{"k", "v"}, {"more", "x"}});
}

TEST_CASE("damage is no torn end: it is told when what it hit was on the device, or whole records follow") {
  auto tells_of = [](const ScratchDir& dir, const std::string& path) {
    for (int life = 0; life < 2; ++life) {
      Store store = must(Store::open(dir / "s", small_segments(dir)));
      must(store.put("afterwards", "x"));
      must(store.close());
      if (findings_of(dir / "s").find(std::filesystem::path(path).filename()) == std::string::npos)
        return false;
    }
    return true;
  };
  SECTION("in a header with whole records behind it, though nothing was durable") {
    ScratchDir dir("/dev/shm");
    die_after(
        dir, [](Store& store) { return acknowledge(store, Durability::kAsync); }, put_torn);
    const Placed hit = place_of(dir / "s", key_of(35));
    flip(hit.path, hit.offset + 8);
    const std::string damaged = read_file(hit.path);
    CHECK(tells_of(dir, hit.path));
    CHECK((read_file(hit.path) == damaged));  // for who can make something of it
  }
  SECTION("in a value with whole records behind it") {
    ScratchDir dir("/dev/shm");
    die_after(
        dir, [](Store& store) { return acknowledge(store, Durability::kAsync); }, put_torn);
    const Placed hit = place_of(dir / "s", key_of(35));
    flip(hit.path, hit.offset + 100);
    CHECK(tells_of(dir, hit.path));
  }
  SECTION("in the last record that was durable, with nothing behind it") {
    for (const bool control : {true, false}) {
      INFO((control ? "" : "and CONTROL is lost"));
      ScratchDir dir("/dev/shm");
      die_after(
          dir, [](Store& store) { return acknowledge(store, Durability::kGroup); }, put_torn);
      const Placed hit = place_of(dir / "s", "acknowledged"), torn = place_of(dir / "s", "torn");
      flip(hit.path, hit.offset + 8);
      edit(torn.path, torn.offset, std::string(torn.bytes, '\0'));
      if (!control) std::filesystem::remove(dir / "s/CONTROL");
      CHECK(tells_of(dir, hit.path));
    }
  }
  SECTION("in the last record that was durable, of which the first byte is zero") {
    ScratchDir dir("/dev/shm");
    die_after(
        dir, [](Store& store) { return acknowledge(store, Durability::kGroup); }, put_torn);
    const Placed hit = place_of(dir / "s", "acknowledged"), torn = place_of(dir / "s", "torn");
    edit(hit.path, hit.offset, std::string(1, '\0'));
    flip(hit.path, hit.offset + 8);
    edit(torn.path, torn.offset, std::string(torn.bytes, '\0'));
    CHECK(tells_of(dir, hit.path));
  }
  SECTION("in the last durable record, and then a torn one") {
    ScratchDir dir("/dev/shm");
    die_after(
        dir, [](Store& store) { return acknowledge(store, Durability::kGroup); }, put_torn);
    const Placed hit = place_of(dir / "s", "acknowledged"), torn = place_of(dir / "s", "torn");
    flip(hit.path, hit.offset + 8);
    edit(torn.path, torn.offset + 12, std::string(torn.bytes - 12, '\0'));
    CHECK(tells_of(dir, hit.path));
  }
  SECTION("in the end of a durable batch, with nothing behind it") {
    ScratchDir dir("/dev/shm");
    die_after(
        dir, [](Store& store) { return write_batch(store, Durability::kGroup); }, put_torn);
    const Placed end = place_of(dir / "s", ""), torn = place_of(dir / "s", "torn");
    flip(end.path, end.offset + 30);
    edit(torn.path, torn.offset, std::string(torn.bytes, '\0'));
    CHECK(tells_of(dir, end.path));
  }
  SECTION("in a sealed segment") {
    ScratchDir dir("/dev/shm");
    die_after(
        dir, [](Store& store) { return acknowledge(store, Durability::kAsync); }, put_torn);
    must(must(Store::open(dir / "s", small_segments(dir))).close());
    const Placed hit = place_of(dir / "s", "torn");
    flip(hit.path, hit.offset + 8);
    CHECK(tells_of(dir, hit.path));
  }
  SECTION("in a footer and the copies before it, of which the last does not have the highest number") {
    ScratchDir dir("/dev/shm");
    {
      Store store = must(Store::open(dir / "s", small_segments(dir)));
      PutOptions passing;
      passing.ttl = std::chrono::hours(1);
      must(store.put("older", "x"));
      must(store.compact());
      must(store.put("passing", "x", passing));
      for (uint64_t n = 0; n < 30; ++n) must(store.put(key_of(n), std::string(1000, 'v')));
      must(store.compact());
      must(store.put("newest", "x"));
      must(store.compact());  // older, newest
      put_clock_on(store, std::chrono::hours(2));
      REQUIRE_FALSE(value_of(store, "passing"));
      must(store.compact());
      must(store.close());
    }
    const Placed hit = records_of(dir / "s").back(), newest = place_of(dir / "s", "newest");
    REQUIRE((newest.path == hit.path && newest.sequence > hit.sequence));
    flip(hit.path, hit.offset + 8);
    flip(hit.path, read_file(hit.path).size() - 100);
    CHECK(tells_of(dir, hit.path));
  }
}
