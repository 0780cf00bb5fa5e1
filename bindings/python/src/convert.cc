// convert.cc - Python's texts, numbers, times and keys as native values.
#include "convert.h"

#include <cmath>

namespace spillway::python {

using typed::any;
using typed::code;
using typed::item;

namespace {

// The microseconds behind a timedelta-free reading of the fields, since 1970.
std::int64_t wall_us(py::handle t) {
  const auto field = [&](const char* name) { return t.attr(name).cast<std::int64_t>(); };
  const std::int64_t days = typed::date::civil(t.attr("year").cast<int>(), t.attr("month").cast<unsigned>(),
                                               t.attr("day").cast<unsigned>())
                                .days;
  return ((days * 24 + field("hour")) * 60 + field("minute")) * 60000000 + field("second") * 1000000 +
         field("microsecond");
}

// utcoffset() in seconds, kNoOffset when there is none. Offsets of less than a second are refused.
std::int32_t offset_of(py::handle t) {
  const py::object delta = t.attr("utcoffset")();
  if (delta.is_none()) return typed::kNoOffset;
  if (delta.attr("microseconds").cast<int>() != 0)
    throw py::value_error("a time zone's offset must be whole seconds");
  return delta.attr("days").cast<std::int32_t>() * 86400 + delta.attr("seconds").cast<std::int32_t>();
}

}  // namespace

std::string_view text_of(py::handle s) {
  Py_ssize_t n = 0;
  const char* p = PyUnicode_AsUTF8AndSize(s.ptr(), &n);
  if (!p) throw py::error_already_set();
  return {p, static_cast<std::size_t>(n)};
}

std::string type_name(py::handle v) { return py::str(py::type::handle_of(v).attr("__name__")); }

typed::date date_of(py::handle d) {
  return typed::date::civil(d.attr("year").cast<int>(), d.attr("month").cast<unsigned>(),
                            d.attr("day").cast<unsigned>());
}

any datetime_of(py::handle t) {
  const std::int32_t offset = offset_of(t);
  const std::int64_t wall = wall_us(t);
  if (offset == typed::kNoOffset)
    return typed::local_time{wall, typed::unit::us, static_cast<std::uint8_t>(t.attr("fold").cast<int>())};
  typed::instant i{wall - offset * std::int64_t{1000000}, typed::unit::us, offset};
  const py::object zone = t.attr("tzinfo");
  if (py::hasattr(zone, "key") && py::isinstance<py::str>(zone.attr("key")))
    i.zone = zone.attr("key").cast<std::string>();
  return i;
}

typed::time_of_day time_of(py::handle t) {
  if (!t.attr("tzinfo").is_none() && t.attr("utcoffset")().is_none())
    throw py::type_error("a time in " + py::str(t.attr("tzinfo")).cast<std::string>() +
                         ": expected a zone with a fixed offset, or a datetime");
  const auto field = [&](const char* name) { return t.attr(name).cast<std::int64_t>(); };
  return {((field("hour") * 60 + field("minute")) * 60 + field("second")) * 1000000000 +
              field("microsecond") * 1000,
          offset_of(t)};
}

typed::instant instant_of(py::handle v) {
  typed::instant i{v.attr("ticks").cast<std::int64_t>(),
                   static_cast<typed::unit>(v.attr("unit").cast<int>())};
  if (!v.attr("offset").is_none()) i.offset_s = v.attr("offset").cast<std::int32_t>();
  if (!v.attr("zone").is_none()) i.zone = v.attr("zone").cast<std::string>();
  return i;
}

typed::decimal decimal_of(py::handle v) {
  return typed::decimal::parse(py::str(v).cast<std::string>()).value();
}

bool integer_of(py::handle v, std::int64_t& i, std::uint64_t& u, bool& is_unsigned) {
  int overflow = 0;
  i = PyLong_AsLongLongAndOverflow(v.ptr(), &overflow);
  if (i == -1 && PyErr_Occurred()) throw py::error_already_set();
  is_unsigned = overflow > 0;
  if (overflow < 0) return false;
  if (overflow == 0) return true;
  u = PyLong_AsUnsignedLongLong(v.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    return false;
  }
  return true;
}

bool real_of(py::handle v, typed::type t, double& d) {
  d = PyFloat_AsDouble(v.ptr());
  if (d == -1 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) throw py::error_already_set();
    PyErr_Clear();
    return false;
  }
  return t == typed::type::f64 || !std::isfinite(d) || std::isfinite(static_cast<float>(d));
}

void throw_unfit(const std::string& field, typed::type t, py::handle value) {
  PyErr_Format(PyExc_OverflowError, "%s: %R does not fit %s", field.c_str(), value.ptr(), typed::name_of(t));
  throw py::error_already_set();
}

item integer_item(py::handle v) {
  std::int64_t i = 0;
  std::uint64_t u = 0;
  bool is_unsigned = false;
  if (!integer_of(v, i, u, is_unsigned)) {
    PyErr_SetString(PyExc_OverflowError, "an int of more than 64 bits; store it as Decimal or text");
    throw py::error_already_set();
  }
  return is_unsigned ? typed::scalar_item(code::uinteger, u)
                     : typed::scalar_item(code::integer, static_cast<std::uint64_t>(i));
}

any key_of(py::handle v) {
  PyObject* p = v.ptr();
  if (v.is_none()) return nullptr;
  if (PyBool_Check(p)) return p == Py_True;
  if (PyLong_Check(p)) {
    std::int64_t i = 0;
    std::uint64_t u = 0;
    bool is_unsigned = false;
    if (integer_of(v, i, u, is_unsigned)) return is_unsigned ? any(u) : any(i);
    return typed::decimal::parse(py::str(v).cast<std::string>())
        .value();  // no key in a blob, or an equal decimal
  }
  if (PyFloat_Check(p)) return PyFloat_AS_DOUBLE(p);
  if (PyUnicode_Check(p)) return text_of(v);
  if (PyBytes_Check(p))
    return typed::bytes{std::string(PyBytes_AS_STRING(p), static_cast<std::size_t>(PyBytes_GET_SIZE(p)))};
  const Helpers& h = helpers();
  if (is(v, h.decimal)) return decimal_of(v);
  if (is(v, h.datetime)) return datetime_of(v);
  if (is(v, h.date)) return date_of(v);
  if (is(v, h.time)) return time_of(v);
  if (is(v, h.instant)) return instant_of(v);
  if (is(v, h.numpy.attr("generic"))) return key_of(v.attr("item")());
  const bool tuple = PyTuple_Check(p) || (py::isinstance<ListView>(v) && v.cast<ListView&>().list.is_tuple());
  if (tuple || PyAnySet_Check(p) || py::isinstance<SetView>(v)) {
    std::vector<any> items;
    for (const py::handle e : v) items.push_back(key_of(e));
    if (tuple) return typed::any_tuple{std::move(items)};
    return typed::any_set{std::move(items)};
  }
  throw py::type_error("unhashable as a key: '" + type_name(v) + "'");
}

}  // namespace spillway::python
