// views.cc - the Python classes of views: records by attribute, sequences, sets, mappings, buffers.
//
// Only what must be fast or needs the bytes is here; the mixin methods of collections.abc are added by
// spillway/_views.py.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "common.h"

namespace spillway::python {

using typed::errc;
using typed::state;

Helpers& helpers() {
  static Helpers* h = new Helpers;  // never destroyed: the interpreter may be gone by then
  return *h;
}

void raise(const typed::error& e) {
  const std::string text = e.message();
  switch (e.code) {
    case errc::absent:
      PyErr_SetString(PyExc_AttributeError, text.c_str());
      break;
    case errc::no_such:
      PyErr_SetString(PyExc_KeyError, text.c_str());
      break;
    case errc::wrong_type:
    case errc::null_value:
      PyErr_SetString(PyExc_TypeError, text.c_str());
      break;
    case errc::value_range:
      PyErr_SetString(PyExc_OverflowError, text.c_str());
      break;
    case errc::incompatible:
      PyErr_SetString(helpers().incompatible.ptr(), text.c_str());
      break;
    default: {
      const py::object made = helpers().error(text, std::string(typed::name_of(e.code)));
      PyErr_SetObject(helpers().error.ptr(), made.ptr());
    }
  }
  throw py::error_already_set();
}

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
        if (auto* get = Py_TYPE(found)->tp_descr_get) return get(found, self, cls.ptr());
        Py_INCREF(found);
        return found;
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

// Calls f with the value as the field's own type. Raises OverflowError, TypeError.
template <class F>
auto with_value(typed::type t, py::handle value, F&& f) {
  if (t == typed::type::date) {
    if (!py::hasattr(value, "toordinal")) throw py::type_error("expected a date");
    return f(static_cast<std::int32_t>(value.attr("toordinal")().cast<long>() - 719163));
  }
  return typed::with_element(t, [&](auto like) {
    using T = decltype(like);
    if constexpr (std::is_same_v<T, bool>) {
      if (!PyBool_Check(value.ptr())) throw py::type_error("expected a bool");
      return f(value.ptr() == Py_True);
    } else if constexpr (std::is_integral_v<T>) {
      const py::object whole = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
      if (!whole) throw py::error_already_set();
      try {
        return f(whole.cast<T>());
      } catch (const py::cast_error&) {
        PyErr_Format(PyExc_OverflowError, "%R does not fit %s", value.ptr(), typed::name_of(t));
        throw py::error_already_set();
      }
    } else {
      const double d = PyFloat_AsDouble(value.ptr());
      if (d == -1 && PyErr_Occurred()) throw py::error_already_set();
      return f(static_cast<T>(d));
    }
  });
}

template <class T>
using bits =
    std::conditional_t<sizeof(T) == 1, std::uint8_t,
                       std::conditional_t<sizeof(T) == 2, std::uint16_t,
                                          std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>>;

void set_field(const RecordView& r, py::handle name, py::handle value) {
  typed::type t;
  std::byte* at = target(r, name.ptr(), t);
  with_value(t, value, [&](auto v) {
    using B = bits<decltype(v)>;
    __atomic_store_n(reinterpret_cast<B*>(at), std::bit_cast<B>(v), __ATOMIC_SEQ_CST);
    return 0;
  });
}

bool exchange_field(const RecordView& r, py::handle name, py::handle expected, py::handle desired) {
  typed::type t;
  std::byte* at = target(r, name.ptr(), t);
  return with_value(t, expected, [&](auto was) {
    return with_value(t, desired, [&](auto now) {
      if constexpr (sizeof was == sizeof now) {
        using B = bits<decltype(was)>;
        B old = std::bit_cast<B>(was);
        return __atomic_compare_exchange_n(reinterpret_cast<B*>(at), &old, std::bit_cast<B>(now), false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
      } else
        return false;
    });
  });
}

py::object add_to_field(const RecordView& r, py::handle name, py::handle delta) {
  typed::type t;
  std::byte* at = target(r, name.ptr(), t);
  if (t == typed::type::boolean || t == typed::type::date)
    throw py::type_error("add: expected a field that is a number");
  return with_value(t, delta, [&](auto d) -> py::object {
    using T = decltype(d);
    if constexpr (std::is_same_v<T, bool>)
      return py::none();
    else if constexpr (std::is_integral_v<T>)
      return py::int_(__atomic_fetch_add(reinterpret_cast<T*>(at), d, __ATOMIC_SEQ_CST));
    else {
      using B = bits<T>;
      B old = __atomic_load_n(reinterpret_cast<B*>(at), __ATOMIC_SEQ_CST);
      while (!__atomic_compare_exchange_n(reinterpret_cast<B*>(at), &old,
                                          std::bit_cast<B>(std::bit_cast<T>(old) + d), false,
                                          __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      }
      return py::float_(static_cast<double>(std::bit_cast<T>(old)));
    }
  });
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
  }
  return -1;
}

py::object list_item(const ListView& l, py::handle index) {
  if (PySlice_Check(index.ptr())) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(index.ptr(), &start, &stop, &step) < 0) throw py::error_already_set();
    const Py_ssize_t n = PySlice_AdjustIndices(static_cast<Py_ssize_t>(l.list.size()), &start, &stop, step);
    return py::cast(ListView{
        l.holder, l.list.slice(static_cast<std::uint64_t>(start), step, static_cast<std::uint64_t>(n))});
  }
  Py_ssize_t i = PyNumber_AsSsize_t(index.ptr(), PyExc_IndexError);
  if (i == -1 && PyErr_Occurred()) throw py::error_already_set();
  const auto n = static_cast<Py_ssize_t>(l.list.size());
  if (i < 0) i += n;
  if (i < 0 || i >= n)
    throw py::index_error("index " + std::to_string(i) + " of a list of " + std::to_string(n));
  return to_python(l.list[static_cast<std::uint64_t>(i)], l.holder);
}

struct ListCursor {
  ListView list;
  std::uint64_t i = 0;
};
struct SetCursor {
  HolderPtr holder;
  typed::set_view::cursor cursor;
};
struct MapCursor {
  MapView map;
  int what;  // 0 keys, 1 values, 2 items
  std::uint64_t i = 0;
  py::object key(std::uint64_t at) const { return to_python(map.map.key(at), map.holder); }
};

std::uint64_t find_key(const MapView& m, py::handle key) {
  if (m.map.flavour() == typed::flavour::approx && PyLong_Check(key.ptr()))
    return take(m.map.find_hash(key.cast<std::uint64_t>()));
  if (PyUnicode_Check(key.ptr())) {
    Py_ssize_t n = 0;
    const char* s = PyUnicode_AsUTF8AndSize(key.ptr(), &n);
    if (!s) throw py::error_already_set();
    return take(m.map.find(std::string_view(s, static_cast<std::size_t>(n))));
  }
  return take(m.map.find(key_of(key)));
}

// The value of a key: of a simple map the value, of a multimap the list of them; null when there is none.
py::object values_of(const MapView& m, std::uint64_t i) {
  if (!m.map.is_multi()) return to_python(m.map.value(i), m.holder);
  py::list values;
  for (; i != typed::map_view::npos; i = take(m.map.next(i)))
    values.append(to_python(m.map.value(i), m.holder));
  return values;
}

struct ValueCursor {
  MapView map;
  std::uint64_t i;
};

}  // namespace

void bind_views(py::module_& m) {
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
             const int i = find_field(r, name.ptr());
             if (i == -2) throw py::attribute_error("no field " + py::str(name).cast<std::string>());
             return i < 0 ? 0 : static_cast<int>(r.record.state(static_cast<std::size_t>(i)));
           })
      .def("_type_name", [](const RecordView& r) { return r.record.type().name; })
      .def("_class", [](const RecordView& r) { return r.access->cls; })
      .def("_position", [](const RecordView& r) { return r.record.object().position; });

  py::class_<ListCursor>(m, "_ListIterator")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", [](ListCursor& c) {
        if (c.i >= c.list.list.size()) throw py::stop_iteration();
        return to_python(c.list.list[c.i++], c.list.holder);
      });
  py::class_<ListView>(
      m, "ListView", py::buffer_protocol(),
      "A list, tuple or packed array read in place: a Sequence; slices are views, numpy() shares the memory.")
      .def("__len__", [](const ListView& l) { return l.list.size(); })
      .def("__getitem__", &list_item)
      .def("__iter__", [](const ListView& l) { return ListCursor{l}; })
      .def("__reversed__",
           [](const ListView& l) {
             return ListCursor{{l.holder, l.list.reversed()}};
           })
      .def(
          "numpy", [](const ListView& l) { return numpy_of(l.list, l.holder); },
          "The numbers as a numpy array, without a copy. TypeError for mixed lists.")
      .def_property_readonly("is_tuple", [](const ListView& l) { return l.list.is_tuple(); })
      .def_property_readonly(
          "dtype",
          [](const ListView& l) -> py::object {
            if (l.list.element() == typed::type::none) return py::none();
            return py::str(typed::name_of(l.list.element()));
          },
          "The type of every element, or None for a mixed list.")
      .def("_position", [](const ListView& l) { return l.list.object().position; })
      .def_buffer([](ListView& l) {
        const py::array a = numpy_of(l.list, l.holder).cast<py::array>();
        return py::buffer_info(const_cast<void*>(a.data()), a.itemsize(),
                               py::str(a.dtype().attr("char")).cast<std::string>(), 1, {a.shape(0)},
                               {a.strides(0)}, !l.holder->doc().writable());
      });

  py::class_<SetCursor>(m, "_SetIterator")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", [](SetCursor& c) {
        typed::any_view v;
        if (!c.cursor.next(v)) throw py::stop_iteration();
        return to_python(v, c.holder);
      });
  py::class_<SetView>(m, "SetView",
                      "A set read in place: a collections.abc.Set; its algebra gives frozensets.")
      .def("__len__", [](const SetView& s) { return s.set.size(); })
      .def("__iter__",
           [](const SetView& s) {
             return SetCursor{s.holder, typed::set_view::cursor(s.set)};
           })
      .def("__contains__", [](const SetView& s, py::handle v) { return s.set.contains(key_of(v)); })
      .def("_subset", [](const SetView& a, const SetView& b) { return take(a.set.subset_of(b.set)); })
      .def("_position", [](const SetView& s) { return s.set.object().position; });

  py::class_<MapCursor>(m, "_MapIterator")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", [](MapCursor& c) -> py::object {
        if (c.i >= c.map.map.entries()) throw py::stop_iteration();
        const std::uint64_t i = c.i++;
        if (c.what == 0) return c.key(i);
        const py::object value = to_python(c.map.map.value(i), c.map.holder);
        if (c.what == 1) return value;
        return py::make_tuple(c.key(i), value);
      });
  py::class_<ValueCursor>(m, "_ValueIterator")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", [](ValueCursor& c) {
        if (c.i == typed::map_view::npos) throw py::stop_iteration();
        const py::object v = to_python(c.map.map.value(c.i), c.map.holder);
        c.i = take(c.map.map.next(c.i));
        return v;
      });
  py::class_<MapView>(m, "MapView",
                      "A mapping read in place. Of a multimap, map[key] is the list of the key's values, and "
                      "iteration gives each key once per value.")
      .def("__len__", [](const MapView& v) { return v.map.size(); })
      .def("__contains__",
           [](const MapView& v, py::handle key) { return find_key(v, key) != typed::map_view::npos; })
      .def("__getitem__",
           [](const MapView& v, py::handle key) {
             const std::uint64_t i = find_key(v, key);
             if (i == typed::map_view::npos) {
               PyErr_SetObject(PyExc_KeyError, key.ptr());
               throw py::error_already_set();
             }
             return values_of(v, i);
           })
      .def(
          "get",
          [](const MapView& v, py::handle key, py::object other) {
            const std::uint64_t i = find_key(v, key);
            return i == typed::map_view::npos ? other : values_of(v, i);
          },
          py::arg("key"), py::arg("default") = py::none())
      .def(
          "get_iter",
          [](const MapView& v, py::handle key) {
            return ValueCursor{v, find_key(v, key)};
          },
          "The values of a key, one after the other as they are asked for.")
      .def(
          "get_many",
          [](const MapView& v, py::handle keys, py::object other) {
            std::vector<std::string> texts;
            for (const py::handle k : keys) texts.push_back(k.cast<std::string>());
            std::vector<std::uint64_t> found(texts.size());
            {
              py::gil_scoped_release free;
              for (std::size_t from = 0; from < texts.size(); from += 64) {
                const std::size_t to = std::min(from + 64, texts.size());
                for (std::size_t i = from; i < to; ++i) v.map.prefetch_directory(typed::hash_text(texts[i]));
                for (std::size_t i = from; i < to; ++i)
                  found[i] = v.map.find(std::string_view(texts[i])).value();
              }
            }
            py::list out;
            for (const std::uint64_t i : found)
              out.append(i == typed::map_view::npos ? other : values_of(v, i));
            return out;
          },
          py::arg("keys"), py::arg("default") = py::none(),
          "The values of many text keys; the GIL is free while they are looked up.")
      .def("__iter__",
           [](const MapView& v) {
             return MapCursor{v, 0};
           })
      .def("iterkeys",
           [](const MapView& v) {
             return MapCursor{v, 0};
           })
      .def("itervalues",
           [](const MapView& v) {
             return MapCursor{v, 1};
           })
      .def("iteritems",
           [](const MapView& v) {
             return MapCursor{v, 2};
           })
      .def_property_readonly("is_multi", [](const MapView& v) { return v.map.is_multi(); })
      .def_property_readonly(
          "entries", [](const MapView& v) { return v.map.entries(); },
          "How many values there are; len() counts keys.")
      .def_property_readonly(
          "false_rate", [](const MapView& v) { return v.map.false_rate(); },
          "The probability that an approximate map answers for a key that was never put in.")
      .def_property_readonly("index_bytes", [](const MapView& v) { return v.map.index_bytes(); })
      .def("_position", [](const MapView& v) { return v.map.object().position; });

  py::class_<BufferView>(m, "BufferView", py::buffer_protocol()).def_buffer([](BufferView& b) {
    return py::buffer_info(const_cast<char*>(b.data), 1, "B", 1, {b.size}, {1}, true);
  });
  py::class_<Memory>(m, "Memory", py::buffer_protocol(),
                     "Bytes at an address that `owner` keeps valid, as a buffer.")
      .def(py::init([](std::uintptr_t address, std::size_t size, bool readonly, py::object owner) {
             return Memory{reinterpret_cast<void*>(address), size, readonly, std::move(owner)};
           }),
           py::arg("address"), py::arg("size"), py::arg("readonly"), py::arg("owner"))
      .def_buffer([](Memory& v) { return py::buffer_info(v.data, 1, "B", 1, {v.size}, {1}, v.readonly); });
}

}  // namespace spillway::python
