// encode.cc - Python objects into a blob under construction.
#include "convert.h"

namespace spillway::python {

using typed::code;
using typed::errc;
using typed::fail;
using typed::item;
using typed::type;

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
    // Of a datetime64 or a timedelta64 of nanoseconds, item() is a bare int.
    const bool bare = is(v, h.numpy.attr("datetime64")) || is(v, h.numpy.attr("timedelta64"));
    if (is(native, h.numpy.attr("generic")) || (bare && PyLong_Check(native.ptr())))
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
    if (r.builder != id_) throw py::value_error("a Ref of another builder; expected one of this builder's");
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
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast.ptr()); ++i) {
    // Held: what encoding runs (a property, a time zone) may take it out of the list.
    const auto held = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(fast.ptr(), i));
    out.push_back(encode(held, level + 1));
  }
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
  const Py_ssize_t size = PyDict_Size(v.ptr());
  while (PyDict_Next(v.ptr(), &at, &key, &value)) {
    const auto held_key = py::reinterpret_borrow<py::object>(key);
    const auto held_value = py::reinterpret_borrow<py::object>(value);
    const std::uint64_t h = typed::hash_of(key_of(key));
    const item k = encode(key, level + 1);
    entries.put_item(k, h, encode(value, level + 1));
    if (PyDict_Size(v.ptr()) != size) throw std::runtime_error("a dict changed size while it was stored");
  }
  return entries.finish();
}

}  // namespace spillway::python
