// size_test.cc - the grammar of sizes that every option and environment variable shares.
#include <spillway/size.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "tests/support/catch.h"

using spillway::parse_size;
using spillway::parse_size_or_percent;

namespace {

constexpr uint64_t k = 1024, M = k * k, G = k * M, T = k * G, P = k * T;
constexpr uint64_t kLargest = UINT64_MAX;

// Compile-time use is part of the promise: no heap, no exceptions.
static_assert(parse_size("64k") == 64 * k);
static_assert(!parse_size("abc"));

}  // namespace

TEST_CASE("a size may be plain bytes, hexadecimal, a fraction, or have a unit") {
  const std::pair<const char*, uint64_t> sizes[] = {
      {"0", 0},         {"4096", 4096},   {"64k", 64 * k},   {"64M", 64 * M},     {"100M", 100 * M},
      {"2G", 2 * G},    {"3T", 3 * T},    {"1P", P},         {"1.5G", 3 * G / 2}, {"0.5k", 512},
      {"0x100000", M},  {"0XfF", 255},    {"0x10k", 16 * k}, {"64MiB", 64 * M},   {"64MB", 64 * M},
      {"64mi", 64 * M}, {"2 GiB", 2 * G}, {"512b", 512},     {"  8M\t", 8 * M},
  };
  for (const auto& [text, bytes] : sizes) {
    INFO(text);
    CHECK(parse_size(text) == bytes);
  }
}

TEST_CASE("the case of a unit does not matter, and every unit is binary") {
  for (const char* text : {"1g", "1G", "1gb", "1GB", "1Gb", "1gib", "1GiB", "1GIB", "1gI"}) {
    INFO(text);
    CHECK(parse_size(text) == G);
  }
}

TEST_CASE("what is no size is refused, not guessed") {
  for (const char* text :
       {"abc",  "-1",   "-1M",  "+1",     "1e9x", "1e9",   "",       " ",   "0x",   "0xg",
        "1..5", "1.",   ".5",   "1.5.2G", "1,5G", "M",     "64 M B", "64Q", "64Mx", "64MiBs",
        "64iB", "64kk", "6 4k", "64k\n",  "50%",  "0x1.8", "one",    "\xff"}) {
    INFO('"' << text << '"');
    CHECK(parse_size(text) == std::nullopt);
  }
}

TEST_CASE("a text with a NUL byte inside is no size") {
  CHECK(parse_size(std::string_view("64\0k", 4)) == std::nullopt);
  CHECK(parse_size(std::string_view("64k\0", 4)) == std::nullopt);
}

TEST_CASE("a size that does not fit 64 bits is refused, the largest that does is not") {
  CHECK(parse_size("18446744073709551615") == kLargest);
  CHECK(parse_size("0xffffffffffffffff") == kLargest);
  CHECK(parse_size("16383P") == 16383 * P);
  for (const char* text :
       {"18446744073709551616", "0x10000000000000000", "16384P", "17179869184G", "18014398509481984k",
        "340282366920938463463374607431768211457", "99999999999999999999999999999999999999999999"}) {
    INFO(text);
    CHECK(parse_size(text) == std::nullopt);
  }
}

TEST_CASE("a fraction is rounded down to whole bytes") {
  CHECK(parse_size("1.9") == 1);
  CHECK(parse_size("0.0009765625k") == 1);  // 1/1024
  CHECK(parse_size("0.0009765624k") == 0);
  CHECK(parse_size("1.9999999999999999999999999999M") == 2 * M - 1);
}

TEST_CASE("a percentage is a share of the whole") {
  CHECK(parse_size_or_percent("50%", 8 * G) == 4 * G);
  CHECK(parse_size_or_percent("100%", 12345) == 12345);
  CHECK(parse_size_or_percent("1%", 99) == 0);
  CHECK(parse_size_or_percent(" 25% ", 1000) == 250);
  CHECK(parse_size_or_percent("100%", kLargest) == kLargest);
  CHECK(parse_size_or_percent("33%", kLargest) == 6087425544324152032u);
}

TEST_CASE("where a percentage may stand, a size may too") {
  CHECK(parse_size_or_percent("64M", G) == 64 * M);
  CHECK(parse_size_or_percent("2G", G) == 2 * G);  // the whole does not limit a size
  CHECK(parse_size_or_percent("-1", G) == std::nullopt);
}

TEST_CASE("a percentage outside 1 to 100, or that is no whole number, is refused") {
  for (const char* text :
       {"0%", "101%", "-5%", "1.5%", "%", " %", "50%%", "50 %", "0x5%", "1000%", "4294967346%"}) {
    INFO('"' << text << '"');
    CHECK(parse_size_or_percent(text, G) == std::nullopt);
  }
}
