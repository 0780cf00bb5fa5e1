// record_view.cc - records by attribute: fields read where they lie, and, where permitted, written there.
#include "arguments.h"
#include "convert.h"

namespace spillway::python {

using typed::errc;
using typed::state;

TypeAccess& Holder::access(std::uint64_t i) {
  if (types.size() < doc().types.size()) types.resize(doc().types.size());
  if (types[i]) return *types[i];
  auto a = std::make_unique<TypeAccess>();
  const typed::type_info& t = doc().types[i];
  const auto intern = [](const std::string& s) {
    PyObject* p = PyUnicode_FromStringAndSize(s.data(), static_cast<Py_ssize_t>(s.size()));
    PyUnicode_InternInPlace(&p);
    return py::reinterpret_steal<py::object>(p);
  };
  for (std::size_t k = 0; k < t.fields.size(); ++k) {
    a->names.push_back(intern(t.fields[k].name));
    a->by_name[a->names.back().ptr()] = static_cast<int>(k);
  }
  // Fields that the reader's class numbers explicitly are found by number, whatever the writer called them.
  a->cls = helpers().classes.attr("get")(t.name);
  if (!a->cls.is_none()) {
    const py::tuple spec = a->cls.attr("_spillway_spec");
    for (const py::handle f : spec[1]) {
      const py::tuple field = py::reinterpret_borrow<py::tuple>(f);
      const py::object name = intern(field[1].cast<std::string>());
      if (field[5].cast<bool>()) {
        a->by_name[name.ptr()] = -1;
        for (std::size_t k = 0; k < t.fields.size(); ++k)
          if (t.fields[k].number == field[0].cast<std::uint32_t>())
            a->by_name[name.ptr()] = static_cast<int>(k);
      } else
        a->by_name.emplace(name.ptr(), -1);
      a->aliases.push_back(name);
    }
  }
  types[i] = std::move(a);
  return *types[i];
}

namespace {

template <class T>
T& self_of(PyObject* p) {
  return *static_cast<T*>(reinterpret_cast<py::detail::instance*>(p)->simple_value_holder[0]);
}

[[noreturn]] void raise_absent(const RecordView& r, PyObject* name) {
  PyErr_Format(PyExc_AttributeError, "field '%U' of %s is absent", name, r.record.type().name.c_str());
  throw py::error_already_set();
}

// The field, or -2: no field of that name.
int find_field(const RecordView& r, PyObject* name) {
  const auto& names = r.access->by_name;
  if (const auto f = names.find(name); f != names.end()) return f->second;
  for (const auto& [known, i] : names)  // a name that was not interned
    if (PyUnicode_Compare(known, name) == 0) return i;
  return -2;
}

PyObject* field_value(const RecordView& r, int i, PyObject* name) {
  const auto k = static_cast<std::size_t>(i);
  if (i < 0) raise_absent(r, name);
  const state s = r.record.state(k);
  if (s == state::absent) raise_absent(r, name);
  if (s == state::null) Py_RETURN_NONE;
  const typed::field_info& f = r.record.type().fields[k];
  const std::byte* at = r.record.object().at() + f.offset;
  switch (f.type) {  // the commonest without a detour
    case typed::type::i64:
      return PyLong_FromLongLong(typed::load<std::int64_t>(at));
    case typed::type::f64:
      return PyFloat_FromDouble(typed::load<double>(at));
    case typed::type::i32:
      return PyLong_FromLong(typed::load<std::int32_t>(at));
    case typed::type::boolean:
      return PyBool_FromLong(typed::load<bool>(at));
    case typed::type::date: {
      const typed::date d{typed::load<std::int32_t>(at)};
      if (!d.valid()) raise({errc::bad_value, 0, 0, "a year from 1 to 9999", nullptr});
      const auto [year, month, day] = d.ymd();
      return helpers().date(year, month, day).release().ptr();
    }
    default:
      return to_python(r.record[k], r.holder).release().ptr();
  }
}

PyObject* record_getattro(PyObject* self, PyObject* name) {
  try {
    const RecordView& r = self_of<RecordView>(self);
    const auto& names = r.access->by_name;
    const auto f = names.find(name);
    const int i = f != names.end() ? f->second : -2;
    if (i != -2) return field_value(r, i, name);
    if (PyObject* own = PyObject_GenericGetAttr(self, name)) return own;
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return nullptr;
    PyErr_Clear();
    if (const int slow = find_field(r, name); slow != -2) return field_value(r, slow, name);
    // What the Record class defines beside fields: methods and properties work on views too.
    const py::object& cls = r.access->cls;
    if (PyUnicode_GET_LENGTH(name) > 0 && !cls.is_none()) {
      if (PyObject* found = _PyType_Lookup(reinterpret_cast<PyTypeObject*>(cls.ptr()), name)) {
        // Descriptors of an object's own memory (__dict__, __slots__) are of objects of that class alone.
        const bool of_memory = Py_TYPE(found) == &PyGetSetDescr_Type || Py_TYPE(found) == &PyMemberDescr_Type;
        if (auto* get = Py_TYPE(found)->tp_descr_get; get && !of_memory) return get(found, self, cls.ptr());
        if (!of_memory) {
          Py_INCREF(found);
          return found;
        }
      }
    }
    PyErr_Format(PyExc_AttributeError, "%s has no field '%U'", r.record.type().name.c_str(), name);
    return nullptr;
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const typed::failure& e) {
    PyErr_SetString(helpers().error.ptr(), e.what());
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return nullptr;
}

// A field of fixed size that may be written, as its address; raises what prevents it.
std::byte* target(const RecordView& r, PyObject* name, typed::type& t) {
  if (!PyUnicode_Check(name)) refuse("field", "a str", name);
  const int i = find_field(r, name);
  if (i == -2) {
    PyErr_Format(PyExc_AttributeError, "%s has no field '%U'", r.record.type().name.c_str(), name);
    throw py::error_already_set();
  }
  if (i == -1) raise_absent(r, name);
  const auto k = static_cast<std::size_t>(i);
  const typed::field_info& f = r.record.type().fields[k];
  if (!r.holder->doc().writable()) {
    PyErr_Format(PyExc_TypeError, "field '%U' is read-only: open the file with writable=True", name);
    throw py::error_already_set();
  }
  if (r.record.state(k) == state::absent) raise_absent(r, name);
  if (r.record.state(k) == state::null) {
    PyErr_Format(PyExc_TypeError, "field '%U' is null; only fields that have a value are written in place",
                 name);
    throw py::error_already_set();
  }
  if (!typed::is_scalar(f.type)) {
    PyErr_Format(PyExc_TypeError, "field '%U' is %s; only numbers, bools and dates are written in place",
                 name, typed::name_of(f.type));
    throw py::error_already_set();
  }
  t = f.type;
  return const_cast<std::byte*>(r.record.object().at()) + f.offset;
}

// A value as the bits of a field of `t`. Raises OverflowError, TypeError, naming the field.
std::uint64_t bits_of(typed::type t, py::handle field, py::handle value) {
  const auto wrong = [&](const char* expected) {
    PyErr_Format(PyExc_TypeError, "field '%U': expected %s, got %R", field.ptr(), expected, value.ptr());
    throw py::error_already_set();
  };
  if (t == typed::type::date) {
    if (!is(value, helpers().date) || is(value, helpers().datetime)) wrong("a date");
    return static_cast<std::uint32_t>(date_of(value).days);
  }
  if (t == typed::type::boolean) {
    if (!PyBool_Check(value.ptr())) wrong("a bool");
    return value.ptr() == Py_True;
  }
  if (typed::is_float(t)) {
    if (!PyFloat_Check(value.ptr()) && !PyNumber_Check(value.ptr())) wrong("a number");
    double d = 0;
    if (!real_of(value, t, d)) throw_unfit("field '" + std::string(text_of(field)) + "'", t, value);
    if (t == typed::type::f64) return std::bit_cast<std::uint64_t>(d);
    return std::bit_cast<std::uint32_t>(static_cast<float>(d));
  }
  if (!PyIndex_Check(value.ptr())) wrong("a whole number");
  const py::object whole = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!whole) throw py::error_already_set();
  std::int64_t i = 0;
  std::uint64_t u = 0;
  bool is_unsigned = false, fits = integer_of(whole, i, u, is_unsigned);
  const unsigned width = 8 * typed::bytes_of(t);
  if (typed::is_signed_integer(t))
    fits = fits && !is_unsigned && i >> (width - 1) == i >> 63;
  else
    fits = fits && (is_unsigned ? width == 64 : i >= 0 && (width == 64 || i >> width == 0));
  if (!fits) throw_unfit("field '" + std::string(text_of(field)) + "'", t, value);
  return is_unsigned ? u : static_cast<std::uint64_t>(i);
}

// Calls f with the field's memory as an unsigned word of its width.
template <class F>
auto with_word(typed::type t, std::byte* at, F&& f) {
  switch (typed::bytes_of(t)) {
    case 1:
      return f(reinterpret_cast<std::uint8_t*>(at));
    case 2:
      return f(reinterpret_cast<std::uint16_t*>(at));
    case 4:
      return f(reinterpret_cast<std::uint32_t*>(at));
    default:
      return f(reinterpret_cast<std::uint64_t*>(at));
  }
}

void set_field(const RecordView& r, py::handle name, py::handle value) {
  typed::type t;
  std::byte* at = target(r, name.ptr(), t);
  const std::uint64_t bits = bits_of(t, name, value);
  with_word(t, at, [&](auto* word) {
    __atomic_store_n(word, static_cast<std::remove_pointer_t<decltype(word)>>(bits), __ATOMIC_SEQ_CST);
  });
}

bool exchange_field(const RecordView& r, const py::object& name, const py::object& expected,
                    const py::object& desired) {
  typed::type t;
  std::byte* at = target(r, name.ptr(), t);
  const std::uint64_t was = bits_of(t, name, expected), now = bits_of(t, name, desired);
  return with_word(t, at, [&](auto* word) {
    using Word = std::remove_pointer_t<decltype(word)>;
    auto old = static_cast<Word>(was);
    return __atomic_compare_exchange_n(word, &old, static_cast<Word>(now), false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
  });
}

py::object add_to_field(const RecordView& r, const py::object& name, const py::object& delta) {
  typed::type t;
  std::byte* at = target(r, name.ptr(), t);
  if (t == typed::type::boolean || t == typed::type::date) {
    PyErr_Format(PyExc_TypeError, "field '%U' is a %s; add() expects a field that is a number", name.ptr(),
                 typed::name_of(t));
    throw py::error_already_set();
  }
  const std::uint64_t bits = bits_of(t, name, delta);
  std::uint64_t before = 0;
  with_word(t, at, [&](auto* word) {
    using Word = std::remove_pointer_t<decltype(word)>;
    if (typed::is_integer(t)) {
      before = __atomic_fetch_add(word, static_cast<Word>(bits), __ATOMIC_SEQ_CST);
      return;
    }
    if constexpr (sizeof(Word) >= 4) {
      using Real = std::conditional_t<sizeof(Word) == 4, float, double>;
      const auto more = std::bit_cast<Real>(static_cast<Word>(bits));
      Word old = __atomic_load_n(word, __ATOMIC_SEQ_CST);
      while (!__atomic_compare_exchange_n(word, &old, std::bit_cast<Word>(std::bit_cast<Real>(old) + more),
                                          false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      }
      before = old;
    }
  });
  if (t == typed::type::f64) return py::float_(std::bit_cast<double>(before));
  if (t == typed::type::f32) return py::float_(std::bit_cast<float>(static_cast<std::uint32_t>(before)));
  if (!typed::is_signed_integer(t)) return py::int_(before);
  const unsigned unused = 64 - 8 * typed::bytes_of(t);
  return py::int_(static_cast<std::int64_t>(before << unused) >> unused);
}

int record_setattro(PyObject* self, PyObject* name, PyObject* value) {
  try {
    if (!value) throw py::type_error("fields of a view cannot be deleted");
    set_field(self_of<RecordView>(self), name, value);
    return 0;
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (py::builtin_exception& e) {
    e.set_error();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return -1;
}

}  // namespace

void bind_record_view(py::module_& m) {
  py::class_<RecordView>(m, "RecordView", py::custom_type_setup([](PyHeapTypeObject* t) {
                           t->ht_type.tp_getattro = record_getattro;
                           t->ht_type.tp_setattro = record_setattro;
                         }),
                         "A record read in place. Fields are attributes: an absent one raises "
                         "AttributeError, a null one is None.")
      .def("compare_exchange", &exchange_field, py::arg("field"), py::arg("expected"), py::arg("desired"),
           "Sets the field to `desired` if it is `expected`, atomically. Returns whether it was.")
      .def("add", &add_to_field, py::arg("field"), py::arg("delta"),
           "Adds to the field atomically, wrapping round. Returns the value before.")
      .def("_fields",
           [](const RecordView& r) {
             py::list names;
             for (const auto& n : r.access->names) names.append(n);
             return names;
           })
      .def("_state",
           [](const RecordView& r, py::handle name) {
             if (!PyUnicode_Check(name.ptr())) refuse("field", "a str", name);
             const int i = find_field(r, name.ptr());
             if (i == -2)
               throw py::attribute_error(r.record.type().name + " has no field " +
                                         py::repr(name).cast<std::string>());
             return i < 0 ? 0 : static_cast<int>(r.record.state(static_cast<std::size_t>(i)));
           })
      .def("_type_name", [](const RecordView& r) { return r.record.type().name; })
      .def("_class", [](const RecordView& r) { return r.access->cls; })
      .def("_position", [](const RecordView& r) { return r.record.object().position; });
}

}  // namespace spillway::python
