// views.cc - the Python classes of views: sequences, sets, mappings, buffers.
//
// Only what must be fast or needs the bytes is here; the mixin methods of collections.abc are added by
// spillway/_views.py.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "convert.h"

namespace spillway::python {

using typed::errc;

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

namespace {

py::object list_item(const ListView& l, const py::object& index) {
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

// A str with half of a surrogate pair cannot be stored, so it is no key of any blob, and looking for it is
// no mistake.
bool is_no_text(const py::error_already_set& e) { return e.matches(PyExc_UnicodeEncodeError); }

std::uint64_t find_key(const MapView& m, py::handle key) {
  if (m.map.flavour() == typed::flavour::approx && PyLong_Check(key.ptr())) {
    const std::uint64_t hash = PyLong_AsUnsignedLongLong(key.ptr());
    if (!PyErr_Occurred()) return take(m.map.find_hash(hash));
    PyErr_Clear();
    return typed::map_view::npos;
  }
  try {
    if (PyUnicode_Check(key.ptr())) return take(m.map.find(text_of(key)));
    return take(m.map.find(key_of(key)));
  } catch (py::error_already_set& e) {
    if (!is_no_text(e)) throw;
    return typed::map_view::npos;
  }
}

bool holds(const SetView& s, py::handle member) {
  try {
    return s.set.contains(key_of(member));
  } catch (py::error_already_set& e) {
    if (!is_no_text(e)) throw;
    return false;
  }
}

// The value of a key: of a simple map the value, of a multimap the list of them; null when there is none.
py::object values_of(const MapView& m, std::uint64_t i) {
  if (!m.map.is_multi()) return to_python(m.map.value(i), m.holder);
  py::list values;
  for (; i != typed::map_view::npos; i = take(m.map.next(i)))
    values.append(to_python(m.map.value(i), m.holder));
  return values;
}

// Of a list: one of mixed values has no buffer, and a reader that does not ask for strides gets only what
// lies in a row. pybind11's own function lets exceptions out into C, and leaves strides out whatever they
// are.
getbufferproc list_buffer;
int list_buffer_checked(PyObject* self, Py_buffer* view, int flags) {
  try {
    if (list_buffer(self, view, flags | PyBUF_STRIDES) != 0) return -1;
  } catch (const std::exception& e) {
    view->obj = nullptr;
    PyErr_SetString(PyExc_BufferError, e.what());
    return -1;
  }
  const bool strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES;
  if ((!strides ||
       flags & (PyBUF_C_CONTIGUOUS | PyBUF_F_CONTIGUOUS | PyBUF_ANY_CONTIGUOUS) & ~PyBUF_STRIDES) &&
      !PyBuffer_IsContiguous(view, 'C')) {
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_BufferError,
                    "a slice with a step: expected a reader that follows strides, or list()");
    return -1;
  }
  if (!strides) view->strides = nullptr;
  if (!(flags & PyBUF_ND)) view->shape = nullptr;
  return 0;
}

// Views are made by opening a blob; one made by __new__ would look at nothing.
void only_made_here(py::handle type) { reinterpret_cast<PyTypeObject*>(type.ptr())->tp_new = nullptr; }

struct ValueCursor {
  MapView map;
  std::uint64_t i;
};

}  // namespace

void bind_views(py::module_& m) {
  bind_record_view(m);
  py::class_<ListCursor>(m, "_ListIterator")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", [](ListCursor& c) {
        if (c.i >= c.list.list.size()) throw py::stop_iteration();
        return to_python(c.list.list[c.i++], c.list.holder);
      });
  const auto list =
      py::class_<ListView>(m, "ListView", py::buffer_protocol(),
                           "A list, tuple or packed array read in place: a Sequence; slices are views, "
                           "numpy() shares the memory.")
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
          .def_property_readonly(
              "is_tuple", [](const ListView& l) { return l.list.is_tuple(); }, "Whether a tuple was stored.")
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
  list_buffer = std::exchange(reinterpret_cast<PyHeapTypeObject*>(list.ptr())->as_buffer.bf_getbuffer,
                              &list_buffer_checked);

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
      .def("__contains__", &holds, py::arg("value"))
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
      .def(
          "__contains__",
          [](const MapView& v, const py::object& key) { return find_key(v, key) != typed::map_view::npos; },
          py::arg("key"))
      .def("__getitem__",
           [](const MapView& v, const py::object& key) {
             const std::uint64_t i = find_key(v, key);
             if (i == typed::map_view::npos) {
               PyErr_SetObject(PyExc_KeyError,
                               py::make_tuple(key).ptr());  // a tuple alone would be taken apart
               throw py::error_already_set();
             }
             return values_of(v, i);
           })
      .def(
          "get",
          [](const MapView& v, const py::object& key, py::object other) {
            const std::uint64_t i = find_key(v, key);
            return i == typed::map_view::npos ? other : values_of(v, i);
          },
          py::arg("key"), py::arg("default") = py::none(),
          "The value of a key (of a multimap the list of its values), or the default.")
      .def(
          "get_iter",
          [](const MapView& v, const py::object& key) {
            return ValueCursor{v, find_key(v, key)};
          },
          py::arg("key"), "The values of a key, one after the other as they are asked for.")
      .def(
          "get_many",
          [](const MapView& v, const py::object& keys, py::object other) {
            std::vector<std::string> texts;
            for (const py::handle k : py::iter(keys)) {
              if (!PyUnicode_Check(k.ptr()))
                throw py::type_error("get_many: expected text keys, got " + py::repr(k).cast<std::string>());
              texts.emplace_back(text_of(k));
            }
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
      .def(
          "iterkeys",
          [](const MapView& v) {
            return MapCursor{v, 0};
          },
          "The keys in the order of their index.")
      .def(
          "itervalues",
          [](const MapView& v) {
            return MapCursor{v, 1};
          },
          "The values, in the order of iterkeys().")
      .def(
          "iteritems",
          [](const MapView& v) {
            return MapCursor{v, 2};
          },
          "The keys with their values, in the order of iterkeys().")
      .def_property_readonly(
          "is_multi", [](const MapView& v) { return v.map.is_multi(); },
          "Whether a key may have several values.")
      .def_property_readonly(
          "entries", [](const MapView& v) { return v.map.entries(); },
          "How many values there are; len() counts keys.")
      .def_property_readonly(
          "false_rate", [](const MapView& v) { return v.map.false_rate(); },
          "The probability that an approximate map answers for a key that was never put in.")
      .def_property_readonly(
          "index_bytes", [](const MapView& v) { return v.map.index_bytes(); },
          "What finding keys takes: hashes, references to keys, and the directory.")
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
  for (const char* name : {"RecordView", "ListView", "SetView", "MapView", "BufferView"})
    only_made_here(m.attr(name));
}

}  // namespace spillway::python
