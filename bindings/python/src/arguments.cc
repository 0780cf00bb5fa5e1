// arguments.cc - what a parameter takes, and what is said about the rest.
#include "arguments.h"

#include "convert.h"

namespace spillway::python {

namespace {

std::string sentence(const char* name, const char* expected, py::handle given) {
  return std::string(name) + ": expected " + expected + ", got " + py::repr(given).cast<std::string>();
}

}  // namespace

void refuse(const char* name, const char* expected, py::handle given) {
  throw py::type_error(sentence(name, expected, given));
}
void refuse_value(const char* name, const char* expected, py::handle given) {
  throw py::value_error(sentence(name, expected, given));
}

void take_argument(const char* name, py::handle given, std::string& to) {
  if (!PyUnicode_Check(given.ptr())) refuse(name, "a str", given);
  to = text_of(given);
}

void take_argument(const char* name, py::handle given, std::uint64_t& to) {
  if (!PyIndex_Check(given.ptr())) refuse(name, "a whole number", given);
  const py::object whole = py::reinterpret_steal<py::object>(PyNumber_Index(given.ptr()));
  if (!whole) throw py::error_already_set();
  to = PyLong_AsUnsignedLongLong(whole.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    refuse_value(name, "0 to 2^64 - 1", given);
  }
}

void take_argument(const char* name, py::handle given, int& to) {
  int overflow = 0;
  const long n =
      PyLong_Check(given.ptr()) ? PyLong_AsLongAndOverflow(given.ptr(), &overflow) : (overflow = 1, -1);
  if (overflow || n != static_cast<int>(n)) refuse(name, "an int of 32 bits", given);
  to = static_cast<int>(n);
}

void take_argument(const char* name, py::handle given, bool& to) {
  if (!PyBool_Check(given.ptr())) refuse(name, "True or False", given);
  to = given.ptr() == Py_True;
}

std::string path_argument(const char* name, py::handle given) {
  PyObject* encoded = nullptr;
  if (!PyUnicode_FSConverter(given.ptr(), &encoded)) {
    if (PyErr_ExceptionMatches(PyExc_ValueError)) throw py::error_already_set();  // a NUL in it
    PyErr_Clear();
    refuse(name, "a path", given);
  }
  return py::reinterpret_steal<py::bytes>(encoded);
}

}  // namespace spillway::python
