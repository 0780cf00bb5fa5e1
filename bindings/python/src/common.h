// common.h - what the parts of the extension share: the opened blob that all views keep alive, and values
// both ways.
//
// A Holder owns the blob, the Python buffer it lies in, and the interned names of its fields. Views hold a
// shared_ptr to it, so memory stays mapped for as long as anything looks at it. Threads: views never change,
// and everything here runs with the GIL unless it says otherwise.
#pragma once
#include <pybind11/pybind11.h>

#include <memory>
#include <spillway/typed.hpp>
#include <string>
#include <unordered_map>
#include <vector>

namespace spillway::python {

namespace py = pybind11;

// How a record type is reached from Python: attribute name to field.
struct TypeAccess {
  py::object cls;                 // the Record class of that name, or None
  std::vector<py::object> names;  // the writer's, interned
  std::unordered_map<PyObject*, int>
      by_name;                      // interned pointer to field; -1: the class knows it, the writer did not
  std::vector<py::object> aliases;  // keeps their pointers alive
};

struct Holder {
  typed::blob blob;
  bool proven = false;
  std::vector<std::unique_ptr<TypeAccess>> types;  // by index, made when first met

  const typed::document& doc() const { return blob.doc(); }
  TypeAccess& access(std::uint64_t type_index);
};
using HolderPtr = std::shared_ptr<Holder>;

// Views of Python: a value's place and what keeps it alive.
struct RecordView {
  HolderPtr holder;
  typed::record_view record;
  TypeAccess* access = nullptr;
};
struct ListView {
  HolderPtr holder;
  typed::list_view list;
};
struct SetView {
  HolderPtr holder;
  typed::set_view set;
};
struct MapView {
  HolderPtr holder;
  typed::map_view map;
};
// A buffer field: exported to memoryview and numpy without a copy.
struct BufferView {
  HolderPtr holder;
  const char* data;
  std::size_t size;
};

// Memory of somebody else, for as long as its owner lives: pinned pool objects, values of a store.
struct Memory {
  void* data;
  std::size_t size;
  bool readonly;
  py::object owner;
};

// A value already in a blob under construction.
struct Ref {
  typed::ref ref;
  std::uint64_t builder = 0;  // Encoder::id(): an address may be another builder's by now
};

// Things of the Python package that the extension needs; filled by _register at import.
struct Helpers {
  py::object classes;  // name -> Record class
  py::object decimal, date, datetime, time, timezone, timedelta, zone_info, instant;
  py::object numpy, dtype_from_json, dtype_to_json, packed_array;
  py::object record_base, record_equal, error, incompatible;
};
Helpers& helpers();

// decode.cc
py::object to_python(const typed::any_view& v, const HolderPtr& holder);
py::object numpy_of(const typed::nd_view& n, const HolderPtr& holder);
py::object numpy_of(const typed::list_view& l, const HolderPtr& holder);
py::object string_of(std::string_view s);

// encode.cc: a Python value as a native one, for look-ups. Throws wrong_type for what can be no key.
typed::any key_of(py::handle value);

// Python objects into a builder. Remembers what it has seen until reset(), so shared and repeated objects are
// walked once.
class Encoder {
 public:
  explicit Encoder(typed::builder& b) : b_(b) {}
  std::uint64_t id() const { return id_; }
  typed::item encode(py::handle value) { return encode(value, 0); }
  void reset() { seen_.clear(), keep_.clear(); }
  std::uint32_t type_of(py::handle cls);

 private:
  typed::item encode(py::handle value, unsigned level);
  typed::item compound(py::handle value, unsigned level);
  typed::ref sequence(py::handle value, bool tuple, unsigned level);
  typed::ref set(py::handle value, unsigned level);
  typed::ref mapping(py::handle value, unsigned level);
  typed::ref record(py::handle value, py::handle cls, unsigned level);
  typed::ref ndarray(py::handle value);
  typed::ref packed_array(py::handle value, typed::type element, const std::string& field);
  bool is_of(py::handle record, std::uint32_t declared);
  void put_field(typed::builder::record_draft& d, std::size_t i, py::handle value, unsigned level);

  static std::uint64_t next_id() {
    static std::uint64_t last = 0;  // under the GIL
    return ++last;
  }

  typed::builder& b_;
  std::uint64_t id_ = next_id();
  std::unordered_map<PyObject*, typed::item> seen_;
  std::vector<py::object> keep_;
  std::unordered_map<PyObject*, std::uint32_t> types_;
  std::vector<std::vector<py::object>> names_;  // of the fields, by type
  std::vector<std::pair<std::shared_ptr<Holder>, std::unique_ptr<typed::copier>>> copiers_;
};

[[noreturn]] void raise(const typed::error& e);
template <class T>
T take(typed::result<T> r) {
  if (!r) raise(r.error());
  return std::move(r).value();
}

void bind_record_view(py::module_& m);
void bind_views(py::module_& m);
void bind_writer(py::module_& m);
void bind_blob(py::module_& m);

}  // namespace spillway::python
