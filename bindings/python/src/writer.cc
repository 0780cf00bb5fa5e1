// writer.cc - building blobs from Python: into memory, a given buffer, a file; streaming lists, arrays and
// maps; merging.
//
// The GIL is free while indexes are sorted and written, and while a file is flushed.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "common.h"

namespace spillway::python {

namespace {

using typed::duplicates;
using typed::flavour;
using typed::item;

struct Writer {
  std::unique_ptr<typed::sink> sink;
  typed::memory_sink* memory = nullptr;
  py::object target;  // keeps a given buffer
  std::unique_ptr<Py_buffer, void (*)(Py_buffer*)> view{nullptr,
                                                        [](Py_buffer* b) { PyBuffer_Release(b), delete b; }};
  std::unique_ptr<typed::builder> builder;
  std::unique_ptr<Encoder> encoder;

  bool finished = false;

  void check_open() const {
    if (finished) throw py::value_error("this blob is finished; expected a new Builder");
  }
  Ref made(const typed::ref& r) const { return {r, encoder->id()}; }
  typed::ref add(py::handle value) {
    check_open();
    auto save = builder->savepoint();
    typed::ref made;
    try {
      made = value_of(value);
    } catch (...) {
      encoder->reset();  // what it remembers may be gone
      throw;
    }
    save.release();
    encoder->reset();
    return made;
  }
  typed::ref value_of(py::handle value) { return builder->boxed(item_of(value)); }
  item item_of(py::handle value) { return encoder->encode(value); }
};

std::uint64_t bytes_of(py::handle value) {
  const unsigned long long n = PyLong_Check(value.ptr()) ? PyLong_AsUnsignedLongLong(value.ptr())
                                                         : static_cast<unsigned long long>(-1);
  if (n == static_cast<unsigned long long>(-1)) {
    PyErr_Clear();
    throw py::value_error("memory: expected a number of bytes, got " + py::repr(value).cast<std::string>());
  }
  return n;
}

typed::build_options options_of(const py::kwargs& k) {
  typed::build_options o;
  for (const auto& [name, value] : k) {
    const std::string key = py::str(name);
    if (key == "dedupe")
      o.dedupe = value.cast<bool>();
    else if (key == "compress")
      o.compress = value.cast<bool>();
    else if (key == "checksum")
      o.checksum = value.cast<bool>();
    else if (key == "memory")
      o.memory_bytes = bytes_of(value);
    else if (key == "scratch")
      o.scratch = value.is_none() ? "" : py::str(value).cast<std::string>();
    else
      throw py::type_error("unknown option '" + key +
                           "'; expected dedupe, compress, checksum, memory or scratch");
  }
  return o;
}

std::unique_ptr<Writer> make_writer(std::unique_ptr<typed::sink> sink, const py::kwargs& options) {
  auto w = std::make_unique<Writer>();
  w->sink = std::move(sink);
  w->builder = std::make_unique<typed::builder>(*w->sink, options_of(options));
  w->encoder = std::make_unique<Encoder>(*w->builder);
  return w;
}

duplicates policy_of(const std::string& s) {
  if (s == "error") return duplicates::error;
  if (s == "first") return duplicates::first;
  if (s == "last") return duplicates::last;
  if (s == "all") return duplicates::keep_all;
  if (s == "distinct") return duplicates::keep_distinct;
  throw py::value_error("duplicates: expected 'error', 'first', 'last', 'all' or 'distinct', got '" + s +
                        "'");
}

flavour flavour_of(const std::string& s) {
  if (s == "text") return flavour::text;
  if (s == "uint") return flavour::uint;
  if (s == "object") return flavour::object;
  if (s == "approx") return flavour::approx;
  throw py::value_error("keys: expected 'text', 'uint', 'object' or 'approx', got '" + s + "'");
}

void check_unfinished(const Writer& w, bool finished, const char* what) {
  w.check_open();
  if (finished) throw py::value_error(std::string("this ") + what + " is finished; expected a new one");
}

struct MapWriter {
  Writer& w;
  flavour keys;
  typed::map_builder map;
  bool finished = false;

  void put(py::handle key, py::handle value) {
    check_unfinished(w, finished, "map");
    auto save = w.builder->savepoint();
    try {
      const item v = w.item_of(value);
      if (keys == flavour::text || keys == flavour::approx) {
        if (keys == flavour::approx && PyLong_Check(key.ptr()))
          map.put_hash(key.cast<std::uint64_t>(), v);
        else {
          if (!PyUnicode_Check(key.ptr())) throw py::type_error("a key: expected str");
          Py_ssize_t n = 0;
          const char* s = PyUnicode_AsUTF8AndSize(key.ptr(), &n);
          if (!s) throw py::error_already_set();
          map.put_item(std::string_view(s, static_cast<std::size_t>(n)), v);
        }
      } else if (keys == flavour::uint) {
        const py::object whole = py::reinterpret_steal<py::object>(PyNumber_Index(key.ptr()));
        if (!whole) throw py::error_already_set();
        const unsigned long long k = PyLong_AsUnsignedLongLong(whole.ptr());
        if (PyErr_Occurred()) throw py::error_already_set();
        map.put_item(std::uint64_t{k}, v);
      } else {
        const std::uint64_t h = typed::hash_of(key_of(key));
        map.put_item(w.item_of(key), h, v);
      }
    } catch (...) {
      w.encoder->reset();
      throw;
    }
    save.release();
    w.encoder->reset();
  }
};

struct ListWriter {
  Writer& w;
  typed::list_builder list;
  bool finished = false;
  void add(py::handle value) {
    check_unfinished(w, finished, "list");
    auto save = w.builder->savepoint();
    item i;
    try {
      i = w.item_of(value);
    } catch (...) {
      w.encoder->reset();
      throw;
    }
    save.release();
    w.encoder->reset();
    list.add(i);
  }
};

Ref build_array(Writer& w, const std::string& dtype, py::iterable values) {
  w.check_open();
  const py::object wanted = helpers().numpy.attr("dtype")(dtype);
  Ref made = w.made({});
  bool known = false;
  for (int t = 1; t <= 11 && !known; ++t) {
    const auto element = static_cast<typed::type>(t);
    if (!wanted.attr("__eq__")(helpers().numpy.attr("dtype")(std::string(typed::name_of(element))))
             .cast<bool>())
      continue;
    known = true;
    typed::with_element(element, [&](auto like) {
      using T = decltype(like);
      using Stored = std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>;
      typed::array_builder<Stored> out(*w.builder);
      for (const py::handle v : values) {
        try {
          if constexpr (std::is_same_v<T, bool>)
            out.add(v.cast<bool>());
          else
            out.add(v.cast<T>());
        } catch (const py::cast_error&) {
          throw py::value_error(py::repr(v).cast<std::string>() + " does not fit " + dtype);
        }
      }
      py::gil_scoped_release free;
      made.ref = out.finish();
      return 0;
    });
  }
  if (!known) throw py::type_error("an array of " + dtype + "; expected a plain number type");
  return made;
}

}  // namespace

void bind_writer(py::module_& m) {
  py::class_<Ref>(m, "Ref",
                  "A value already in the blob under construction; may be stored any number of times.");
  py::class_<Writer>(m, "Builder",
                     "Builds one blob. Made by to_memory, to_file, to_fd or to_buffer; options: dedupe, "
                     "compress, checksum, memory, scratch.")
      .def_static("to_memory",
                  [](const py::kwargs& k) {
                    auto sink = std::make_unique<typed::memory_sink>();
                    auto* memory = sink.get();
                    auto w = make_writer(std::move(sink), k);
                    w->memory = memory;
                    return w;
                  })
      .def_static("to_file",
                  [](const std::string& path, const py::kwargs& k) {
                    return make_writer(std::make_unique<typed::file_sink>(path), k);
                  })
      .def_static(
          "to_fd",
          [](int fd, std::uint64_t offset, bool scratch, const py::kwargs& k) {
            return make_writer(std::make_unique<typed::file_sink>(fd, offset, !scratch), k);
          },
          py::arg("fd"), py::arg("offset"), py::arg("is_scratch") = false)
      .def_static("to_buffer",
                  [](py::object buffer, std::uint64_t offset, const py::kwargs& k) {
                    auto view = std::make_unique<Py_buffer>();
                    if (PyObject_GetBuffer(buffer.ptr(), view.get(), PyBUF_CONTIG) != 0)
                      throw py::error_already_set();
                    std::unique_ptr<Py_buffer, void (*)(Py_buffer*)> held(
                        view.release(), [](Py_buffer* b) { PyBuffer_Release(b), delete b; });
                    const auto size = static_cast<std::uint64_t>(held->len);
                    if (offset > size)
                      throw py::value_error("offset " + std::to_string(offset) +
                                            " is past the end of a buffer of " + std::to_string(size) +
                                            " bytes");
                    auto w = make_writer(std::make_unique<typed::span_sink>(std::span(
                                             static_cast<std::byte*>(held->buf) + offset, size - offset)),
                                         k);
                    w->view = std::move(held);
                    w->target = std::move(buffer);
                    return w;
                  })
      .def(
          "add", [](Writer& w, py::handle value) { return w.made(w.add(value)); },
          "Stores a value now. A failed add leaves nothing behind.")
      .def("set_user_data",
           [](Writer& w, py::handle value) { w.builder->set_user_data(typed::any(w.add(value))); })
      .def(
          "list",
          [](Writer& w) {
            return std::make_unique<ListWriter>(ListWriter{w, typed::list_builder(*w.builder)});
          },
          py::keep_alive<0, 1>())
      .def(
          "map",
          [](Writer& w, const std::string& keys, const std::string& policy, long hash_bits) {
            w.check_open();
            const flavour f = flavour_of(keys);
            if (f == flavour::approx && policy != "all" && policy != "distinct")
              throw py::value_error("keys='approx': expected duplicates='all' or 'distinct', got '" + policy +
                                    "'; such a map does not keep its keys");
            if (hash_bits < 1 || hash_bits > 64)
              throw py::value_error("hash_bits: expected 1 to 64, got " + std::to_string(hash_bits));
            return std::unique_ptr<MapWriter>(new MapWriter{
                w, f,
                typed::map_builder(*w.builder, f, policy_of(policy), static_cast<unsigned>(hash_bits))});
          },
          py::arg("keys") = "text", py::arg("duplicates") = "error", py::arg("hash_bits") = 64,
          py::keep_alive<0, 1>())
      .def("array", &build_array, py::arg("dtype"), py::arg("values"),
           "A packed array from an iterable of numbers, in bounded memory.")
      .def(
          "merge",
          [](Writer& w, const std::vector<const MapView*>& maps, const std::string& policy) {
            w.check_open();
            std::vector<typed::map_view> views;
            for (const MapView* v : maps) views.push_back(v->map);
            const duplicates p = policy_of(policy);
            py::gil_scoped_release free;
            return w.made(typed::merge(views, *w.builder, p));
          },
          py::arg("maps"), py::arg("duplicates") = "error", "Any number of maps of one kind as one.")
      .def(
          "finish",
          [](Writer& w, py::handle root) {
            const typed::ref r = w.add(root);
            w.finished = true;
            py::gil_scoped_release free;
            return w.builder->finish(r);
          },
          py::arg("root"),
          "Writes schema and header; a file now appears under its name. Returns the size in bytes.")
      .def("data", [](Writer& w) {
        if (!w.memory) throw py::type_error("only a builder to memory has data()");
        const auto& d = w.memory->data();
        return py::bytearray(reinterpret_cast<const char*>(d.data()), d.size());
      });
  py::class_<ListWriter>(m, "ListBuilder").def("add", &ListWriter::add).def("finish", [](ListWriter& l) {
    check_unfinished(l.w, l.finished, "list");
    l.finished = true;
    py::gil_scoped_release free;
    return l.w.made(l.list.finish());
  });
  py::class_<MapWriter>(m, "MapBuilder").def("put", &MapWriter::put).def("finish", [](MapWriter& x) {
    check_unfinished(x.w, x.finished, "map");
    x.finished = true;
    py::gil_scoped_release free;
    return x.w.made(x.map.finish());
  });
}

}  // namespace spillway::python
