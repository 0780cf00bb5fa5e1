// size_fuzz.cc - any bytes at all to the grammar of sizes. Input: 8 bytes are the whole of a percentage, the
// rest the text.
#include <spillway/size.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

using spillway::parse_size;
using spillway::parse_size_or_percent;

namespace {

void must(bool holds, const char* what, std::string_view text) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s, for \"%.*s\"\n", what, static_cast<int>(text.size()), text.data());
  std::abort();
}

std::string with_case(std::string_view text, int (*convert)(int)) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(convert(static_cast<unsigned char>(c)));
  return result;
}

void check_size(std::string_view text) {
  const auto bytes = parse_size(text);
  must(parse_size(" \t" + std::string(text) + "\t ") == bytes, "space around it changes nothing", text);
  must(parse_size(with_case(text, [](int c) { return c >= 'a' && c <= 'z' ? c - 32 : c; })) == bytes,
       "upper case changes nothing", text);
  must(parse_size(with_case(text, [](int c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; })) == bytes,
       "lower case changes nothing", text);
  if (!bytes) return;

  must(text.find_first_not_of("0123456789abcdefABCDEFxXkKmMgGtTpPiI. \t") == text.npos,
       "only the grammar's characters are accepted (no sign, no exponent)", text);
  must(text.find_first_of("0123456789") != text.npos || text.find_first_of("abcdefABCDEF") != text.npos,
       "there is no size without a digit", text);

  const size_t from = text.find_first_not_of(" \t0"), to = text.find_first_not_of("0123456789", from);
  must(from == text.npos || std::min(to, text.size()) - from <= 20, "64 bits hold no more than 20 digits",
       text);

  char again[32];
  std::snprintf(again, sizeof again, "%llu", static_cast<unsigned long long>(*bytes));
  must(parse_size(again) == bytes, "its decimal form is the same size", text);
  std::snprintf(again, sizeof again, "0x%llx", static_cast<unsigned long long>(*bytes));
  must(parse_size(again) == bytes, "its hexadecimal form is the same size", text);

  std::snprintf(again, sizeof again, "%lluk", static_cast<unsigned long long>(*bytes));
  const auto larger = parse_size(again);
  must(larger.has_value() == (*bytes < (uint64_t{1} << 54)), "a k more fits exactly when 64 bits hold it",
       again);
  must(!larger || *larger == *bytes * 1024, "a k more is 1024 times as much", again);
}

void check_percent(std::string_view text, uint64_t whole) {
  const auto bytes = parse_size_or_percent(text, whole);
  if (text.find('%') == text.npos) {
    must(bytes == parse_size(text), "without a percent sign it is a size", text);
  } else if (bytes) {
    must(*bytes <= whole, "a percentage is at most the whole", text);
    must(text.find_first_of("123456789") != text.npos, "no percentage is zero", text);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  uint64_t whole = 0;
  if (size < sizeof whole) return 0;
  std::memcpy(&whole, data, sizeof whole);
  // A copy of exact size, so that the sanitizer sees a read past the end.
  const std::string text(reinterpret_cast<const char*>(data) + sizeof whole, size - sizeof whole);
  check_size(text);
  check_percent(text, whole);
  return 0;
}
