// pool.hpp - the pool from C++20: objects that processes share by mapping, spilled to disk when memory is
// short. Header-only over pool.h; link with -lspillway.
//
//   spillway::Pool pool;                                   // connects, or starts this user's daemon
//   spillway::DRef numbers = pool.set(std::vector<double>{1, 2, 3}, {.name = "demo/numbers"});
//   auto held = pool.get_as<std::span<const double>>("demo/numbers");   // in place, no copy
//   for (double x : held.value) ...                        // good as long as `held` lives
//
// Failures are thrown as spillway::Error, which carries the status (pool.h says which call has which); the
// functions named try_... return nothing for "not there" instead. Pool, DRef and Future may be used by many
// threads; a Pin, Builder or Watch by one at a time. Everything keeps the pool it came from alive.
#pragma once
#include <spillway/pool.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace spillway {

class Error : public std::runtime_error {
 public:
  Error(spillway_status status, const std::string& what) : std::runtime_error(what), status_(status) {}
  spillway_status status() const { return status_; }

 private:
  spillway_status status_;
};

// Throws what the last call in this thread said, unless it is SPILLWAY_OK.
inline void check(spillway_status status) {
  if (status != SPILLWAY_OK) throw Error(status, spillway_last_error());
}

using Milliseconds = std::chrono::milliseconds;
inline constexpr Milliseconds kForever = Milliseconds::max();
namespace detail {
inline uint64_t ms(Milliseconds time) {
  return time == kForever ? SPILLWAY_FOREVER : time.count() < 0 ? 0 : static_cast<uint64_t>(time.count());
}
}  // namespace detail

// ---- how values become bytes, and are read again
// --------------------------------------------------------------------

// To be specialised for types of your own, with
//   static size_t size(const T&);                                 // bytes it takes
//   static void write(const T&, std::span<std::byte>);            // exactly those
//   static T read(std::span<const std::byte>);                    // throws Error(SPILLWAY_CORRUPT, ...) for
//   what is no T
// A T that refers to the bytes instead of copying them (a span, a string_view) is good as long as its Pin.
template <typename T>
struct Serializer;

namespace detail {

[[noreturn]] inline void not_a(const char* what) {
  throw Error(SPILLWAY_CORRUPT, std::string("the object's bytes are no ") + what);
}

template <typename T>
concept Plain = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::ranges::range<T>;
template <typename R>
concept PlainRange =
    std::ranges::contiguous_range<R> && std::ranges::sized_range<R> && Plain<std::ranges::range_value_t<R>>;

template <typename T>
concept CharArray = std::is_array_v<T> && std::is_same_v < std::remove_cv_t<std::remove_extent_t<T>>,
char > ;
template <size_t N>
size_t text_length(const char (&text)[N]) {
  const void* const end = std::memchr(text, 0, N);
  return end ? static_cast<size_t>(static_cast<const char*>(end) - text) : N;
}

template <typename T>
void check_elements(std::span<const std::byte> bytes) {
  if (bytes.size() % sizeof(T) != 0) not_a("array of elements of this size");
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(T) != 0) not_a("array with this alignment");
}

}  // namespace detail

// Numbers, and structs without pointers: as they lie in memory.
template <detail::Plain T>
struct Serializer<T> {
  static size_t size(const T&) { return sizeof(T); }
  static void write(const T& value, std::span<std::byte> to) { std::memcpy(to.data(), &value, sizeof(T)); }
  static T read(std::span<const std::byte> from) {
    if (from.size() != sizeof(T)) detail::not_a("value of this size");
    std::remove_const_t<T> value;
    std::memcpy(&value, from.data(), sizeof(T));
    return value;
  }
};

// Arrays of them: vector, array, span, string, string_view. Elements of any size (20 bytes, for instance) lie
// one after the other. Reading as span or string_view is in place.
template <detail::PlainRange R>
struct Serializer<R> {
  using Element = std::remove_cv_t<std::ranges::range_value_t<R>>;
  static size_t size(const R& range) { return std::ranges::size(range) * sizeof(Element); }
  static void write(const R& range, std::span<std::byte> to) {
    if (!to.empty()) std::memcpy(to.data(), std::ranges::data(range), to.size());
  }
  static R read(std::span<const std::byte> from) {
    const size_t count = from.size() / sizeof(Element);
    if constexpr (std::is_constructible_v<R, const Element*, size_t> &&
                  !std::is_same_v<R, std::vector<Element>>) {
      detail::check_elements<Element>(from);
      if constexpr (requires { R::extent; })
        if (R::extent != std::dynamic_extent && count != R::extent) detail::not_a("array of this length");
      return R(reinterpret_cast<const Element*>(from.data()), count);
    } else {
      if (from.size() % sizeof(Element) != 0) detail::not_a("array of elements of this size");
      R range{};
      if constexpr (requires { range.resize(count); })
        range.resize(count);
      else if (std::ranges::size(range) != count)
        detail::not_a("array of this length");
      if (count > 0) std::memcpy(std::ranges::data(range), from.data(), from.size());
      return range;
    }
  }
};

// Bit arrays: the number of bits, then eight to a byte, the first in the lowest bit.
template <>
struct Serializer<std::vector<bool>> {
  static size_t size(const std::vector<bool>& bits) { return 8 + (bits.size() + 7) / 8; }
  static void write(const std::vector<bool>& bits, std::span<std::byte> to) {
    const uint64_t count = bits.size();
    std::memset(to.data(), 0, to.size());
    std::memcpy(to.data(), &count, 8);
    for (size_t i = 0; i < bits.size(); ++i)
      if (bits[i]) to[8 + i / 8] |= std::byte(1 << i % 8);
  }
  static std::vector<bool> read(std::span<const std::byte> from) {
    uint64_t count = 0;
    if (from.size() < 8) detail::not_a("bit array");
    std::memcpy(&count, from.data(), 8);
    if (count / 8 > from.size() || from.size() != 8 + (count + 7) / 8) detail::not_a("bit array");
    std::vector<bool> bits(count);
    for (size_t i = 0; i < count; ++i) bits[i] = (from[8 + i / 8] & std::byte(1 << i % 8)) != std::byte{0};
    return bits;
  }
};

// Arrays of strings, where slots may be unset: the count, the length of each (all ones: unset), then all
// their bytes.
template <>
struct Serializer<std::vector<std::optional<std::string>>> {
  using V = std::vector<std::optional<std::string>>;
  static constexpr uint64_t kUnset = ~uint64_t{0};
  static size_t size(const V& strings) {
    size_t sum = 8 + 8 * strings.size();
    for (const auto& s : strings) sum += s ? s->size() : 0;
    return sum;
  }
  static void write(const V& strings, std::span<std::byte> to) {
    const uint64_t count = strings.size();
    std::memcpy(to.data(), &count, 8);
    size_t at = 8 + 8 * strings.size();
    for (size_t i = 0; i < strings.size(); ++i) {
      const uint64_t length = strings[i] ? strings[i]->size() : kUnset;
      std::memcpy(to.data() + 8 + 8 * i, &length, 8);
      if (!strings[i]) continue;
      std::memcpy(to.data() + at, strings[i]->data(), strings[i]->size());
      at += strings[i]->size();
    }
  }
  static V read(std::span<const std::byte> from) {
    uint64_t count = 0;
    if (from.size() < 8) detail::not_a("array of strings");
    std::memcpy(&count, from.data(), 8);
    if (count > (from.size() - 8) / 8) detail::not_a("array of strings");
    V strings(count);
    size_t at = 8 + 8 * count;
    for (size_t i = 0; i < count; ++i) {
      uint64_t length = 0;
      std::memcpy(&length, from.data() + 8 + 8 * i, 8);
      if (length == kUnset) continue;
      if (length > from.size() - at) detail::not_a("array of strings");
      strings[i].emplace(reinterpret_cast<const char*>(from.data()) + at, length);
      at += length;
    }
    if (at != from.size()) detail::not_a("array of strings");
    return strings;
  }
};

template <>
struct Serializer<std::vector<std::string>> {
  using Inner = Serializer<std::vector<std::optional<std::string>>>;
  static size_t size(const std::vector<std::string>& strings) {
    size_t sum = 8 + 8 * strings.size();
    for (const auto& s : strings) sum += s.size();
    return sum;
  }
  static void write(const std::vector<std::string>& strings, std::span<std::byte> to) {
    Inner::write(Inner::V(strings.begin(), strings.end()), to);
  }
  static std::vector<std::string> read(std::span<const std::byte> from) {
    std::vector<std::string> strings;
    for (auto& s : Inner::read(from)) {
      if (!s) detail::not_a("array of strings without unset slots");
      strings.push_back(std::move(*s));
    }
    return strings;
  }
};

// ---- handles
// --------------------------------------------------------------------------------------------------------

// What an object is published with; see spillway_put_options.
struct SetOptions {
  std::string name{};
  std::string tag{};
  uint32_t mode = 0;
  spillway_hint hint = SPILLWAY_NORMAL;
  spillway_when_full when_full = SPILLWAY_SPILL;
  Milliseconds timeout{0};
  uint32_t flags = 0;  // SPILLWAY_DURABLE | ...
  std::string filters{};
};
struct GetOptions {
  Milliseconds timeout{0};  // for a name that does not exist yet
  spillway_when_full when_full = SPILLWAY_SPILL;
};
struct DiskOptions {
  std::string path{};
  std::optional<std::string> filters{};
  uint32_t flags = 0;  // SPILLWAY_OVERWRITE | SPILLWAY_SYNC
};

struct FileRef {
  uint64_t host = 0;
  std::string path;
  uint64_t bytes = 0;
  bool operator==(const FileRef&) const = default;
};

namespace detail {
using PoolHandle = std::shared_ptr<spillway_pool>;

// The functions of on_destroy() that have not run: they go when they have, or with the pool.
class DestroyCalls {
 public:
  struct Entry {
    DestroyCalls* all;
    std::function<void()> call;
  };
  Entry* add(std::function<void()> call) {
    std::lock_guard lock(mutex_);
    return &entries_.emplace_back(Entry{this, std::move(call)});
  }
  std::function<void()> take(Entry* entry) {
    std::lock_guard lock(mutex_);
    std::function<void()> call = std::move(entry->call);
    entries_.remove_if([entry](const Entry& e) { return &e == entry; });
    return call;
  }

 private:
  std::mutex mutex_;
  std::list<Entry> entries_;
};
struct ClosePool {
  std::shared_ptr<DestroyCalls> calls = std::make_shared<DestroyCalls>();
  void operator()(spillway_pool* pool) const { spillway_pool_close(pool); }
};

inline spillway_put_options c_options(const SetOptions& o) {
  spillway_put_options c{};
  c.name = o.name.empty() ? nullptr : o.name.c_str();
  c.tag = o.tag.data();
  c.tag_bytes = o.tag.size();
  c.mode = o.mode;
  c.hint = o.hint;
  c.when_full = o.when_full;
  c.timeout_ms = ms(o.timeout);
  c.flags = o.flags;
  c.filters = o.filters.empty() ? nullptr : o.filters.c_str();
  return c;
}
inline FileRef file_ref(const spillway_file_ref& f) { return {f.host, f.path, f.bytes}; }
}  // namespace detail

// A counted reference to an object: it lives at least as long as one of them, in any process. Copies are
// equal.
class DRef {
 public:
  DRef() = default;
  spillway_ref ref() const { return counted_ ? counted_->ref : spillway_ref{0, 0}; }
  uint64_t id() const { return ref().id; }
  explicit operator bool() const { return counted_ != nullptr; }
  bool operator==(const DRef& other) const {
    return ref().id == other.ref().id && ref().key == other.ref().key;
  }
  bool operator<(const DRef& other) const {
    return std::pair(ref().id, ref().key) < std::pair(other.ref().id, other.ref().key);
  }
  // Text that may travel through any stream, and keeps the object alive by itself until it was picked up once
  // (Pool::from_token) or expires.
  std::string token(Milliseconds expiry = std::chrono::minutes(1)) const {
    char text[SPILLWAY_TOKEN_BYTES];
    if (!counted_) throw Error(SPILLWAY_INVALID, "an empty reference");
    check(spillway_ref_to_token(counted_->pool.get(), counted_->ref, detail::ms(expiry), text));
    return text;
  }

 private:
  friend class Pool;
  struct Counted {
    detail::PoolHandle pool;
    spillway_ref ref;
    Counted(detail::PoolHandle p, spillway_ref r) : pool(std::move(p)), ref(r) {}
    ~Counted() { spillway_ref_release(pool.get(), ref); }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
  };
  DRef(detail::PoolHandle pool, spillway_ref ref)
      : counted_(std::make_shared<Counted>(std::move(pool), ref)) {}
  std::shared_ptr<Counted> counted_;
};

// An object held in place: its bytes are in a mapping, and stay where they are until the pin goes.
class Pin {
 public:
  Pin() = default;
  explicit operator bool() const { return pin_ != nullptr; }
  const void* data() const { return spillway_pin_data(pin_.get()); }
  size_t size() const { return spillway_pin_size(pin_.get()); }
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data()), size()}; }
  std::string_view text() const { return {static_cast<const char*>(data()), size()}; }
  template <typename T>
  std::span<const T> as() const {
    return Serializer<std::span<const T>>::read(bytes());
  }
  // By value, through the type's serializer.
  template <typename T>
  T value() const {
    return Serializer<T>::read(bytes());
  }
  std::string_view tag() const {
    size_t n = 0;
    const void* const tag = spillway_pin_tag(pin_.get(), &n);
    return {static_cast<const char*>(tag), n};
  }
  uint64_t version() const { return spillway_pin_version(pin_.get()); }
  spillway_ref ref() const { return spillway_pin_ref(pin_.get()); }
  void release() { pin_.reset(); }

 private:
  friend class Pool;
  template <typename T>
  friend class Future;
  // With the pool in what releases it: also when another pin is assigned, the pool is the last to go.
  struct Release {
    detail::PoolHandle pool;
    void operator()(spillway_pin* pin) const { spillway_pin_release(pin); }
  };
  Pin(detail::PoolHandle pool, spillway_pin* pin) : pin_(pin, Release{std::move(pool)}) {}
  std::unique_ptr<spillway_pin, Release> pin_;
};

// A value that may refer to the bytes of its pin.
template <typename T>
struct HeldValue {
  Pin pin;
  T value;
};

// Room to write to in place, then sealed and published, or gone.
class Builder {
 public:
  std::span<std::byte> bytes() {
    return {static_cast<std::byte*>(spillway_builder_data(builder_.get())),
            spillway_builder_size(builder_.get())};
  }
  template <typename T>
  std::span<T> as() {
    static_assert(std::is_trivially_copyable_v<T>);
    return {static_cast<T*>(spillway_builder_data(builder_.get())),
            spillway_builder_size(builder_.get()) / sizeof(T)};
  }
  size_t size() const { return spillway_builder_size(builder_.get()); }
  DRef seal() &&;

 private:
  friend class Pool;
  struct Abort {
    detail::PoolHandle pool;
    void operator()(spillway_builder* builder) const { spillway_builder_abort(builder); }
  };
  Builder(detail::PoolHandle pool, spillway_builder* builder, uint32_t flags)
      : builder_(builder, Abort{std::move(pool)}), flags_(flags) {}
  std::unique_ptr<spillway_builder, Abort> builder_;
  uint32_t flags_ = 0;
};

// Set once, for all processes that know its cell.
class Event {
 public:
  explicit Event(detail::PoolHandle pool, spillway_cell cell) : pool_(std::move(pool)), cell_(cell) {}
  spillway_cell cell() const { return cell_; }
  void set() { check(spillway_event_set(pool_.get(), cell_)); }
  void wait() { check(spillway_event_wait(pool_.get(), cell_, SPILLWAY_FOREVER)); }
  // False: the time is over.
  bool wait_for(Milliseconds time) {
    const spillway_status s = spillway_event_wait(pool_.get(), cell_, detail::ms(time));
    if (s == SPILLWAY_TIMED_OUT) return false;
    check(s);
    return true;
  }
  bool is_set() { return wait_for(Milliseconds(0)); }

 private:
  detail::PoolHandle pool_;
  spillway_cell cell_;
};

// Takes one value or one error.
template <typename T>
class Future {
 public:
  explicit Future(detail::PoolHandle pool, spillway_cell cell) : pool_(std::move(pool)), cell_(cell) {}
  spillway_cell cell() const { return cell_; }
  void put(const T& value) {
    std::vector<std::byte> bytes(Serializer<T>::size(value));
    Serializer<T>::write(value, bytes);
    check(spillway_future_put(pool_.get(), cell_, bytes.data(), bytes.size()));
  }
  void fail(const std::string& error) { check(spillway_future_fail(pool_.get(), cell_, error.c_str())); }
  T get(Milliseconds time = kForever) const { return pin(time).template value<T>(); }
  Pin pin(Milliseconds time = kForever) const {
    spillway_pin* pin = nullptr;
    check(spillway_future_get(pool_.get(), cell_, detail::ms(time), &pin));
    return Pin(pool_, pin);
  }

 private:
  detail::PoolHandle pool_;
  spillway_cell cell_;
};

struct Info {
  spillway_ref ref{};
  std::string name, tag, file, filters;
  uint64_t bytes = 0, version = 0, age_ms = 0, idle_ms = 0;
  spillway_state state = SPILLWAY_CREATING;
  uint32_t uid = 0, mode = 0, references = 0, pins = 0;
  int owner_pid = 0;
  spillway_hint hint = SPILLWAY_NORMAL;
  bool retained = false;
};
struct Device {
  std::string name, path;
  uint64_t capacity = 0, used = 0, available = 0;
};
struct ClientInfo {
  int pid = 0;
  uint32_t uid = 0;
  std::string program;
  uint64_t connected_ms = 0, created_bytes = 0, pinned_bytes = 0, made_objects = 0, references = 0,
           leases = 0, puts = 0, gets = 0, hits = 0;
  bool self = false;
};
struct Change {
  spillway_change kind;
  std::string name;
  uint64_t version;
};

// Tells of changes as long as it lives.
class Watch {
 private:
  friend class Pool;
  using Call = std::function<void(const Change&)>;
  struct Close {
    detail::PoolHandle pool;
    std::unique_ptr<Call> call;  // needed until the watch is closed
    void operator()(spillway_watch* watch) const { spillway_watch_close(watch); }
  };
  explicit Watch(std::unique_ptr<spillway_watch, Close> watch) : watch_(std::move(watch)) {}
  std::unique_ptr<spillway_watch, Close> watch_;
};

// ---- the pool
// -------------------------------------------------------------------------------------------------------

class Pool {
 public:
  struct Options {
    std::string socket{};
    std::string daemon{};
    bool start = true;
    Milliseconds start_timeout{10'000};
    uint32_t cached_objects = 4096;
  };

  Pool() : Pool(Options{}) {}
  explicit Pool(const Options& o) {
    spillway_pool_options c{};
    c.socket = o.socket.empty() ? nullptr : o.socket.c_str();
    c.daemon = o.daemon.empty() ? nullptr : o.daemon.c_str();
    c.do_not_start = !o.start;
    c.start_timeout_ms = detail::ms(o.start_timeout);
    c.cached_objects = o.cached_objects;
    spillway_pool* pool = nullptr;
    check(spillway_pool_open(&c, &pool));
    pool_ = detail::PoolHandle(pool, detail::ClosePool());
  }
  Pool(Pool&&) noexcept = default;
  Pool& operator=(Pool&&) noexcept = default;
  spillway_pool* c_pool() const { return pool_.get(); }

  // Copies a value into a new object. Of an array of char, a string literal for one, the text in it, without
  // the 0 that ends it (set_bytes() takes all).
  template <typename T>
  DRef set(const T& value, const SetOptions& options = {}) {
    if constexpr (detail::CharArray<T>)
      return set_bytes(std::as_bytes(std::span(value, detail::text_length(value))), options);
    else if constexpr (detail::PlainRange<T>)
      return set_bytes(std::as_bytes(std::span(std::ranges::data(value), std::ranges::size(value))), options);
    else if constexpr (std::is_convertible_v<const T&, std::string_view>)
      return set_bytes(std::as_bytes(std::span(std::string_view(value))), options);
    else {
      Builder builder = create(Serializer<T>::size(value), options);
      Serializer<T>::write(value, builder.bytes());
      return std::move(builder).seal();
    }
  }
  DRef set_bytes(std::span<const std::byte> bytes, const SetOptions& options = {}) {
    const spillway_put_options c = detail::c_options(options);
    spillway_ref ref{};
    check(spillway_put(pool_.get(), bytes.data(), bytes.size(), &c, &ref));
    return owned(ref, options.flags);
  }
  // Many small values in few round trips.
  std::vector<DRef> set_many(std::span<const std::span<const std::byte>> values) {
    std::vector<const void*> data;
    std::vector<size_t> sizes;
    for (const auto& v : values) data.push_back(v.data()), sizes.push_back(v.size());
    std::vector<spillway_ref> refs(values.size());
    size_t done = 0;
    const spillway_status s =
        spillway_put_many(pool_.get(), data.data(), sizes.data(), values.size(), refs.data(), &done);
    std::vector<DRef> result;
    for (size_t i = 0; i < done; ++i) result.push_back(DRef(pool_, refs[i]));
    check(s);
    return result;
  }
  Builder create(size_t bytes, const SetOptions& options = {}) {
    const spillway_put_options c = detail::c_options(options);
    spillway_builder* builder = nullptr;
    check(spillway_create(pool_.get(), bytes, &c, &builder));
    return Builder(pool_, builder, options.flags);
  }

  Pin get(const DRef& dref, const GetOptions& options = {}) { return get(dref.ref(), options); }
  Pin get(spillway_ref ref, const GetOptions& options = {}) {
    const spillway_get_options c = c_get(options);
    spillway_pin* pin = nullptr;
    check(spillway_get(pool_.get(), ref, &c, &pin));
    return Pin(pool_, pin);
  }
  Pin get(const std::string& name, const GetOptions& options = {}) {
    const spillway_get_options c = c_get(options);
    spillway_pin* pin = nullptr;
    check(spillway_get_name(pool_.get(), name.c_str(), &c, &pin));
    return Pin(pool_, pin);
  }
  Pin get(const FileRef& file) {
    spillway_file_ref c{};
    c.host = file.host;
    c.bytes = file.bytes;
    if (file.path.size() >= sizeof c.path) throw Error(SPILLWAY_INVALID, "the path is too long");
    std::memcpy(c.path, file.path.c_str(), file.path.size() + 1);
    spillway_pin* pin = nullptr;
    check(spillway_get_file(pool_.get(), &c, &pin));
    return Pin(pool_, pin);
  }
  // Nothing: no such object.
  template <typename Key>
  std::optional<Pin> try_get(const Key& key, const GetOptions& options = {}) {
    try {
      return get(key, options);
    } catch (const Error& error) {
      if (error.status() == SPILLWAY_NOT_FOUND) return std::nullopt;
      throw;
    }
  }
  template <typename T, typename Key>
  HeldValue<T> get_as(const Key& key, const GetOptions& options = {}) {
    Pin pin = get(key, options);
    T value = pin.template value<T>();
    return {std::move(pin), std::move(value)};
  }

  void erase(const DRef& dref) { check(spillway_erase(pool_.get(), dref.ref())); }
  void erase(const std::string& name) { check(spillway_erase_name(pool_.get(), name.c_str())); }
  void cleanup() { check(spillway_cleanup(pool_.get())); }

  DRef lookup(const std::string& name) {
    spillway_ref ref{};
    check(spillway_lookup(pool_.get(), name.c_str(), &ref));
    return DRef(pool_, ref);
  }
  DRef from_token(const std::string& token) {
    spillway_ref ref{};
    check(spillway_ref_from_token(pool_.get(), token.c_str(), &ref));
    return DRef(pool_, ref);
  }
  // One more counted reference to an object that was got.
  DRef keep(const Pin& pin) {
    check(spillway_ref_retain(pool_.get(), pin.ref()));
    return DRef(pool_, pin.ref());
  }
  // Runs once, in a thread of the library, after the object's bytes are gone; never, once the daemon has
  // ended.
  void on_destroy(const DRef& dref, std::function<void()> call) {
    const auto* const close = std::get_deleter<detail::ClosePool>(pool_);
    if (close == nullptr) throw Error(SPILLWAY_INVALID, "no pool");
    using Entry = detail::DestroyCalls::Entry;
    Entry* const entry = close->calls->add(std::move(call));
    const spillway_status s = spillway_on_destroy(
        pool_.get(), dref.ref(),
        [](void* context) {
          auto* const mine = static_cast<Entry*>(context);
          mine->all->take(mine)();
        },
        entry);
    if (s != SPILLWAY_OK) (void)close->calls->take(entry);
    check(s);
  }

  FileRef move_to_disk(const DRef& dref, const DiskOptions& o = {}) {
    return to_disk(spillway_move_to_disk, dref, o);
  }
  FileRef copy_to_disk(const DRef& dref, const DiskOptions& o = {}) {
    return to_disk(spillway_copy_to_disk, dref, o);
  }
  FileRef save_to_disk(const DRef& dref, const std::string& path, const DiskOptions& o = {}) {
    const spillway_disk_options c = c_disk(o);
    spillway_file_ref file{};
    check(spillway_save_to_disk(pool_.get(), dref.ref(), path.c_str(), &c, &file));
    return detail::file_ref(file);
  }
  DRef restore(const std::string& path, const SetOptions& options = {}) {
    const spillway_put_options c = detail::c_options(options);
    spillway_ref ref{};
    check(spillway_restore(pool_.get(), path.c_str(), &c, &ref));
    return owned(ref, options.flags);
  }
  // The path where its file will be when the object has died.
  std::string retain(const DRef& dref, bool on = true) {
    char path[4096] = "";
    check(spillway_retain(pool_.get(), dref.ref(), on, path));
    return path;
  }
  void retain_all(bool on = true) { check(spillway_retain_all(pool_.get(), on)); }
  void destroy_on_evict(const DRef& dref, bool on = true) {
    set_hint(dref, on ? SPILLWAY_RECOMPUTABLE : SPILLWAY_NORMAL);
  }
  void set_hint(const DRef& dref, spillway_hint hint) {
    check(spillway_set_hint(pool_.get(), dref.ref(), hint));
  }
  void load(const DRef& dref) { check(spillway_load(pool_.get(), dref.ref())); }
  void keep_resident(const DRef& dref, bool on = true) {
    check(spillway_keep_resident(pool_.get(), dref.ref(), on ? 1 : -1));
  }
  void set_tag(const DRef& dref, const std::string& tag, const std::string& device = "") {
    check(spillway_set_tag(pool_.get(), dref.ref(), device.empty() ? nullptr : device.c_str(), tag.data(),
                           tag.size()));
  }
  std::string tag(const DRef& dref, const std::string& device = "") {
    std::string tag(4096, '\0');
    size_t bytes = tag.size();
    check(spillway_get_tag(pool_.get(), dref.ref(), device.empty() ? nullptr : device.c_str(), tag.data(),
                           &bytes));
    tag.resize(bytes);
    return tag;
  }
  void drain() { check(spillway_drain(pool_.get())); }
  // What cannot be written keeps the daemon (an Error says why), or is lost.
  void stop_daemon() { check(spillway_stop_daemon(pool_.get())); }
  void force_stop_daemon() { check(spillway_force_stop_daemon(pool_.get())); }
  // "name = value" lines.
  std::vector<std::string> configure(const std::string& name = "", std::optional<std::string> value = {}) {
    std::vector<std::string> lines;
    check(spillway_configure(
        pool_.get(), name.c_str(), value ? value->c_str() : nullptr,
        [](void* context, const char* text) {
          static_cast<std::vector<std::string>*>(context)->push_back(text);
        },
        &lines));
    return lines;
  }

  Info stat(const DRef& dref) {
    Info info;
    check(spillway_stat(pool_.get(), dref.ref(), one_info, &info));
    return info;
  }
  Info stat(const std::string& name) {
    Info info;
    check(spillway_stat_name(pool_.get(), name.c_str(), one_info, &info));
    return info;
  }
  std::vector<Info> list(const std::string& prefix = "") {
    std::vector<Info> all;
    check(spillway_list(pool_.get(), prefix.c_str(), next_info, &all));
    return all;
  }
  std::vector<Info> list_all() {
    std::vector<Info> all;
    check(spillway_list_all(pool_.get(), next_info, &all));
    return all;
  }
  Watch watch(const std::string& prefix, std::function<void(const Change&)> call) {
    auto owned_call = std::make_unique<Watch::Call>(std::move(call));
    spillway_watch* watch = nullptr;
    check(spillway_watch_open(
        pool_.get(), prefix.c_str(),
        [](void* context, spillway_change change, const char* name, uint64_t version) {
          (*static_cast<Watch::Call*>(context))({change, name, version});
        },
        owned_call.get(), &watch));
    return Watch(
        std::unique_ptr<spillway_watch, Watch::Close>(watch, Watch::Close{pool_, std::move(owned_call)}));
  }
  std::vector<Device> devices() {
    std::vector<Device> all;
    check(spillway_devices(pool_.get(), nullptr, next_device, &all));
    return all;
  }
  Device device(const std::string& name) {
    std::vector<Device> all;
    check(spillway_devices(pool_.get(), name.c_str(), next_device, &all));
    return all.at(0);
  }
  std::vector<std::pair<std::string, uint64_t>> stats() {
    std::vector<std::pair<std::string, uint64_t>> all;
    check(spillway_stats(
        pool_.get(),
        [](void* context, const char* name, uint64_t value) {
          static_cast<std::vector<std::pair<std::string, uint64_t>>*>(context)->push_back({name, value});
          return 0;
        },
        &all));
    return all;
  }
  uint64_t stat_of(std::string_view counter) {
    for (const auto& [name, value] : stats())
      if (name == counter) return value;
    throw Error(SPILLWAY_NOT_FOUND, "no counter " + std::string(counter));
  }
  std::vector<ClientInfo> clients() {
    std::vector<ClientInfo> all;
    check(spillway_clients(
        pool_.get(),
        [](void* context, const spillway_client* c) {
          static_cast<std::vector<ClientInfo>*>(context)->push_back(
              {c->pid, c->uid, c->program, c->connected_ms, c->created_bytes, c->pinned_bytes,
               c->made_objects, c->references, c->leases, c->puts, c->gets, c->hits, c->self != 0});
          return 0;
        },
        &all));
    return all;
  }

  Event event() {
    spillway_cell cell{};
    check(spillway_event_new(pool_.get(), &cell));
    return Event(pool_, cell);
  }
  Event event(spillway_cell cell) { return Event(pool_, cell); }
  template <typename T>
  Future<T> future() {
    spillway_cell cell{};
    check(spillway_future_new(pool_.get(), &cell));
    return Future<T>(pool_, cell);
  }
  template <typename T>
  Future<T> future(spillway_cell cell) {
    return Future<T>(pool_, cell);
  }

 private:
  static spillway_get_options c_get(const GetOptions& o) { return {detail::ms(o.timeout), o.when_full}; }
  static spillway_disk_options c_disk(const DiskOptions& o) {
    return {o.path.empty() ? nullptr : o.path.c_str(), o.filters ? o.filters->c_str() : nullptr, o.flags};
  }
  template <typename Call>
  FileRef to_disk(Call call, const DRef& dref, const DiskOptions& o) {
    const spillway_disk_options c = c_disk(o);
    spillway_file_ref file{};
    check(call(pool_.get(), dref.ref(), &c, &file));
    return detail::file_ref(file);
  }
  DRef owned(spillway_ref ref, uint32_t flags) { return adopt(pool_, ref, flags); }
  static DRef adopt(const detail::PoolHandle& pool, spillway_ref ref, uint32_t flags) {
    return flags & SPILLWAY_UNCOUNTED ? DRef() : DRef(pool, ref);
  }
  static Info info_of(const spillway_info& c) {
    Info i;
    i.ref = c.ref;
    i.name = c.name;
    i.tag.assign(static_cast<const char*>(c.tag), c.tag_bytes);
    i.file = c.file;
    i.filters = c.filters;
    i.bytes = c.bytes, i.version = c.version, i.age_ms = c.age_ms, i.idle_ms = c.idle_ms;
    i.state = c.state;
    i.uid = c.uid, i.mode = c.mode, i.references = c.references, i.pins = c.pins;
    i.owner_pid = c.owner_pid;
    i.hint = c.hint;
    i.retained = c.retained != 0;
    return i;
  }
  static int one_info(void* context, const spillway_info* info) {
    *static_cast<Info*>(context) = info_of(*info);
    return 0;
  }
  static int next_info(void* context, const spillway_info* info) {
    static_cast<std::vector<Info>*>(context)->push_back(info_of(*info));
    return 0;
  }
  static int next_device(void* context, const spillway_device* d) {
    static_cast<std::vector<Device>*>(context)->push_back(
        {d->name, d->path, d->capacity_bytes, d->used_bytes, d->available_bytes});
    return 0;
  }
  friend class Builder;
  detail::PoolHandle pool_;
};

inline DRef Builder::seal() && {
  spillway_ref ref{};
  check(spillway_builder_seal(builder_.release(), &ref));
  return Pool::adopt(builder_.get_deleter().pool, ref, flags_);
}

}  // namespace spillway

template <>
struct std::hash<spillway::DRef> {
  size_t operator()(const spillway::DRef& dref) const noexcept {
    return std::hash<uint64_t>()(dref.id() * 0x9e3779b97f4a7c15u ^ dref.ref().key);
  }
};
