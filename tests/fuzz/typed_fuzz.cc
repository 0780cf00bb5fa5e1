// typed_fuzz.cc - any bytes at all as a typed blob: verify() and the checked views answer with errors or
// values, nothing else; what verify() passes reads the same through proven and through checked views.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <spillway/typed.hpp>
#include <string>
#include <vector>

namespace t = spillway::typed;

namespace {

struct Inner {
  std::string name;
  std::int32_t number = 0;
};
struct Outer {
  std::int64_t id = 0;
  std::string text;
  t::any anything;
  std::vector<Inner> list;
  std::optional<double> weight;
  std::map<std::string, std::int64_t> table;
  std::set<std::int64_t> set;
  std::vector<std::int16_t> numbers;
};

}  // namespace
SPILLWAY_TYPED(Inner, "inner", name, number);
SPILLWAY_TYPED(Outer, "outer", id, text, anything, list, weight, table, set, numbers);

namespace {

std::string dump(const t::blob& b, bool json) {
  std::string out;
  const auto root = t::root(b);
  if (root)
    t::dumper([&](std::string_view s) { out += s; }, {.json = json, .max_values = 500, .max_text = 1000})
        .dump(*root);
  return out;
}

void read_all(const t::blob& b) {
  const auto root = t::root(b);
  if (!root) return;
  (void)root->clone(2000);
  if (const auto m = root->map()) {
    for (const t::any& key : {t::any("a"), t::any(1), t::any(nullptr)}) (void)m->find(key);
    for (std::uint64_t i = 0; i < m->entries() && i < 50; ++i) (void)m->next(i);
  }
  if (const auto s = root->set()) (void)s->contains(t::any(3)), (void)s->contains(t::any("x"));
  const auto outer = t::root<Outer>(b);
  if (!outer) return;
  (void)outer->get<&Outer::id>();
  if (const auto text = outer->get<&Outer::text>()) (void)text->str(10000);
  if (const auto table = outer->get<&Outer::table>()) {
    const std::string_view keys[] = {"key", "", "key number 3", "key number 11"};
    for (const std::string_view key : keys) (void)table->find(key), (void)table->contains(key);
    std::uint64_t found[std::size(keys)];
    try {
      table->find_many(keys, found);
    } catch (const t::failure&) {
    }
  }
  if (const auto list = outer->get<&Outer::list>())
    for (std::uint64_t i = 0; i < list->size() && i < 50; ++i)
      if (const auto inner = (*list)[i]) (void)inner->get<&Inner::number>();
  if (const auto numbers = outer->get<&Outer::numbers>(); numbers && !numbers->empty())
    (void)numbers->at(numbers->size() - 1);
}

}  // namespace

// Most random bytes are no blob: a right header gets every input past the first line.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint64_t> memory((size + 7) / 8 + 8);  // words, so that its alignment is a blob's
  auto* bytes = reinterpret_cast<std::byte*>(memory.data());
  std::size_t total = size / 8 * 8;
  if (size >= 8 && std::memcmp(data, t::kMagic, 8) == 0) {
    std::memcpy(bytes, data, total);
  } else {
    if (size < 24) return 0;
    t::file_header h{};
    std::memcpy(h.magic, t::kMagic, sizeof h.magic);
    h.endian = t::kEndianMark, h.version = 1, h.min_reader = 1;
    std::memcpy(&h.root, data, 2), std::memcpy(&h.schema, data + 2, 2);
    h.root &= ~std::uint64_t{7}, h.schema &= ~std::uint64_t{7};
    total = 64 + (size - 8) / 8 * 8;
    h.total_bytes = total;
    std::memcpy(bytes, &h, sizeof h);
    std::memcpy(bytes + 64, data + 8, total - 64);
  }
  // Exactly as long as the blob, so that the sanitizer sees a read past its end.
  auto* exact = static_cast<std::byte*>(std::malloc(total ? total : 1));
  std::memcpy(exact, bytes, total);
  const std::span<const std::byte> span(exact, total);
  if (const auto b = t::blob::open(t::shared_memory(span))) {
    read_all(*b);
    const std::string text = dump(*b, false), json = dump(*b, true);
    const auto proven = t::verify(t::own_memory(span), {.max_expanded_bytes = 1 << 20});
    if (proven) {
      read_all(*proven);
      if (dump(*proven, false) != text || dump(*proven, true) != json) std::abort();
    }
  }
  std::free(exact);
  return 0;
}

// Seeds: with an empty corpus the fuzzer still starts from real blobs, which it may then cut and change.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  if (size < 64 || seed % 64 == 0) {
    t::memory_sink out;
    t::builder b(out);
    Outer o;
    o.text = "text of some length", o.list = {{"a", 1}, {"b", 2}}, o.table = {{"key", 1}, {"other key", 2}},
    o.set = {1, 2, 3, 700}, o.numbers = {1, 2};
    // Enough for the usual way of looking up.
    if (seed % 5 < 2)
      for (int i = 0; i < 12; ++i) o.table["key number " + std::to_string(i)] = i;
    if (seed % 3 == 0) o.list.resize(20, {"c", 3});  // long enough for the quick way of proven lists
    o.anything = t::any_map{{{1, t::any_tuple{{true, 2.5}}},
                             {"d", t::decimal::parse("1.5").value()},
                             {t::instant{1, t::unit::s, 0, "UTC"}, t::any_set{{"x", 1}}}}};
    b.finish(seed % 2 ? b.add(o) : b.add(o.anything));
    const std::size_t n = std::min(out.data().size(), max_size);
    std::memcpy(data, out.data().data(), n);
    size = n;
  }
  // Half of the time a word, which is what positions, counts and tags are made of.
  if (seed & 1) {
    const std::size_t words = size / 8;
    if (words) {
      const std::size_t at = seed / 2 % words * 8;
      std::uint64_t w;
      std::memcpy(&w, data + at, 8);
      const std::uint64_t changes[] = {
          w + 8, w - 8,  w ^ (std::uint64_t{1} << seed % 64), ~w,
          0,     w << 8, w + (std::uint64_t{1} << 24),        w - (std::uint64_t{1} << 24)};
      w = changes[seed / 7 % 8];
      std::memcpy(data + at, &w, 8);
    }
    return size;
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
