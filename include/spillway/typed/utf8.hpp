// utf8.hpp - whether bytes are UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing past
// U+10FFFF.
#pragma once
#include <cstdint>
#include <cstring>
#include <string_view>

namespace spillway::typed {

inline bool is_utf8(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (p != end) {
    if (end - p >= 8) {  // eight ASCII characters at a time
      std::uint64_t word;
      std::memcpy(&word, p, 8);
      if (!(word & 0x8080808080808080)) {
        p += 8;
        continue;
      }
    }
    const unsigned c = *p++;
    if (c < 0x80) continue;
    const int more = c >= 0xc2 && c <= 0xdf ? 1 : (c & 0xf0) == 0xe0 ? 2 : c >= 0xf0 && c <= 0xf4 ? 3 : 0;
    if (more == 0 || end - p < more) return false;
    const unsigned low = c == 0xe0   ? 0xa0
                         : c == 0xf0 ? 0x90
                                     : 0x80,
                   high = c == 0xed   ? 0x9f
                          : c == 0xf4 ? 0x8f
                                      : 0xbf;
    if (*p < low || *p > high) return false;
    for (int i = 1; i < more; ++i)
      if ((p[i] & 0xc0) != 0x80) return false;
    p += more;
  }
  return true;
}

}  // namespace spillway::typed
