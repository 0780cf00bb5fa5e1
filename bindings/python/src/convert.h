// convert.h - single Python values as native ones, shared by what encodes.
#pragma once
#include "common.h"

namespace spillway::python {

std::string_view text_of(py::handle s);
std::string type_name(py::handle v);
typed::date date_of(py::handle d);
typed::any datetime_of(py::handle t);
typed::time_of_day time_of(py::handle t);
typed::instant instant_of(py::handle v);
typed::decimal decimal_of(py::handle v);
// True when it is an int of 64 bits; sets what it is.
bool integer_of(py::handle v, std::int64_t& i, std::uint64_t& u, bool& is_unsigned);
// Raises OverflowError when it has more.
typed::item integer_item(py::handle v);
// False when a field of float32 or float64 cannot hold it: beyond the largest number of that width.
bool real_of(py::handle v, typed::type t, double& d);
[[noreturn]] void throw_unfit(const std::string& field, typed::type t, py::handle value);
inline typed::item float_item(double d) {
  return typed::scalar_item(typed::code::f64, std::bit_cast<std::uint64_t>(d));
}
inline bool is(py::handle v, const py::object& cls) { return PyObject_IsInstance(v.ptr(), cls.ptr()) == 1; }

}  // namespace spillway::python
