// encode.cc - Python objects into a blob under construction.
#include <pybind11/numpy.h>

#include <limits>

#include "common.h"

namespace spillway::python {

using typed::any;
using typed::code;
using typed::errc;
using typed::fail;
using typed::item;
using typed::type;

namespace {

std::string_view text_of(py::handle s) {
  Py_ssize_t n = 0;
  const char* p = PyUnicode_AsUTF8AndSize(s.ptr(), &n);
  if (!p) throw py::error_already_set();
  return {p, static_cast<std::size_t>(n)};
}

std::string type_name(py::handle v) { return py::str(py::type::handle_of(v).attr("__name__")); }

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

bool is(py::handle v, const py::object& cls) { return PyObject_IsInstance(v.ptr(), cls.ptr()) == 1; }

// True when it is an int of 64 bits; sets what it is.
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

item float_item(double d) { return typed::scalar_item(code::f64, std::bit_cast<std::uint64_t>(d)); }

type element_of(const py::dtype& d) {
  if (py::str(d.attr("byteorder")).cast<std::string>() == ">") return type::none;
  switch (d.kind()) {
    case 'b':
      return type::boolean;
    case 'f':
      return d.itemsize() == 4 ? type::f32 : d.itemsize() == 8 ? type::f64 : type::none;
    case 'i':
      return d.itemsize() == 1   ? type::i8
             : d.itemsize() == 2 ? type::i16
             : d.itemsize() == 4 ? type::i32
                                 : type::i64;
    case 'u':
      return d.itemsize() == 1   ? type::u8
             : d.itemsize() == 2 ? type::u16
             : d.itemsize() == 4 ? type::u32
                                 : type::u64;
    default:
      return type::none;
  }
}

}  // namespace

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

item Encoder::encode(py::handle v, unsigned level) {
  PyObject* p = v.ptr();
  if (p == Py_None) return typed::null_item();
  if (PyBool_Check(p)) return typed::scalar_item(code::boolean, p == Py_True);
  if (PyLong_CheckExact(p)) return integer_item(v);
  if (PyFloat_CheckExact(p)) return float_item(PyFloat_AS_DOUBLE(p));
  if (PyUnicode_Check(p)) return b_.encode_text(text_of(v));
  if (PyBytes_Check(p))
    return b_.encode_bytes({PyBytes_AS_STRING(p), static_cast<std::size_t>(PyBytes_GET_SIZE(p))});
  if (level > typed::kMaxDepth)
    fail(errc::too_deep, "a value: nested deeper than 255 levels, or within itself");
  if (const auto had = seen_.find(p); had != seen_.end()) return had->second;
  const item made = compound(v, level);
  if (made.is_ref()) {
    seen_.emplace(p, made);
    keep_.push_back(py::reinterpret_borrow<py::object>(v));
  }
  return made;
}

item Encoder::compound(py::handle v, unsigned level) {
  PyObject* p = v.ptr();
  const Helpers& h = helpers();
  if (PyList_Check(p)) return ref_item(sequence(v, false, level));
  if (is(v, h.instant)) return b_.encode_instant(instant_of(v));
  if (PyTuple_Check(p)) return ref_item(sequence(v, true, level));
  if (PyDict_Check(p)) return ref_item(mapping(v, level));
  if (PyAnySet_Check(p)) return ref_item(set(v, level));
  if (PyByteArray_Check(p))
    return b_.encode_bytes({PyByteArray_AS_STRING(p), static_cast<std::size_t>(PyByteArray_GET_SIZE(p))});
  if (PyLong_Check(p)) return integer_item(v);
  if (PyFloat_Check(p)) return float_item(PyFloat_AS_DOUBLE(p));
  if (is(v, h.record_base)) return ref_item(record(v, py::type::handle_of(v), level));
  if (is(v, h.numpy.attr("ndarray"))) return ref_item(ndarray(v));
  if (is(v, h.numpy.attr("generic"))) {
    if (is(v, h.numpy.attr("float32")))
      return typed::scalar_item(code::f32, std::bit_cast<std::uint32_t>(v.cast<float>()));
    const py::object native = v.attr("item")();
    if (is(native, h.numpy.attr("generic")))
      throw py::type_error("cannot store a numpy scalar of type " + type_name(v));
    return encode(native, level + 1);
  }
  if (PyMemoryView_Check(p)) {
    const py::bytes flat = v.attr("tobytes")();
    return ref_item(b_.buffer(std::string_view(flat)));
  }
  if (is(v, h.decimal)) return ref_item(b_.decimal(decimal_of(v)));
  if (is(v, h.datetime)) return b_.encode(datetime_of(v));
  if (is(v, h.date)) return b_.encode_date(date_of(v));
  if (is(v, h.time)) return b_.encode_time(time_of(v));
  if (py::isinstance<Ref>(v)) {
    const Ref& r = v.cast<Ref&>();
    if (r.builder != &b_) throw py::value_error("a Ref of another builder");
    return ref_item(r.ref);
  }
  // Views are copied as they are stored.
  const auto copy = [&](const HolderPtr& holder, const typed::object& o) {
    for (auto& [known, copier] : copiers_)
      if (known == holder) return copier->copy(typed::any_view::of_object(holder->doc(), o.position));
    copiers_.emplace_back(holder, std::make_unique<typed::copier>(holder->doc(), b_));
    return copiers_.back().second->copy(typed::any_view::of_object(holder->doc(), o.position));
  };
  if (py::isinstance<RecordView>(v))
    return copy(v.cast<RecordView&>().holder, v.cast<RecordView&>().record.object());
  if (py::isinstance<SetView>(v)) return copy(v.cast<SetView&>().holder, v.cast<SetView&>().set.object());
  if (py::isinstance<MapView>(v)) return copy(v.cast<MapView&>().holder, v.cast<MapView&>().map.object());
  if (py::isinstance<ListView>(v)) {
    const ListView& l = v.cast<ListView&>();
    if (l.list.is_whole()) return copy(l.holder, l.list.object());
    return ref_item(sequence(v, l.list.is_tuple(), level));
  }
  // Classes of the sharedbuffers kind: plain objects whose class has a schema.
  const py::handle cls = py::type::handle_of(v);
  if (py::hasattr(cls, "_spillway_spec")) return ref_item(record(v, cls, level));
  throw py::type_error("cannot store a " + type_name(v) +
                       "; expected None, bool, int, float, str, bytes, memoryview, list, tuple, set, dict, "
                       "Decimal, date, datetime, time, a numpy array, or a Record");
}

typed::ref Encoder::sequence(py::handle v, bool tuple, unsigned level) {
  const py::object fast = py::reinterpret_steal<py::object>(PySequence_Fast(v.ptr(), "a sequence"));
  if (!fast) throw py::error_already_set();
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(fast.ptr());
  PyObject** items = PySequence_Fast_ITEMS(fast.ptr());
  // 1. All of one kind of number: an array.
  if (n > 0 && (PyLong_CheckExact(items[0]) || PyFloat_CheckExact(items[0]) || PyBool_Check(items[0]))) {
    PyTypeObject* const kind = Py_TYPE(items[0]);
    bool same = true;
    for (Py_ssize_t i = 1; same && i < n; ++i) same = Py_TYPE(items[i]) == kind;
    if (same && kind == &PyFloat_Type) {
      std::vector<double> values;
      for (Py_ssize_t i = 0; i < n; ++i) values.push_back(PyFloat_AS_DOUBLE(items[i]));
      return b_.array(std::span<const double>(values), tuple);
    }
    if (same && kind == &PyBool_Type) {
      std::vector<char> values;
      for (Py_ssize_t i = 0; i < n; ++i) values.push_back(items[i] == Py_True);
      return b_.array(type::boolean, values.data(), values.size(), tuple);
    }
    if (same) {
      std::vector<std::int64_t> values(static_cast<std::size_t>(n));
      std::vector<std::uint64_t> large(static_cast<std::size_t>(n));
      bool negative = false, beyond = false;
      for (Py_ssize_t i = 0; i < n; ++i) {
        const auto k = static_cast<std::size_t>(i);
        bool is_unsigned = false;
        if (!integer_of(items[i], values[k], large[k], is_unsigned)) (void)integer_item(items[i]);  // raises
        if (!is_unsigned) large[k] = static_cast<std::uint64_t>(values[k]);
        beyond = beyond || is_unsigned, negative = negative || (!is_unsigned && values[k] < 0);
      }
      if (!beyond) return b_.integers(std::span<const std::int64_t>(values), tuple);
      if (!negative) return b_.array(std::span<const std::uint64_t>(large), tuple);
    }
  }
  // 2. Anything.
  std::vector<item> out;
  out.reserve(static_cast<std::size_t>(n));
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast.ptr()); ++i)
    out.push_back(encode(PySequence_Fast_GET_ITEM(fast.ptr(), i), level + 1));
  return b_.list(out, tuple);
}

typed::ref Encoder::set(py::handle v, unsigned level) {
  std::vector<std::int64_t> whole;
  std::vector<double> real;
  std::size_t n = 0;
  for (const py::handle e : v) {
    ++n;
    std::int64_t i = 0;
    std::uint64_t u = 0;
    bool is_unsigned = false;
    if (PyLong_CheckExact(e.ptr()) && integer_of(e, i, u, is_unsigned) && !is_unsigned)
      whole.push_back(i);
    else if (PyFloat_CheckExact(e.ptr()) && PyFloat_AS_DOUBLE(e.ptr()) == PyFloat_AS_DOUBLE(e.ptr()))
      real.push_back(PyFloat_AS_DOUBLE(e.ptr()));
    else
      break;
  }
  if (whole.size() == n && n) return b_.integer_set(std::move(whole));
  if (real.size() == n && n) return b_.number_set(std::move(real));
  typed::map_builder members(b_, typed::flavour::set, typed::duplicates::first);
  for (const py::handle e : v) {
    const std::uint64_t h = typed::hash_of(key_of(e));
    members.put_item(encode(e, level + 1), h, {});
  }
  return members.finish();
}

typed::ref Encoder::mapping(py::handle v, unsigned level) {
  typed::map_builder entries(b_, typed::flavour::object, typed::duplicates::last);
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(v.ptr(), &at, &key, &value)) {
    const std::uint64_t h = typed::hash_of(key_of(key));
    const item k = encode(key, level + 1);
    entries.put_item(k, h, encode(value, level + 1));
  }
  return entries.finish();
}

typed::ref Encoder::ndarray(py::handle v) {
  const py::array a = py::array::ensure(helpers().numpy.attr("ascontiguousarray")(v));
  if (!a) throw py::error_already_set();
  const py::array given = py::reinterpret_borrow<py::array>(v);
  std::vector<std::uint64_t> shape;
  for (py::ssize_t i = 0; i < given.ndim(); ++i) shape.push_back(static_cast<std::uint64_t>(given.shape(i)));
  const type element = element_of(a.dtype());
  std::string dtype;
  if (element == type::none) dtype = helpers().dtype_to_json(a.dtype()).cast<std::string>();
  return b_.nd(element, dtype, static_cast<std::uint64_t>(a.itemsize()), shape,
               {static_cast<const char*>(a.data()), static_cast<std::size_t>(a.nbytes())});
}

std::uint32_t Encoder::type_of(py::handle cls) {
  if (const auto had = types_.find(cls.ptr()); had != types_.end()) return had->second;
  // (name, ((number, field, type, element, record class or None, explicit), ...))
  const py::tuple spec = cls.attr("_spillway_spec");
  typed::registry& r = b_.registry();
  const std::uint32_t index = r.reserve(spec[0].cast<std::string>());
  types_[cls.ptr()] = index;
  keep_.push_back(py::reinterpret_borrow<py::object>(cls));
  std::vector<typed::field_info> fields;
  for (const py::handle f : spec[1]) {
    const py::tuple t = py::reinterpret_borrow<py::tuple>(f);
    typed::field_info info{t[1].cast<std::string>(),
                           t[0].cast<std::uint32_t>(),
                           0,
                           static_cast<type>(t[2].cast<int>()),
                           static_cast<type>(t[3].cast<int>()),
                           typed::kNoType};
    if (!t[4].is_none()) info.record_type = type_of(t[4]);
    fields.push_back(std::move(info));
  }
  r.define(index, std::move(fields));
  return index;
}

typed::ref Encoder::record(py::handle v, py::handle cls, unsigned level) {
  const std::uint32_t index = type_of(cls);
  typed::builder::record_draft d(b_, index);
  const std::size_t n = d.type().fields.size();
  for (std::size_t i = 0; i < n; ++i) {
    PyObject* value = PyObject_GetAttrString(v.ptr(), d.field(i).name.c_str());
    if (!value) {
      if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw py::error_already_set();
      PyErr_Clear();
      continue;  // absent
    }
    const py::object held = py::reinterpret_steal<py::object>(value);
    if (held.is_none())
      d.set_null(i);
    else
      put_field(d, i, held, level);
  }
  return d.place();
}

typed::ref Encoder::packed_array(py::handle v, type element, const char* field) {
  const py::object dtype = helpers().numpy.attr("dtype")(std::string(typed::name_of(element)));
  const py::object source =
      py::isinstance<ListView>(v) ? v.attr("numpy")() : py::reinterpret_borrow<py::object>(v);
  const py::array natural = py::array::ensure(helpers().numpy.attr("asarray")(source));
  const py::array exact = py::array::ensure(helpers().numpy.attr("ascontiguousarray")(natural, dtype));
  if (!exact || exact.ndim() != 1)
    throw py::type_error(std::string(field) + ": expected a flat sequence of numbers");
  if (natural.size() && !helpers().numpy.attr("array_equal")(natural, exact).cast<bool>() &&
      typed::is_integer(element))
    fail(errc::value_range,
         std::string(field) + ": a number that " + typed::name_of(element) + " cannot hold");
  return b_.array(element, exact.data(), static_cast<std::uint64_t>(exact.size()));
}

void Encoder::put_field(typed::builder::record_draft& d, std::size_t i, py::handle v, unsigned level) {
  const typed::field_info f = d.field(i);
  const std::uint64_t at = f.offset;
  const auto wrong = [&]() {
    return py::type_error(d.type().name + "." + f.name + ": expected " + typed::name_of(f.type) + ", got " +
                          type_name(v));
  };
  if (typed::is_integer(f.type)) {
    if (!PyLong_Check(v.ptr()) && !PyIndex_Check(v.ptr())) throw wrong();
    const py::object whole = py::reinterpret_steal<py::object>(PyNumber_Index(v.ptr()));
    if (!whole) throw py::error_already_set();
    std::int64_t s = 0;
    std::uint64_t u = 0;
    bool is_unsigned = false;
    bool fits = integer_of(whole, s, u, is_unsigned);
    fits = fits && typed::with_element(f.type, [&](auto like) {
             using T = decltype(like);
             if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
               if (is_unsigned ? !std::in_range<T>(u) : !std::in_range<T>(s)) return false;
               d.bytes().put(at, is_unsigned ? static_cast<T>(u) : static_cast<T>(s));
               return true;
             } else
               return false;
           });
    if (!fits) {
      PyErr_Format(PyExc_OverflowError, "%s.%s: %R does not fit %s", d.type().name.c_str(), f.name.c_str(),
                   v.ptr(), typed::name_of(f.type));
      throw py::error_already_set();
    }
    return d.mark_set(i);
  }
  switch (f.type) {
    case type::boolean:
      if (!PyBool_Check(v.ptr()) && !is(v, helpers().numpy.attr("bool_"))) throw wrong();
      d.bytes().put(at, PyObject_IsTrue(v.ptr()) == 1);
      return d.mark_set(i);
    case type::f32:
    case type::f64: {
      if (!PyFloat_Check(v.ptr()) && !PyLong_Check(v.ptr()) && !is(v, helpers().numpy.attr("number")))
        throw wrong();
      const double value = PyFloat_AsDouble(v.ptr());
      if (value == -1 && PyErr_Occurred()) throw py::error_already_set();
      if (f.type == type::f64)
        d.bytes().put(at, value);
      else
        d.bytes().put(at, static_cast<float>(value));
      return d.mark_set(i);
    }
    case type::date:
      if (!is(v, helpers().date) || is(v, helpers().datetime)) throw wrong();
      d.bytes().put(at, date_of(v).days);
      return d.mark_set(i);
    case type::text:
      if (!PyUnicode_Check(v.ptr())) throw wrong();
      d.bytes().put(at, b_.text(text_of(v)));
      return d.mark_set(i);
    case type::bytes:
    case type::buffer: {
      if (!PyObject_CheckBuffer(v.ptr()) || PyUnicode_Check(v.ptr())) throw wrong();
      const py::bytes flat =
          PyBytes_Check(v.ptr())
              ? py::reinterpret_borrow<py::bytes>(v)
              : py::bytes(py::memoryview(py::reinterpret_borrow<py::object>(v)).attr("tobytes")());
      d.bytes().put(
          at, f.type == type::bytes ? b_.bytes(std::string_view(flat)) : b_.buffer(std::string_view(flat)));
      return d.mark_set(i);
    }
    case type::array:
      if (f.element != type::none) {
        d.bytes().put(at, packed_array(v, f.element, f.name.c_str()));
        return d.mark_set(i);
      }
      break;
    case type::instant:
      if (is(v, helpers().datetime) && v.attr("utcoffset")().is_none())
        throw py::type_error(d.type().name + "." + f.name + ": expected a datetime with a time zone");
      break;
    default:
      break;
  }
  // What a list, a set or a map may come from: any sequence, set or mapping of Python's, and views.
  const auto view_of = [&](typed::kind k) { return py::isinstance<ListView>(v) && k == typed::kind::list; };
  py::object value = py::reinterpret_borrow<py::object>(v);
  if (f.type == type::list && !PyList_Check(v.ptr()) && !view_of(typed::kind::list)) {
    if (PyUnicode_Check(v.ptr()) || !PyIter_Check(py::iter(v).ptr())) throw wrong();
    value = py::list(value);
  } else if (f.type == type::list && view_of(typed::kind::list) && v.cast<ListView&>().list.is_tuple())
    value = py::list(value);
  else if (f.type == type::tuple && !PyTuple_Check(v.ptr()) &&
           !(view_of(typed::kind::list) && v.cast<ListView&>().list.is_tuple()))
    value = py::tuple(value);
  else if (f.type == type::set && !PyAnySet_Check(v.ptr()) && !py::isinstance<SetView>(v))
    value = py::set(value);
  const Helpers& h = helpers();
  if ((f.type == type::record && !is(v, h.record_base) && !py::isinstance<RecordView>(v) &&
       !py::hasattr(py::type::handle_of(v), "_spillway_spec")) ||
      (f.type == type::map && !PyDict_Check(v.ptr()) && !py::isinstance<MapView>(v)) ||
      (f.type == type::nd && !is(v, h.numpy.attr("ndarray"))) ||
      (f.type == type::decimal && !is(v, h.decimal)))
    throw wrong();
  const item made = encode(value, level + 1);
  if (typed::is_slot(f.type)) {
    const bool fits = f.type == type::any ||
                      (f.type == type::instant && (made.s.what == code::instant || made.is_ref())) ||
                      (f.type == type::local_time && made.s.what == code::local_time) ||
                      (f.type == type::time_of_day && made.s.what == code::time_of_day);
    if (!fits) throw wrong();
    d.bytes().put(at, made);
    return d.mark_set(i);
  }
  d.bytes().put(at, typed::ref{made.s.payload, made.depth, typed::kind::padding});
  d.mark_set(i);
}

}  // namespace spillway::python
