// codec.h - payloads: numbers and byte strings one after the other, nothing else.
// Always: a Reader never reads past its bytes. The first field that is not there, or is longer than its cap,
// makes everything after it zero and empty, and ok() false; so a decoder reads all fields and asks once, at
// the end.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace spillway::wire {

class Writer {
 public:
  // Room for a header is left in front, to be filled by whoever sends the frame.
  explicit Writer(size_t header_bytes = 0) { bytes_.resize(header_bytes); }

  template <typename T>
  Writer& number(T value) {
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    memcpy(bytes_.data() + at, &value, sizeof value);
    return *this;
  }
  Writer& bytes(std::string_view text) {
    number(static_cast<uint32_t>(text.size()));
    bytes_.append(text);
    return *this;
  }
  std::string& data() { return bytes_; }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view data) : rest_(data) {}

  template <typename T>
  T number() {
    static_assert(std::is_integral_v<T>);
    T value{};
    if (rest_.size() < sizeof value) {
      fail();
    } else {
      memcpy(&value, rest_.data(), sizeof value);
      rest_.remove_prefix(sizeof value);
    }
    return value;
  }
  // A number of an enum whose last value is `last`.
  template <typename E>
  E choice(E last) {
    using N = std::underlying_type_t<E>;
    const N value = number<N>();
    if (value > static_cast<N>(last)) fail();
    return ok_ ? static_cast<E>(value) : E{};
  }
  std::string_view bytes(size_t cap) {
    const uint32_t length = number<uint32_t>();
    if (length > cap || length > rest_.size()) {
      fail();
      return {};
    }
    std::string_view text = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return text;
  }
  bool ok() const { return ok_; }
  // Nothing is left over either: what a message must be at its end.
  bool complete() const { return ok_ && rest_.empty(); }
  size_t left() const { return rest_.size(); }

 private:
  void fail() {
    ok_ = false;
    rest_ = {};
  }
  std::string_view rest_;
  bool ok_ = true;
};

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers travel as they lie in memory");

}  // namespace spillway::wire
