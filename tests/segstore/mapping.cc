// mapping.cc - pins: a mapping goes with its last holder, whichever thread took and whichever gives back.
#include "libpool/segstore/mapping.h"

#include <fstream>
#include <thread>

#include "libpool/segstore/manifest.h"
#include "tests/segstore/support.h"

using namespace spillway;
using namespace spillway::segstore;
using namespace spillway::test;

namespace {

// A store with one segment of a page and more, and its only file's number.
struct OneSegment {
  ScratchDir dir;
  StoreId id;
  uint64_t file_id = 0;
  OneSegment() {
    Store store = must(Store::open(dir / "s", quick(dir)));
    must(store.put("k", std::string(5000, 'v')));
    must(store.close());
    bool damaged = false;
    const os::Fd fd = directory();
    id = read_manifest(fd.get(), damaged)->store;
    file_id = 1;
  }
  os::Fd directory() const { return std::move(*os::open_directory((dir / "s").c_str(), false)); }
  int mapped() const {
    int count = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);)
      if (line.find(dir / "s/seg-") != std::string::npos) ++count;
    return count;
  }
};

}  // namespace

TEST_CASE("a retired mapping stays until the last pin, taken and given back in different threads") {
  const OneSegment one;
  Maps maps(one.directory());
  Mapping* mapping = *maps.map(one.file_id, one.id);
  std::thread([&] { REQUIRE(mapping->try_pin()); }).join();  // that thread ends with its pin
  mapping->unpin();
  CHECK(one.mapped() == 1);
  Maps::retire({mapping});
  CHECK_FALSE(mapping->try_pin());
  CHECK(one.mapped() == 1);
  mapping->pin_again();
  std::thread([&] { mapping->unpin(); }).join();
  CHECK(one.mapped() == 1);
  mapping->unpin();
  CHECK(one.mapped() == 0);
  CHECK(mapping->file_id() == 0);
}

TEST_CASE("pinned by many threads while it is retired and mapped again and again, none reads what is gone",
          "[threads]") {
  const OneSegment one;
  Maps maps(one.directory());
  std::atomic<Mapping*> current{*maps.map(one.file_id, one.id)};
  current.load()->unpin();
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> reads{0}, wrong{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 3; ++r)
    readers.emplace_back([&] {
      while (!stop) {
        Mapping* const mapping = current.load();
        if (!mapping->try_pin()) continue;
        if (mapping->file_id() == one.file_id) {
          uint32_t magic = 0;
          memcpy(&magic, mapping->bytes().base, sizeof magic);  // SIGSEGV if it had gone
          if (magic != kSegmentMagic) ++wrong;
          ++reads;
        }
        mapping->unpin();
      }
    });
  for (int round = 0; round < 2000 || reads < 1000; ++round) {
    Mapping* const next = *maps.map(one.file_id, one.id);
    Mapping* const before = current.exchange(next);
    next->unpin();
    Maps::retire({before});
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
  CHECK(reads >= 1000);
  CHECK(one.mapped() == 1);
}
