// module.cc - the extension spillway._spillway: opening and building blobs. The package around it is
// bindings/python/spillway.
#include <pybind11/stl.h>

#include "arguments.h"

namespace spillway::python {

namespace {

// A Python buffer, held for as long as a region lives. Released with the GIL, whoever lets go last.
struct HeldBuffer {
  Py_buffer view{};
  ~HeldBuffer() {
    py::gil_scoped_acquire gil;
    PyBuffer_Release(&view);
  }
};

// Memory of a Python object from `offset`. Where it does not start at a multiple of 8, a copy.
typed::region region_of(py::handle buffer, std::uint64_t offset, bool writable) {
  auto held = std::make_shared<HeldBuffer>();
  if (PyObject_GetBuffer(buffer.ptr(), &held->view, writable ? PyBUF_CONTIG : PyBUF_CONTIG_RO) != 0)
    throw py::error_already_set();
  const auto size = static_cast<std::uint64_t>(held->view.len);
  if (offset > size)
    throw py::value_error("offset " + std::to_string(offset) + " is past the end of a buffer of " +
                          std::to_string(size) + " bytes");
  auto* base = static_cast<std::byte*>(held->view.buf) + offset;
  if (reinterpret_cast<std::uintptr_t>(base) % 8) {
    if (writable) throw py::value_error("a blob written in place must start at a multiple of 8");
    return typed::copy_of({base, size - offset});
  }
  // bytes never change; any other object may be written by whoever else holds it.
  const bool ours = PyBytes_Check(buffer.ptr());
  return {base, size - offset, ours ? typed::sharing::exclusive : typed::sharing::shared, writable, held};
}

HolderPtr open_region(typed::region r) {
  auto h = std::make_shared<Holder>();
  h->blob = take(typed::blob::open(std::move(r)));
  return h;
}

using offset_argument = argument<"offset", std::uint64_t>;
using size_argument = argument<"size", std::uint64_t>;
using writable_argument = argument<"writable", bool>;
using json_argument = argument<"json", bool>;

py::object root_of(const HolderPtr& h) { return to_python(take(typed::root(h->blob)), h); }

}  // namespace

void bind_blob(py::module_& m) {
  py::class_<Holder, HolderPtr>(m, "Blob", "An opened blob. Views keep it, and the memory it lies in, alive.")
      .def_static(
          "open_file",
          [](const py::object& path, offset_argument offset, size_argument size, writable_argument writable) {
            return open_region(typed::map_file(path_argument("path", path), {offset, size, writable}));
          },
          py::arg("path"), py::arg("offset") = 0, py::arg("size") = 0, py::arg("writable") = false,
          "A file, or a part of one, mapped.")
      .def_static(
          "open_fd",
          [](argument<"fd", int> fd, offset_argument offset, size_argument size, writable_argument writable) {
            return open_region(typed::map_fd(fd, {offset, size, writable}));
          },
          py::arg("fd"), py::arg("offset") = 0, py::arg("size") = 0, py::arg("writable") = false,
          "An open file, or a part of one, mapped; the descriptor may be closed afterwards.")
      .def_static(
          "open_buffer",
          [](const py::object& buffer, offset_argument offset, writable_argument writable) {
            return open_region(region_of(buffer, offset, writable));
          },
          py::arg("buffer"), py::arg("offset") = 0, py::arg("writable") = false,
          "Anything with the buffer protocol, from an offset on.")
      .def("root", &root_of, "What the blob holds.")
      .def(
          "user_data",
          [](const HolderPtr& h) -> py::object {
            if (!h->doc().user_data) return py::none();
            return to_python(take(typed::user_data(h->blob)), h);
          },
          "What set_user_data() stored with the schema, or None.")
      .def_property_readonly(
          "nbytes", [](const Holder& h) { return h.doc().bytes; }, "The blob's size.")
      .def_property_readonly(
          "writable", [](const Holder& h) { return h.doc().writable(); },
          "Whether numbers, bools and dates can be written in place.")
      .def(
          "verify",
          [](const Holder& h, argument<"max_expanded_bytes", std::uint64_t> max_expanded_bytes) {
            typed::status found;
            {
              py::gil_scoped_release free;
              found = typed::inspect(h.blob, {.max_expanded_bytes = max_expanded_bytes});
            }
            if (!found) raise(found.error());
          },
          py::arg("max_expanded_bytes") = std::uint64_t{4} << 30,
          "Checks every object, reference, index and text. Raises spillway.TypedError.")
      .def(
          "schema",
          [](const Holder& h, json_argument json) { return typed::schema_text(h.doc().types, json); },
          py::arg("json") = false, "The record types and their fields as text, or as JSON.")
      .def(
          "dump",
          [](const Holder& h, json_argument json) {
            std::string out;
            typed::dumper([&](std::string_view s) { out += s; }, {.json = json})
                .dump(take(typed::root(h.blob)));
            return out;
          },
          py::arg("json") = false, "Everything as text, or as JSON.")
      .def("_types", [](const Holder& h) {
        py::list out;
        for (const auto& t : h.doc().types) {
          py::list fields;
          for (const auto& f : t.fields)
            fields.append(
                py::make_tuple(f.number, f.name, static_cast<int>(f.type), static_cast<int>(f.element),
                               f.record_type == typed::kNoType ? py::object(py::none())
                                                               : py::object(py::int_(f.record_type))));
          out.append(py::make_tuple(t.name, fields));
        }
        return out;
      });
}

}  // namespace spillway::python

PYBIND11_MODULE(_spillway, m) {
  using namespace spillway::python;
  m.doc() = "Typed buffers of Spillway; use the package spillway.";
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const spillway::typed::failure& f) {
      using spillway::typed::errc;
      if (const int number = f.cause().sys_errno) {  // FileNotFoundError, PermissionError, ... by the number
        const py::tuple arguments = py::make_tuple(number, f.what());
        return PyErr_SetObject(PyExc_OSError, arguments.ptr());
      }
      PyObject* kind = nullptr;
      switch (f.code()) {
        case errc::value_range:
          kind = PyExc_OverflowError;
          break;
        case errc::wrong_type:
          kind = PyExc_TypeError;
          break;
        case errc::no_space:
          kind = PyExc_BufferError;
          break;
        default:
          break;
      }
      if (kind) return PyErr_SetString(kind, f.what());
      const py::object made =
          helpers().error(std::string(f.what()), std::string(spillway::typed::name_of(f.code())));
      PyErr_SetObject(helpers().error.ptr(), made.ptr());
    }
  });
  m.def("_register", [](const py::dict& given) {
    Helpers& h = helpers();
    h.classes = given["classes"], h.decimal = given["Decimal"], h.date = given["date"],
    h.datetime = given["datetime"], h.time = given["time"];
    h.timezone = given["timezone"], h.timedelta = given["timedelta"], h.zone_info = given["ZoneInfo"],
    h.instant = given["Instant"];
    h.numpy = given["numpy"], h.dtype_from_json = given["dtype_from_json"],
    h.dtype_to_json = given["dtype_to_json"], h.packed_array = given["packed_array"];
    h.record_base = given["Record"], h.error = given["TypedError"],
    h.incompatible = given["IncompatibleError"];
  });
  bind_views(m);
  bind_blob(m);
  bind_writer(m);
  for (const char* name : {"Blob", "Builder", "ListBuilder", "MapBuilder", "Ref"})
    reinterpret_cast<PyTypeObject*>(m.attr(name).ptr())->tp_new = nullptr;  // see only_made_here
}
