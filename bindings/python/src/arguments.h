// arguments.h - arguments that are converted here and not by pybind11, whose message for a wrong one is a
// list of C++ signatures.
//
// A parameter of type argument<"keys", std::string> takes what Python's own functions would, and otherwise
// raises TypeError or ValueError: the parameter's name, what was expected, what was given.
#pragma once
#include <algorithm>

#include "common.h"

namespace spillway::python {

template <std::size_t N>
struct parameter_name {
  char text[N];
  constexpr parameter_name(const char (&s)[N]) { std::copy_n(s, N, text); }  // NOLINT: reads as the name
};

template <parameter_name Name, class T>
struct argument {
  T value{};
  operator const T&() const { return value; }  // NOLINT: stands for the value
};

[[noreturn]] void refuse(const char* name, const char* expected, py::handle given);
[[noreturn]] void refuse_value(const char* name, const char* expected, py::handle given);

// Raise what refuse() does.
void take_argument(const char* name, py::handle given, std::string& to);    // a str
void take_argument(const char* name, py::handle given, std::uint64_t& to);  // 0 to 2^64 - 1
void take_argument(const char* name, py::handle given, int& to);
void take_argument(const char* name, py::handle given, bool& to);  // True or False
std::string path_argument(const char* name, py::handle given);     // str, bytes or os.PathLike

}  // namespace spillway::python

namespace pybind11::detail {

template <spillway::python::parameter_name Name, class T>
struct type_caster<spillway::python::argument<Name, T>> {
  using Argument = spillway::python::argument<Name, T>;
  PYBIND11_TYPE_CASTER(Argument, make_caster<T>::name);
  bool load(handle given, bool) {
    spillway::python::take_argument(Name.text, given, value.value);
    return true;
  }
};

}  // namespace pybind11::detail
