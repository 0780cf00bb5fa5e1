// writer.cc - building blobs from Python: into memory, a given buffer, a file; streaming lists, arrays and
// maps; merging.
//
// The GIL is free while indexes are sorted and written, and while a file is flushed. A builder is one
// thread's at a time, and one call's: every call that writes is a Turn, and a second one meanwhile is
// refused.
#include <pybind11/numpy.h>

#include "arguments.h"
#include "convert.h"

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
  bool busy = false;  // read and written with the GIL

  Ref made(const typed::ref& r) const { return {r, encoder->id()}; }
  typed::ref add(py::handle value) {
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

// One call that writes. Another one of the same builder, by another thread or from within this one, would
// write between what belongs together.
class Turn {
 public:
  explicit Turn(Writer& w) : w_(w) {
    if (w.busy)
      throw std::runtime_error(
          "this Builder is in use by another call; expected one thread, and one call, at a time");
    if (w.finished) throw py::value_error("this blob is finished; expected a new Builder");
    w.busy = true;
  }
  ~Turn() { w_.busy = false; }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Writer& w_;
};

typed::build_options options_of(const py::kwargs& k) {
  typed::build_options o;
  for (const auto& [name, value] : k) {
    const std::string key = py::str(name);
    if (key == "dedupe")
      take_argument("dedupe", value, o.dedupe);
    else if (key == "compress")
      take_argument("compress", value, o.compress);
    else if (key == "checksum")
      take_argument("checksum", value, o.checksum);
    else if (key == "memory")
      take_argument("memory", value, o.memory_bytes);
    else if (key == "scratch")
      o.scratch = value.is_none() ? "" : path_argument("scratch", value);
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

std::unique_ptr<Writer> to_memory(const py::kwargs& options) {
  auto sink = std::make_unique<typed::memory_sink>();
  auto* memory = sink.get();
  auto w = make_writer(std::move(sink), options);
  w->memory = memory;
  return w;
}

std::unique_ptr<Writer> to_file(const py::object& path, const py::kwargs& options) {
  return make_writer(std::make_unique<typed::file_sink>(path_argument("path", path)), options);
}

std::unique_ptr<Writer> to_fd(argument<"fd", int> fd, argument<"offset", std::uint64_t> offset,
                              argument<"is_scratch", bool> scratch, const py::kwargs& options) {
  return make_writer(std::make_unique<typed::file_sink>(fd, offset, !scratch), options);
}

std::unique_ptr<Writer> to_buffer(py::object buffer, argument<"offset", std::uint64_t> offset,
                                  const py::kwargs& options) {
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(buffer.ptr(), view.get(), PyBUF_CONTIG) != 0) throw py::error_already_set();
  std::unique_ptr<Py_buffer, void (*)(Py_buffer*)> held(view.release(),
                                                        [](Py_buffer* b) { PyBuffer_Release(b), delete b; });
  const auto size = static_cast<std::uint64_t>(held->len);
  if (offset > size)
    throw py::value_error("offset " + std::to_string(offset) + " is past the end of a buffer of " +
                          std::to_string(size) + " bytes");
  const std::span rest(static_cast<std::byte*>(held->buf) + offset, size - offset);
  auto w = make_writer(std::make_unique<typed::span_sink>(rest), options);
  w->view = std::move(held);
  w->target = std::move(buffer);
  return w;
}

// One of a few words, by `find`, which gives nothing for any other.
template <class F>
auto word_argument(const char* name, const char* expected, py::handle given, F&& find) {
  if (!PyUnicode_Check(given.ptr())) refuse(name, expected, given);
  const auto found = find(text_of(given));
  if (!found) refuse_value(name, expected, given);
  return *found;
}

std::optional<duplicates> policy_named(std::string_view s) {
  if (s == "error") return duplicates::error;
  if (s == "first") return duplicates::first;
  if (s == "last") return duplicates::last;
  if (s == "all") return duplicates::keep_all;
  if (s == "distinct") return duplicates::keep_distinct;
  return std::nullopt;
}
duplicates policy_of(py::handle given) {
  return word_argument("duplicates", "'error', 'first', 'last', 'all' or 'distinct'", given, policy_named);
}

std::optional<flavour> flavour_named(std::string_view s) {
  if (s == "text") return flavour::text;
  if (s == "uint") return flavour::uint;
  if (s == "object") return flavour::object;
  if (s == "approx") return flavour::approx;
  return std::nullopt;
}
flavour flavour_of(py::handle given) {
  return word_argument("keys", "'text', 'uint', 'object' or 'approx'", given, flavour_named);
}

void check_unfinished(bool finished, const char* what) {
  if (finished) throw py::value_error(std::string("this ") + what + " is finished; expected a new one");
}

struct MapWriter {
  Writer& w;
  flavour keys;
  typed::map_builder map;
  bool finished = false;

  void put(const py::object& key, const py::object& value) {
    const Turn turn(w);
    check_unfinished(finished, "map");
    auto save = w.builder->savepoint();
    try {
      const item v = w.item_of(value);
      if (keys == flavour::approx && PyLong_Check(key.ptr())) {
        map.put_hash(number_key(key), v);
      } else if (keys == flavour::text || keys == flavour::approx) {
        if (!PyUnicode_Check(key.ptr())) refuse("a key", "a str", key);
        map.put_item(text_of(key), v);
      } else if (keys == flavour::uint) {
        map.put_item(number_key(key), v);
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
  static std::uint64_t number_key(py::handle key) {
    const py::object whole = py::reinterpret_steal<py::object>(PyNumber_Index(key.ptr()));
    if (!whole) PyErr_Clear(), refuse("a key", "an int", key);
    const std::uint64_t k = PyLong_AsUnsignedLongLong(whole.ptr());
    if (PyErr_Occurred()) {
      PyErr_Clear();
      PyErr_Format(PyExc_OverflowError, "a key: expected 0 to 2^64 - 1, got %R", key.ptr());
      throw py::error_already_set();
    }
    return k;
  }
};

struct ListWriter {
  Writer& w;
  typed::list_builder list;
  bool finished = false;
  void add(const py::object& value) {
    const Turn turn(w);
    check_unfinished(finished, "list");
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

template <class T>
T number_of(py::handle v, const std::string& dtype) {
  try {
    return v.cast<T>();
  } catch (const py::cast_error&) {
    if (!PyNumber_Check(v.ptr())) refuse("values", "numbers", v);
    throw py::value_error("values: " + py::repr(v).cast<std::string>() + " does not fit " + dtype);
  }
}

Ref build_array(Writer& w, const py::object& given, const py::object& values) {
  const char* const expected = "bool, int8 to int64, uint8 to uint64, float32, float64 or date";
  if (PyUnicode_Check(given.ptr()) && PyUnicode_CompareWithASCIIString(given.ptr(), "date") == 0) {
    typed::array_builder<std::int32_t> days(*w.builder, typed::type::date);
    for (const py::handle v : py::iter(values)) {
      if (!is(v, helpers().date) || is(v, helpers().datetime)) refuse("values", "dates", v);
      days.add(date_of(v).days);
    }
    const Turn turn(w);
    py::gil_scoped_release free;
    return w.made(days.finish());
  }
  py::object wanted;
  try {
    wanted = helpers().numpy.attr("dtype")(given);
  } catch (const py::error_already_set&) {
    refuse("dtype", expected, given);
  }
  for (int t = 1; t <= 11; ++t) {
    const auto element = static_cast<typed::type>(t);
    const std::string name(typed::name_of(element));
    if (!wanted.equal(helpers().numpy.attr("dtype")(name))) continue;
    return typed::with_element(element, [&](auto like) {
      using T = decltype(like);
      typed::array_builder<std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>> out(*w.builder,
                                                                                             element);
      // Where the values come from may be a program of its own, which writes into this builder meanwhile.
      for (const py::handle v : py::iter(values)) out.add(number_of<T>(v, name));
      const Turn turn(w);
      py::gil_scoped_release free;
      return w.made(out.finish());
    });
  }
  refuse("dtype", expected, given);
}

Ref merge(Writer& w, const py::object& maps, const py::object& policy) {
  const duplicates p = policy_of(policy);
  std::vector<py::object> held;
  std::vector<typed::map_view> views;
  for (const py::handle m : py::iter(maps)) {
    if (!py::isinstance<MapView>(m)) refuse("maps", "MapViews", m);
    held.push_back(py::reinterpret_borrow<py::object>(m));
    views.push_back(m.cast<const MapView&>().map);
  }
  const Turn turn(w);
  py::gil_scoped_release free;
  return w.made(typed::merge(views, *w.builder, p));
}

std::unique_ptr<MapWriter> make_map(Writer& w, const py::object& keys, const py::object& policy,
                                    argument<"hash_bits", int> hash_bits) {
  const Turn turn(w);
  const flavour f = flavour_of(keys);
  const duplicates p = policy_of(policy);
  if (f == flavour::approx && p != duplicates::keep_all && p != duplicates::keep_distinct)
    refuse_value("keys='approx'", "duplicates='all' or 'distinct' (such a map does not keep its keys)",
                 policy);
  if (hash_bits < 1 || hash_bits > 64) refuse_value("hash_bits", "1 to 64", py::int_(hash_bits.value));
  return std::unique_ptr<MapWriter>(
      new MapWriter{w, f, typed::map_builder(*w.builder, f, p, static_cast<unsigned>(hash_bits))});
}

}  // namespace

void bind_writer(py::module_& m) {
  py::class_<Ref>(m, "Ref",
                  "A value already in the blob under construction; may be stored any number of times.");
  py::class_<ListWriter>(m, "ListBuilder", "A list under construction; see Builder.list().")
      .def("add", &ListWriter::add, py::arg("value"), "Stores one item more.")
      .def(
          "finish",
          [](ListWriter& l) {
            const Turn turn(l.w);
            check_unfinished(l.finished, "list");
            l.finished = true;
            py::gil_scoped_release free;
            return l.w.made(l.list.finish());
          },
          "Writes the list. Returns its Ref.");
  py::class_<MapWriter>(m, "MapBuilder", "A map under construction; see Builder.map().")
      .def("put", &MapWriter::put, py::arg("key"), py::arg("value"), "Stores one pair more.")
      .def(
          "finish",
          [](MapWriter& x) {
            const Turn turn(x.w);
            check_unfinished(x.finished, "map");
            x.finished = true;
            py::gil_scoped_release free;
            return x.w.made(x.map.finish());
          },
          "Sorts and writes the index. Returns the map's Ref.");
  py::class_<Writer>(m, "Builder",
                     "Builds one blob. Made by to_memory, to_file, to_fd or to_buffer; options: dedupe, "
                     "compress, checksum, memory, scratch. One call at a time: RuntimeError while another "
                     "thread's has not returned.")
      .def_static("to_memory", &to_memory, "Into new memory; see data().")
      .def_static("to_file", &to_file, py::arg("path"), "A new file, which appears at finish().")
      .def_static(
          "to_fd", &to_fd, py::arg("fd"), py::arg("offset"), py::arg("is_scratch") = false,
          "Into an open file from an offset on; flushed to the disk at finish() unless it is scratch.")
      .def_static("to_buffer", &to_buffer, py::arg("buffer"), py::arg("offset"),
                  "Into anything with a writable buffer, from an offset on.")
      .def(
          "add",
          [](Writer& w, const py::object& value) {
            const Turn turn(w);
            return w.made(w.add(value));
          },
          py::arg("value"), "Stores a value now. A failed add leaves nothing behind.")
      .def(
          "set_user_data",
          [](Writer& w, const py::object& value) {
            const Turn turn(w);
            w.builder->set_user_data(typed::any(w.add(value)));
          },
          py::arg("value"), "A value that is stored beside the schema.")
      .def(
          "list",
          [](Writer& w) {
            const Turn turn(w);
            return std::make_unique<ListWriter>(ListWriter{w, typed::list_builder(*w.builder)});
          },
          py::keep_alive<0, 1>(), "A list whose items come one by one.")
      .def("map", &make_map, py::arg("keys") = "text", py::arg("duplicates") = "error",
           py::arg("hash_bits") = 64, py::keep_alive<0, 1>(),
           "A map whose pairs come one by one, in any order; see build_map.")
      .def("array", &build_array, py::arg("dtype"), py::arg("values"),
           "A packed array from an iterable of numbers, in bounded memory.")
      .def("merge", &merge, py::arg("maps"), py::arg("duplicates") = "error",
           "Any number of maps of one kind as one.")
      .def(
          "finish",
          [](Writer& w, const py::object& root) {
            const Turn turn(w);
            const typed::ref r = w.add(root);
            w.finished = true;
            py::gil_scoped_release free;
            return w.builder->finish(r);
          },
          py::arg("root"),
          "Writes schema and header; a file now appears under its name. Returns the size in bytes.")
      .def(
          "data",
          [](Writer& w) {
            if (!w.memory) throw py::type_error("only a builder to memory has data()");
            if (!w.finished || w.busy)
              throw py::value_error("this blob is not finished; expected finish() before");
            const auto& d = w.memory->data();
            return py::bytearray(reinterpret_cast<const char*>(d.data()), d.size());
          },
          "The finished blob, of a builder to memory.");
}

}  // namespace spillway::python
