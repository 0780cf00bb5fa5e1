// words.hpp - single values in words: dates and times as ISO 8601 writes them, strings as JSON does.
#pragma once
#include <cstdio>
#include <string>
#include <string_view>

#include "spillway/typed/values.hpp"

namespace spillway::typed {

namespace detail {

inline std::string padded(std::int64_t n, int width) {
  char out[24];
  std::snprintf(out, sizeof out, "%0*lld", width, static_cast<long long>(n));
  return out;
}

}  // namespace detail

// ISO 8601.
inline std::string to_text(date d) {
  const auto [y, m, day] = d.ymd();
  return detail::padded(y, 4) + "-" + detail::padded(m, 2) + "-" + detail::padded(day, 2);
}
inline std::string to_text(moment m, unit u) {
  const std::int64_t days = (m.seconds - (m.seconds % 86400 + 86400) % 86400) / 86400,
                     s = m.seconds - days * 86400;
  std::string out = to_text(date{static_cast<std::int32_t>(days)}) + "T" + detail::padded(s / 3600, 2) + ":" +
                    detail::padded(s / 60 % 60, 2) + ":" + detail::padded(s % 60, 2);
  if (u != unit::s) out += "." + detail::padded(m.nanos, 9).substr(0, 3 * static_cast<std::size_t>(u));
  return out;
}
inline std::string offset_text(std::int32_t s) {
  const std::int32_t a = s < 0 ? -s : s;
  return std::string(s < 0 ? "-" : "+") + detail::padded(a / 3600, 2) + ":" + detail::padded(a / 60 % 60, 2) +
         (a % 60 ? ":" + detail::padded(a % 60, 2) : "");
}
inline std::string to_text(const instant& t) {
  moment m = t.when();
  if (t.offset_s != kNoOffset) m.seconds += t.offset_s;
  return to_text(m, t.unit) + (t.offset_s == kNoOffset ? "Z" : offset_text(t.offset_s)) +
         (t.zone.empty() ? "" : "[" + t.zone + "]");
}
inline std::string to_text(const time_of_day& t) {
  const std::int64_t s = t.ns / 1000000000;
  std::string out =
      detail::padded(s / 3600, 2) + ":" + detail::padded(s / 60 % 60, 2) + ":" + detail::padded(s % 60, 2);
  if (t.ns % 1000000000) out += "." + detail::padded(t.ns % 1000000000, 9);
  return out + (t.offset_s == kNoOffset ? "" : offset_text(t.offset_s));
}

// A JSON string; control characters escaped.
inline std::string json_quoted(std::string_view s) {
  std::string out = "\"";
  for (const char c : s) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out += '\\', out += c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\r')
      out += "\\r";
    else if (u < 0x20 || u == 0x7f) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\u%04x", u);
      out += hex;
    } else
      out += c;
  }
  return out + "\"";
}

}  // namespace spillway::typed
