// typed_cpp.cc - typed blobs against a plain struct behind a pointer, FlatBuffers, std::unordered_map and
// absl::flat_hash_map; everything in one run, each measurement repeated and interleaved, medians printed, and
// the ratios that matter.
//
//   build/bench/typed_cpp [RECORDS [KEYS]]      default 1000000 and 5000000
#include <absl/container/flat_hash_map.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>
#include <spillway/typed.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "person_generated.h"

namespace t = spillway::typed;

struct Person {
  std::int64_t id = 0;
  double weight = 0;
  std::int32_t age = 0;
  std::string name;
};
SPILLWAY_TYPED(Person, "bench.person", id, weight, age, name);

namespace {

// Of this thread's processor: nothing here waits, and others may be using the machine.
double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}
double seconds(const std::function<void()>& f) {
  const double start = now();
  f();
  return now() - start;
}

struct Row {
  const char* name;
  std::function<void()> run;
  std::vector<double> times{};
  double median() {
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }
};

// Runs all rows in turn, nine times.
void interleave(std::vector<Row>& rows, double operations) {
  for (int round = 0; round < 9; ++round)
    for (Row& r : rows) r.times.push_back(seconds(r.run));
  for (Row& r : rows) std::printf("  %-44s %8.1f ns\n", r.name, r.median() / operations * 1e9);
}

volatile std::int64_t sink;

// The same loop over each rival: a reference out of an array of references, a field of the record it leads
// to. Functions, so that each is compiled as it would be in a program of its own.
using Order = std::vector<std::uint32_t>;
[[gnu::noinline]] std::int64_t sum_plain(const std::vector<std::unique_ptr<Person>>& people,
                                         const Order& order) {
  std::int64_t sum = 0;
  for (const std::uint32_t i : order) sum += people[i]->id;
  return sum;
}
template <class Trust>
[[gnu::noinline]] std::int64_t sum_typed(const t::list_of<Person, Trust> people, const Order& order) {
  std::int64_t sum = 0;
  for (const std::uint32_t i : order) sum += *people[i]->template get<&Person::id>();
  return sum;
}
[[gnu::noinline]] std::int64_t sum_flat(
    const flatbuffers::Vector<flatbuffers::Offset<bench::FlatPerson>>& people, const Order& order) {
  std::int64_t sum = 0;
  for (const std::uint32_t i : order) sum += people.Get(i)->id();
  return sum;
}

void fields(std::size_t n) {
  // The same records four ways; each reached through an array of references, in a random order.
  std::vector<std::unique_ptr<Person>> plain;
  t::memory_sink out;
  t::builder b(out, {.dedupe = true});
  t::list_builder list(b);
  flatbuffers::FlatBufferBuilder fb(1 << 20);
  std::vector<flatbuffers::Offset<bench::FlatPerson>> offsets;
  const double building = seconds([&] {
    for (std::size_t i = 0; i < n; ++i) {
      const Person p{static_cast<std::int64_t>(i), 0.5 * static_cast<double>(i),
                     static_cast<std::int32_t>(i % 100), "name " + std::to_string(i)};
      list.add(t::any(static_cast<const t::ref&>(b.add(p))));
    }
    b.finish(list.finish());
  });
  for (std::size_t i = 0; i < n; ++i) {
    plain.push_back(
        std::make_unique<Person>(Person{static_cast<std::int64_t>(i), 0.5 * static_cast<double>(i),
                                        static_cast<std::int32_t>(i % 100), "name " + std::to_string(i)}));
    offsets.push_back(bench::CreateFlatPerson(fb, static_cast<std::int64_t>(i), 0.5 * static_cast<double>(i),
                                              static_cast<std::int32_t>(i % 100),
                                              fb.CreateString("name " + std::to_string(i))));
  }
  fb.Finish(bench::CreateFlatPeople(fb, fb.CreateVector(offsets)));
  const auto verified = t::verify(t::own_memory(out.data())).value();
  const auto open = t::blob::open(t::shared_memory(out.data())).value();
  const auto proven = t::root<std::vector<Person>>(verified).value();
  const auto checked = t::root<std::vector<Person>>(open).value();
  const auto* people = bench::GetFlatPeople(fb.GetBufferPointer())->people();
  Order order(n);
  for (std::size_t i = 0; i < n; ++i) order[i] = static_cast<std::uint32_t>(i);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));

  std::printf("one field of a random record among %zu:\n", n);
  std::vector<Row> rows = {
      {"plain struct through a pointer", [&] { sink = sum_plain(plain, order); }},
      {"typed, proven view", [&] { sink = sum_typed(proven, order); }},
      {"typed, checked view", [&] { sink = sum_typed(checked, order); }},
      {"FlatBuffers, not verified", [&] { sink = sum_flat(*people, order); }},
  };
  interleave(rows, static_cast<double>(n));
  std::printf(
      "  proven / plain %.2f (goal 1.5)   checked / plain %.2f (goal 3)   FlatBuffers / proven %.2f (goal 1 "
      "or more)\n",
      rows[1].median() / rows[0].median(), rows[2].median() / rows[0].median(),
      rows[3].median() / rows[1].median());
  std::printf("building with content dedupe: %.2f million records/s (goal 1), %.1f bytes each\n\n",
              static_cast<double>(n) / building / 1e6,
              static_cast<double>(out.data().size()) / static_cast<double>(n));
}

void keys(std::size_t n) {
  std::unordered_map<std::string, std::int64_t> native;
  t::memory_sink out;
  t::builder b(out);
  t::map_builder m(b, t::flavour::text, t::duplicates::error);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < n; ++i) names.push_back("user/" + std::to_string(i * 7919 % 100000007));
  const double building = seconds([&] {
    for (std::size_t i = 0; i < n; ++i)
      m.put_item(std::string_view(names[i]), b.encode(static_cast<std::int64_t>(i)));
    b.finish(m.finish());
  });
  absl::flat_hash_map<std::string, std::int64_t> flat;
  native.reserve(n), flat.reserve(n);
  for (std::size_t i = 0; i < n; ++i) native.emplace(names[i], static_cast<std::int64_t>(i));
  for (std::size_t i = 0; i < n; ++i) flat.emplace(names[i], static_cast<std::int64_t>(i));
  t::blob blob;
  std::vector<double> opens;
  for (int i = 0; i < 5; ++i)
    opens.push_back(seconds([&] { blob = t::blob::open(t::shared_memory(out.data())).value(); }));
  std::sort(opens.begin(), opens.end());
  const auto verified = t::verify(t::own_memory(out.data())).value();
  const auto proven = t::root<std::map<std::string, std::int64_t>>(verified).value();
  std::shuffle(names.begin(), names.end(), std::mt19937(2));
  const std::vector<std::string_view> batch(
      names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(n, 1000000)));
  std::vector<std::uint64_t> found(batch.size());
  std::printf("look-up of %zu random keys among %zu:\n", batch.size(), n);
  std::vector<Row> rows = {{"std::unordered_map",
                            [&] {
                              std::int64_t sum = 0;
                              for (const std::string_view k : batch)
                                sum += native.find(std::string(k))->second;
                              sink = sum;
                            }},
                           {"string_map, proven",
                            [&] {
                              std::int64_t sum = 0;
                              for (const std::string_view k : batch) sum += *proven.find(k);
                              sink = sum;
                            }},
                           {"string_map, find_many",
                            [&] {
                              proven.find_many(batch, found);
                              std::int64_t sum = 0;
                              for (const std::uint64_t i : found) sum += *proven.value_at(i);
                              sink = sum;
                            }},
                           {"absl::flat_hash_map", [&] {
                              std::int64_t sum = 0;
                              for (const std::string_view k : batch)
                                sum += flat.find(absl::string_view(k.data(), k.size()))->second;
                              sink = sum;
                            }}};
  interleave(rows, static_cast<double>(batch.size()));
  for (const std::size_t rival : {0, 3})
    std::printf("  rate against %s: %.2f one by one, %.2f in batches (goal 0.5)\n", rows[rival].name,
                rows[rival].median() / rows[1].median(), rows[rival].median() / rows[2].median());
  std::printf("index: %.1f bytes/key (goal 24); open: %.3f ms (goal 1); build: %.2f million keys/s\n",
              static_cast<double>(proven.raw().index_bytes()) / static_cast<double>(n), opens[2] * 1e3,
              static_cast<double>(n) / building / 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  fields(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000000);
  keys(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 5000000);
}
