// format.hpp - the words of the format: kinds of objects, codes of slots, types of fields.
// docs/typed_format.md in C++.
//
// Always: numbers are little-endian; every object starts at a multiple of 8 with one header word (kind, sub,
// depth, count), from which its size follows; a reference is a self-relative offset and points backward, to
// an object of smaller depth. So there are no cycles, and no reader can be led into unbounded recursion.
// Words that others may be writing are loaded once, atomically, into a local before they are used.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

static_assert(std::endian::native == std::endian::little, "typed blobs are little-endian and read in place");

namespace spillway::typed {

inline constexpr unsigned char kMagic[8] = {0x89, 'S', 'P', 'W', 'T', '\r', '\n', 0x1a};
inline constexpr std::uint32_t kEndianMark = 0x01020304;
inline constexpr std::uint16_t kVersion = 1, kMinReader = 1;
inline constexpr std::uint64_t kHeaderBytes = 64;
inline constexpr std::uint32_t kFlagChecksum = 1;
inline constexpr std::uint64_t kMaxCount = (std::uint64_t{1} << 40) - 1;
inline constexpr unsigned kMaxDepth = 255;

struct file_header {
  unsigned char magic[8];
  std::uint32_t endian;
  std::uint16_t version, min_reader;
  std::uint64_t total_bytes;
  std::uint64_t root, schema, user_data;  // positions from the blob's first byte; 0: none
  std::uint64_t checksum;                 // hash64 of everything behind the header, with kFlagChecksum
  std::uint32_t flags, reserved;
};
static_assert(sizeof(file_header) == kHeaderBytes);

enum class kind : std::uint8_t {
  padding = 0,  // a zero word between objects
  text = 1,
  bytes = 2,
  buffer = 3,  // bytes that are never compressed
  array = 4,
  list = 5,
  set_sorted = 6,
  set_bits = 7,
  set_blocks = 8,
  map = 9,
  record = 10,
  nd = 11,
  decimal = 12,
  zoned = 13,
  box = 14,
  schema = 15,
};

// What a field, or an element of an array, is. The first twelve are also the element types of arrays.
enum class type : std::uint8_t {
  none = 0,
  boolean = 1,
  i8 = 2,
  i16 = 3,
  i32 = 4,
  i64 = 5,
  u8 = 6,
  u16 = 7,
  u32 = 8,
  u64 = 9,
  f32 = 10,
  f64 = 11,
  date = 12,
  text = 16,  // from here to decimal: an 8-byte reference
  bytes = 17,
  buffer = 18,
  array = 19,
  list = 20,
  tuple = 21,
  set = 22,
  map = 23,
  record = 24,
  nd = 25,
  decimal = 26,
  any = 32,  // from here: a 16-byte slot
  instant = 33,
  local_time = 34,
  time_of_day = 35,
};

constexpr const char* name_of(type t) {
  switch (t) {
    case type::none:
      return "none";
    case type::boolean:
      return "bool";
    case type::i8:
      return "int8";
    case type::i16:
      return "int16";
    case type::i32:
      return "int32";
    case type::i64:
      return "int64";
    case type::u8:
      return "uint8";
    case type::u16:
      return "uint16";
    case type::u32:
      return "uint32";
    case type::u64:
      return "uint64";
    case type::f32:
      return "float32";
    case type::f64:
      return "float64";
    case type::date:
      return "date";
    case type::text:
      return "text";
    case type::bytes:
      return "bytes";
    case type::buffer:
      return "buffer";
    case type::array:
      return "array";
    case type::list:
      return "list";
    case type::tuple:
      return "tuple";
    case type::set:
      return "set";
    case type::map:
      return "map";
    case type::record:
      return "record";
    case type::nd:
      return "ndarray";
    case type::decimal:
      return "decimal";
    case type::any:
      return "any";
    case type::instant:
      return "instant";
    case type::local_time:
      return "local time";
    case type::time_of_day:
      return "time of day";
  }
  return "unknown";
}

constexpr bool is_scalar(type t) { return t >= type::boolean && t <= type::date; }
constexpr bool is_reference(type t) { return t >= type::text && t <= type::decimal; }
constexpr bool is_slot(type t) { return t >= type::any && t <= type::time_of_day; }
constexpr bool is_integer(type t) { return t >= type::i8 && t <= type::u64; }
constexpr bool is_signed_integer(type t) { return t >= type::i8 && t <= type::i64; }
constexpr bool is_float(type t) { return t == type::f32 || t == type::f64; }
constexpr bool is_known(type t) { return is_scalar(t) || is_reference(t) || is_slot(t); }

constexpr std::uint32_t bytes_of(type t) {
  switch (t) {
    case type::boolean:
    case type::i8:
    case type::u8:
      return 1;
    case type::i16:
    case type::u16:
      return 2;
    case type::i32:
    case type::u32:
    case type::f32:
    case type::date:
      return 4;
    case type::i64:
    case type::u64:
    case type::f64:
      return 8;
    default:
      return is_reference(t) ? 8 : is_slot(t) ? 16 : 0;
  }
}

// The C++ arithmetic types as element types.
template <class T>
constexpr type type_of_arithmetic() {
  if constexpr (std::is_same_v<T, bool>)
    return type::boolean;
  else if constexpr (std::is_same_v<T, float>)
    return type::f32;
  else if constexpr (std::is_same_v<T, double>)
    return type::f64;
  else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>)
    return sizeof(T) == 1 ? type::i8 : sizeof(T) == 2 ? type::i16 : sizeof(T) == 4 ? type::i32 : type::i64;
  else if constexpr (std::is_integral_v<T>)
    return sizeof(T) == 1 ? type::u8 : sizeof(T) == 2 ? type::u16 : sizeof(T) == 4 ? type::u32 : type::u64;
  else
    return type::none;
}

// Calls f with a value-initialised object of the element's C++ type; date is its std::int32_t.
template <class F>
constexpr decltype(auto) with_element(type t, F&& f) {
  switch (t) {
    case type::boolean:
      return f(bool{});
    case type::i8:
      return f(std::int8_t{});
    case type::i16:
      return f(std::int16_t{});
    case type::i32:
    case type::date:
      return f(std::int32_t{});
    case type::u8:
      return f(std::uint8_t{});
    case type::u16:
      return f(std::uint16_t{});
    case type::u32:
      return f(std::uint32_t{});
    case type::u64:
      return f(std::uint64_t{});
    case type::f32:
      return f(float{});
    case type::f64:
      return f(double{});
    default:
      return f(std::int64_t{});
  }
}

inline constexpr std::uint8_t kCodecNone = 0, kCodecLz4 = 1;  // sub of text and bytes
inline constexpr std::uint8_t kTupleFlag = 0x80;              // sub of array and list: it was a tuple

// Sub of a map: what its keys are.
enum class flavour : std::uint8_t { text = 1, uint = 2, object = 3, set = 4, approx = 5 };
inline constexpr std::uint8_t kMultiFlag = 0x80;
inline constexpr std::uint64_t kMapHeadBytes = 40;

constexpr std::uint64_t entry_bytes(flavour f) {
  return f == flavour::text ? 32 : f == flavour::object ? 40 : 24;
}

enum class code : std::uint8_t {
  nothing = 0,  // the zeros of an absent field; in no other place
  null = 1,
  boolean = 2,
  integer = 3,
  uinteger = 4,
  f64 = 5,
  f32 = 6,
  short_text = 7,
  short_bytes = 8,
  date = 9,
  instant = 10,
  local_time = 11,
  time_of_day = 12,
  ref = 16,
};

// A value of any type in 16 bytes; what does not fit is a reference from the payload's own position.
struct slot {
  code what = code::nothing;
  std::uint8_t sub = 0;
  std::uint16_t zero = 0;
  std::int32_t aux = 0;
  std::uint64_t payload = 0;
  bool operator==(const slot&) const = default;
};
static_assert(sizeof(slot) == 16);
inline constexpr std::uint64_t kSlotPayload = 8;
inline constexpr std::int32_t kNoOffset = INT32_MIN;  // aux of an instant or a time without an offset

struct head {
  typed::kind kind = kind::padding;
  std::uint8_t sub = 0;
  std::uint8_t depth = 0;
  std::uint64_t count = 0;

  constexpr std::uint64_t word() const {
    return static_cast<std::uint64_t>(kind) | std::uint64_t{sub} << 8 | std::uint64_t{depth} << 16 |
           count << 24;
  }
  static constexpr head of(std::uint64_t w) {
    return {static_cast<typed::kind>(w & 0xff), static_cast<std::uint8_t>(w >> 8),
            static_cast<std::uint8_t>(w >> 16), w >> 24};
  }
};

constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t to) { return (n + to - 1) / to * to; }

// One load that the compiler may not repeat: the memory may belong to somebody who is writing it. Volatile
// and not a relaxed atomic, which GCC takes for a write to all other memory: loops would load what they know
// again and again.
inline std::uint64_t load_word(const std::byte* p) {
  return *reinterpret_cast<const volatile std::uint64_t*>(p);
}

// The value, which the compiler may not compute again: what was loaded in the plain way, which leaves it free
// to keep all else that it knows, is not loaded again between a check and the use.
template <class T>
T once(T value) {
  asm("" : "+r"(value));
  return value;
}

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
// Whether `n` bytes are the same; for those of the length of usual keys without a call. An empty text may
// have no memory at all, which memcmp() does not take.
inline bool same_bytes(const std::byte* a, const char* b, std::size_t n) {
  if (n < 8 || n > 32) return n == 0 || std::memcmp(a, b, n) == 0;
  std::uint64_t x, y, other = 0;
  for (std::size_t i = 0; i < n; i += 8) {
    const std::size_t at = i < n - 8 ? i : n - 8;
    std::memcpy(&x, a + at, 8), std::memcpy(&y, b + at, 8);
    other |= x ^ y;
  }
  return other == 0;
}
// A stored bool of another process may be any byte; only 1 is true.
template <>
inline bool load<bool>(const std::byte* p) {
  return static_cast<std::uint8_t>(*p) == 1;
}

inline slot load_slot(const std::byte* p) {
  const std::uint64_t first = load_word(p), second = load_word(p + kSlotPayload);
  slot s;
  std::memcpy(static_cast<void*>(&s), &first, sizeof first);
  s.payload = second;
  return s;
}

}  // namespace spillway::typed
