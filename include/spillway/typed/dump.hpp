// dump.hpp - any blob as text for people, or as JSON for programs. Works on blobs nobody has verified.
//
// JSON: records are objects without their absent fields; what JSON has no word for is an object with one key
// that begins with
// $: $bytes (hex), $buffer, $decimal, $date, $instant, $local_time, $time, $tuple, $set, $map (pairs), $float
// ("NaN", "Infinity",
// "-Infinity"), $ndarray, $truncated, $error. Maps with text keys, each once, are objects.
#pragma once
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

#include "spillway/typed/record_view.hpp"
#include "spillway/typed/words.hpp"

namespace spillway::typed {

struct dump_options {
  bool json = false;
  std::uint64_t max_values = 1 << 20;  // printed, shared ones each time; then $truncated or ...
  std::uint64_t max_text = 1 << 20;    // bytes of one text
};

class dumper {
 public:
  using write = std::function<void(std::string_view)>;
  dumper(write out, dump_options options = {})
      : out_(std::move(out)), o_(options), left_(options.max_values) {}

  void dump(const any_view& v) { o_.json ? json(v) : text(v, 0), out_("\n"); }

 private:
  static std::string hex(std::string_view s) {
    std::string out;
    for (const char c : s) {
      char two[3];
      std::snprintf(two, sizeof two, "%02x", static_cast<unsigned char>(c));
      out += two;
    }
    return out;
  }
  static std::string real(double v) {
    char shown[40];
    std::snprintf(shown, sizeof shown, "%.17g", v);
    for (int digits = 1; digits < 17; ++digits) {
      char shorter[40];
      std::snprintf(shorter, sizeof shorter, "%.*g", digits, v);
      if (std::strtod(shorter, nullptr) == v) {
        std::memcpy(shown, shorter, sizeof shown);
        break;
      }
    }
    std::string out = shown;
    return out.find_first_of(".en") == std::string::npos ? out + ".0" : out;
  }
  void wrap(const char* key, std::string_view value) {
    out_("{\"$"), out_(key), out_("\": "), out_(value), out_("}");
  }
  bool spend() {
    if (left_ == 0) return false;
    --left_;
    return true;
  }
  // Plain values: JSON text, and the $key that wraps it, if any.
  struct plain {
    const char* key = nullptr;
    std::string value;
  };
  std::string characters(const text_view& t, bool as_hex) {
    const auto n = t.size();
    if (!n) throw failure(n.error());
    if (t.is_compressed() && *n > (std::uint64_t{1} << 30)) return "\"...\"";
    std::string s = t.str().value();
    const bool cut = s.size() > o_.max_text;
    if (cut) {
      s.resize(o_.max_text);
      while (!as_hex && !s.empty() && !is_utf8(s)) s.pop_back();
    }
    if (!as_hex && !is_utf8(s)) fail(errc::bad_utf8, "a text in UTF-8");
    return json_quoted((as_hex ? hex(s) : s) + (cut ? "..." : ""));
  }
  bool as_plain(const any_view& v, what w, plain& p) {
    switch (w) {
      case what::null:
        p.value = "null";
        return true;
      case what::boolean:
        p.value = v.boolean().value() ? "true" : "false";
        return true;
      case what::integer:
        p.value = std::to_string(v.integer().value());
        return true;
      case what::uinteger:
        p.value = std::to_string(v.uinteger().value());
        return true;
      case what::f32:
      case what::f64: {
        const double r = v.real().value();
        if (std::isfinite(r))
          p.value = real(r);
        else
          p = {"float", std::isnan(r) ? "\"NaN\"" : r > 0 ? "\"Infinity\"" : "\"-Infinity\""};
        return true;
      }
      case what::text:
        p.value = characters(v.text().value(), false);
        return true;
      case what::bytes:
        p = {"bytes", characters(v.bytes().value(), true)};
        return true;
      case what::buffer:
        p = {"buffer", characters(v.buffer().value(), true)};
        return true;
      case what::date:
        p = {"date", json_quoted(to_text(v.date().value()))};
        return true;
      case what::instant:
        p = {"instant", json_quoted(to_text(v.instant().value()))};
        return true;
      case what::local_time: {
        const local_time t = v.local_time().value();
        p = {"local_time", json_quoted(to_text(t.when(), t.unit))};
        return true;
      }
      case what::time_of_day:
        p = {"time", json_quoted(to_text(v.time_of_day().value()))};
        return true;
      case what::decimal: {
        const decimal d = v.decimal().value();
        if (d.exponent > 1 << 20 || d.exponent < -(1 << 20) || d.digits.size() > o_.max_text)
          p = {"decimal", json_quoted(d.digits.substr(0, o_.max_text) + "E" + std::to_string(d.exponent))};
        else
          p = {"decimal", json_quoted(d.str())};
        return true;
      }
      default:
        return false;
    }
  }

  void json(const any_view& v) {
    if (!spend()) return out_("{\"$truncated\": true}");
    try {
      json_value(v);
    } catch (const failure& f) {
      wrap("error", json_quoted(f.what()));
    }
  }
  void json_value(const any_view& v) {
    const what w = v.what().value();
    if (plain p; as_plain(v, w, p)) {
      if (p.key)
        wrap(p.key, p.value);
      else
        out_(p.value);
      return;
    }
    bool first = true;
    const auto comma = [&] {
      if (!first) out_(", ");
      first = false;
    };
    switch (w) {
      case what::list:
      case what::tuple: {
        const list_view list = v.list().value();
        out_(w == what::tuple ? "{\"$tuple\": [" : "[");
        for (const any_view& e : list) {
          if (left_ == 0) {
            comma(), out_("{\"$truncated\": true}");
            break;
          }
          comma(), json(e);
        }
        return out_(w == what::tuple ? "]}" : "]");
      }
      case what::set: {
        const set_view set = v.set().value();
        out_("{\"$set\": [");
        set_view::cursor c(set);
        for (any_view e; left_ && c.next(e);) comma(), json(e);
        return out_("]}");
      }
      case what::map: {
        const map_view m = v.map().value();
        const bool object = m.flavour() == flavour::text && !m.is_multi();
        out_(object ? "{" : "{\"$map\": [");
        for (std::uint64_t i = 0; i < m.entries() && left_; ++i) {
          comma();
          if (object)
            out_(characters(m.key(i).text().value(), false)), out_(": ");
          else
            out_("["), json(m.key(i)), out_(", ");
          json(m.value(i));
          if (!object) out_("]");
        }
        return out_(object ? "}" : "]}");
      }
      case what::record: {
        const record_view r = v.record().value();
        out_("{");
        for (std::size_t i = 0; i < r.size(); ++i) {
          if (r.state(i) == state::absent) continue;
          comma(), out_(json_quoted(r.type().fields[i].name)), out_(": "), json(r[i]);
        }
        return out_("}");
      }
      default: {
        const nd_view n = v.nd().value();
        out_("{\"$ndarray\": {\"dtype\": ");
        out_(n.dtype().empty() ? json_quoted(name_of(n.element())) : json_quoted(n.dtype()));
        out_(", \"shape\": [");
        for (const std::uint64_t extent : n.shape()) comma(), out_(std::to_string(extent));
        out_("]");
        if (n.dtype().empty()) {
          out_(", \"data\": ["), first = true;
          const std::uint64_t at = static_cast<std::uint64_t>(n.data() - n.object().doc->base);
          for (std::uint64_t i = 0; i < n.bytes() / n.item_bytes() && left_; ++i)
            comma(), json(any_view::at_scalar(*n.object().doc, n.element(), at + i * n.item_bytes()));
          out_("]");
        }
        return out_("}}");
      }
    }
  }

  void indent(int level) {
    out_("\n");
    for (int i = 0; i < level; ++i) out_("  ");
  }
  void text(const any_view& v, int level) {
    if (!spend()) return out_("...");
    try {
      text_value(v, level);
    } catch (const failure& f) {
      out_("<"), out_(f.what()), out_(">");
    }
  }
  void text_value(const any_view& v, int level) {
    const what w = v.what().value();
    if (plain p; as_plain(v, w, p)) {
      if (p.key && p.key != std::string_view("float")) out_(p.key), out_(" ");
      return out_(p.key && w != what::bytes && w != what::buffer
                      ? std::string_view(p.value).substr(1, p.value.size() - 2)
                      : std::string_view(p.value));
    }
    const auto count = [&](std::uint64_t n) { out_(" of "), out_(std::to_string(n)); };
    switch (w) {
      case what::list:
      case what::tuple: {
        const list_view list = v.list().value();
        out_(name_of(w)), count(list.size());
        if (list.element() != type::none) {
          out_(" "), out_(name_of(list.element())), out_(":");
          for (const any_view& e : list) {
            if (left_ == 0) return out_(" ...");
            out_(" "), text(e, level);
          }
          return;
        }
        for (const any_view& e : list) {
          indent(level + 1), out_("- ");
          if (left_ == 0) return out_("...");
          text(e, level + 1);
        }
        return;
      }
      case what::set: {
        const set_view set = v.set().value();
        out_("set"), count(set.size()), out_(":");
        set_view::cursor c(set);
        for (any_view e; c.next(e);) {
          if (left_ == 0) return out_(" ...");
          out_(" "), text(e, level + 1);
        }
        return;
      }
      case what::map: {
        const map_view m = v.map().value();
        constexpr const char* kNames[] = {"",           "string map", "uint map",
                                          "object map", "set",        "approximate string map"};
        out_(kNames[static_cast<std::size_t>(m.flavour())]), out_(m.is_multi() ? ", multi," : ""),
            count(m.size());
        for (std::uint64_t i = 0; i < m.entries(); ++i) {
          indent(level + 1);
          if (left_ == 0) return out_("...");
          text(m.key(i), level + 1), out_(": "), text(m.value(i), level + 1);
        }
        return;
      }
      case what::record: {
        const record_view r = v.record().value();
        out_("record "), out_(json_quoted(r.type().name));
        for (std::size_t i = 0; i < r.size(); ++i) {
          if (r.state(i) == state::absent) continue;
          indent(level + 1), out_(r.type().fields[i].name), out_(": "), text(r[i], level + 1);
        }
        return;
      }
      default: {
        const nd_view n = v.nd().value();
        out_("ndarray "), out_(n.dtype().empty() ? name_of(n.element()) : n.dtype());
        for (const std::uint64_t extent : n.shape()) out_(" x "), out_(std::to_string(extent));
        return;
      }
    }
  }

  write out_;
  dump_options o_;
  std::uint64_t left_;
};

// The record types of a blob, as declarations.
inline std::string schema_text(const std::vector<type_info>& types, bool json = false) {
  std::string out = json ? "[" : "";
  for (std::size_t i = 0; i < types.size(); ++i) {
    const type_info& t = types[i];
    if (json)
      out += (i ? ", {\"name\": " : "{\"name\": ") + json_quoted(t.name) +
             ", \"bytes\": " + std::to_string(t.record_bytes) + ", \"fields\": [";
    else
      out += "record " + json_quoted(t.name) + " (" + std::to_string(t.record_bytes) + " bytes)\n";
    for (std::size_t k = 0; k < t.fields.size(); ++k) {
      const field_info& f = t.fields[k];
      std::string type_name = name_of(f.type);
      if (f.element != type::none) type_name += std::string(" of ") + name_of(f.element);
      if (f.record_type < types.size())
        type_name += (f.type == type::record ? " " : " of ") + json_quoted(types[f.record_type].name);
      if (json)
        out +=
            std::string(k ? ", " : "") + "{\"number\": " + std::to_string(f.number) +
            ", \"name\": " + json_quoted(f.name) + ", \"type\": " + json_quoted(name_of(f.type)) +
            ", \"offset\": " + std::to_string(f.offset) +
            (f.element != type::none ? std::string(", \"element\": \"") + name_of(f.element) + "\"" : "") +
            (f.record_type < types.size() ? ", \"record\": " + json_quoted(types[f.record_type].name) : "") +
            "}";
      else
        out += "  " + std::to_string(f.number) + " " + f.name + ": " + type_name + " @" +
               std::to_string(f.offset) + "\n";
    }
    if (json) out += "]}";
  }
  return out + (json ? "]\n" : "");
}

}  // namespace spillway::typed
