// encode_record.cc - records, by the fields their class declares, and arrays of numbers, into a blob.
#include <pybind11/numpy.h>

#include <utility>

#include "convert.h"

namespace spillway::python {

using typed::code;
using typed::errc;
using typed::fail;
using typed::item;
using typed::type;

namespace {

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

typed::ref Encoder::ndarray(py::handle v) {
  if (is(v, helpers().numpy.attr("ma").attr("MaskedArray")))
    throw py::type_error(
        "cannot store a masked array: its mask would be lost; expected filled() or compressed()");
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
  if (names_.size() <= index) names_.resize(index + 1);
  if (names_[index].empty())
    for (std::size_t i = 0; i < n; ++i)
      names_[index].push_back(
          py::reinterpret_steal<py::object>(PyUnicode_InternFromString(d.field(i).name.c_str())));
  for (std::size_t i = 0; i < n; ++i) {
    PyObject* value = PyObject_GetAttr(v.ptr(), names_[index][i].ptr());
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

typed::ref Encoder::packed_array(py::handle v, type element, const std::string& field) {
  const auto exact =
      py::array::ensure(helpers().packed_array(v, std::string(typed::name_of(element)), field));
  return b_.array(element, exact.data(), static_cast<std::uint64_t>(exact.size()));
}

namespace {

bool is_iterable(py::handle v) {
  const py::object it = py::reinterpret_steal<py::object>(PyObject_GetIter(v.ptr()));
  if (!it && !PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
  PyErr_Clear();
  return static_cast<bool>(it);
}

}  // namespace

// Whether a record, or a view of one, is of a declared type: of its class, of one derived from it, or of its
// name. A view whose class nobody has declared here may be of a derived one.
bool Encoder::is_of(py::handle v, std::uint32_t declared) {
  if (declared == typed::kNoType) return true;
  const py::handle own = py::type::handle_of(v);
  if (const auto known = types_.find(own.ptr()); known != types_.end() && known->second == declared)
    return true;
  const std::string& name = b_.registry().types()[declared].name;
  py::object cls = py::reinterpret_borrow<py::object>(own);
  if (py::isinstance<RecordView>(v)) {
    const RecordView& r = v.cast<RecordView&>();
    if (r.record.type().name == name || r.access->cls.is_none()) return true;
    cls = r.access->cls;
  }
  if (py::tuple(cls.attr("_spillway_spec"))[0].cast<std::string>() == name) return true;
  for (const auto& [known, index] : types_)
    if (index == declared && PyObject_IsSubclass(cls.ptr(), known) == 1) return true;
  return false;
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
    if (!fits) throw_unfit(d.type().name + "." + f.name, f.type, v);
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
      double value = 0;
      if (!real_of(v, f.type, value)) throw_unfit(d.type().name + "." + f.name, f.type, v);
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
        d.bytes().put(at, packed_array(v, f.element, d.type().name + "." + f.name));
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
  const bool is_list_view = py::isinstance<ListView>(v),
             is_tuple_view = is_list_view && v.cast<ListView&>().list.is_tuple();
  py::object value = py::reinterpret_borrow<py::object>(v);
  const auto made_by = [&](PyTypeObject& native) {
    if (PyUnicode_Check(v.ptr()) || !is_iterable(v)) throw wrong();
    return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(&native))(v);
  };
  if (f.type == type::list && !PyList_Check(v.ptr()) && (!is_list_view || is_tuple_view))
    value = made_by(PyList_Type);
  else if (f.type == type::tuple && !PyTuple_Check(v.ptr()) && !is_tuple_view)
    value = made_by(PyTuple_Type);
  else if (f.type == type::set && !PyAnySet_Check(v.ptr()) && !py::isinstance<SetView>(v))
    value = made_by(PySet_Type);
  const Helpers& h = helpers();
  if ((f.type == type::record && !is(v, h.record_base) && !py::isinstance<RecordView>(v) &&
       !py::hasattr(py::type::handle_of(v), "_spillway_spec")) ||
      (f.type == type::map && !PyDict_Check(v.ptr()) && !py::isinstance<MapView>(v)) ||
      (f.type == type::nd && !is(v, h.numpy.attr("ndarray"))) ||
      (f.type == type::decimal && !is(v, h.decimal)))
    throw wrong();
  if (f.type == type::record && !is_of(v, f.record_type))
    throw py::type_error(d.type().name + "." + f.name + ": expected record " +
                         b_.registry().types()[f.record_type].name + ", got " + type_name(v));
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
