// decode.cc - stored values as Python objects: numbers, texts and times as copies, everything larger as
// views.
#include <pybind11/numpy.h>

#include "common.h"

namespace spillway::python {

using typed::what;

py::object string_of(std::string_view s) {
  PyObject* text = PyUnicode_DecodeUTF8(s.data(), static_cast<Py_ssize_t>(s.size()), "strict");
  if (!text) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(text);
}

namespace {

py::object timezone_of(std::int32_t offset_s) { return helpers().timezone(helpers().timedelta(0, offset_s)); }

py::object datetime_of(typed::moment m, py::object zone, int fold) {
  const std::int64_t day_seconds = ((m.seconds % 86400) + 86400) % 86400;
  const typed::date date{static_cast<std::int32_t>((m.seconds - day_seconds) / 86400)};
  const auto [year, month, day] = date.ymd();
  return helpers().datetime(year, month, day, day_seconds / 3600, day_seconds / 60 % 60, day_seconds % 60,
                            m.nanos / 1000, zone, py::arg("fold") = fold);
}

// A datetime when it is of microseconds, as Python's are; otherwise an Instant, which keeps the unit.
py::object instant_of(const typed::instant& t) {
  if (t.unit != typed::unit::us)
    return helpers().instant(t.ticks, static_cast<int>(t.unit),
                             t.offset_s == typed::kNoOffset ? py::none() : py::object(py::int_(t.offset_s)),
                             t.zone.empty() ? py::none() : py::object(py::str(t.zone)));
  if (!t.zone.empty()) {
    try {
      const py::object utc = datetime_of(t.when(), helpers().timezone.attr("utc"), 0);
      return utc.attr("astimezone")(helpers().zone_info(t.zone));
    } catch (py::error_already_set&) {
      // A zone this machine does not know: the offset it was written with remains.
    }
  }
  typed::moment m = t.when();
  if (t.offset_s == typed::kNoOffset) return datetime_of(m, helpers().timezone.attr("utc"), 0);
  m.seconds += t.offset_s;
  return datetime_of(m, timezone_of(t.offset_s), 0);
}

py::object time_of(const typed::time_of_day& t) {
  const std::int64_t s = t.ns / 1000000000;
  const py::object zone = t.offset_s == typed::kNoOffset ? py::none() : timezone_of(t.offset_s);
  return helpers().time(s / 3600, s / 60 % 60, s % 60, t.ns % 1000000000 / 1000, zone);
}

const char* numpy_name(typed::type t) {
  switch (t) {
    case typed::type::boolean:
      return "?";
    case typed::type::i8:
      return "<i1";
    case typed::type::i16:
      return "<i2";
    case typed::type::i32:
      return "<i4";
    case typed::type::i64:
      return "<i8";
    case typed::type::u8:
      return "<u1";
    case typed::type::u16:
      return "<u2";
    case typed::type::u32:
      return "<u4";
    case typed::type::u64:
      return "<u8";
    case typed::type::f32:
      return "<f4";
    case typed::type::f64:
      return "<f8";
    case typed::type::date:
      return "<i4";
    default:
      return "";
  }
}

py::object array_over(py::object dtype, std::vector<py::ssize_t> shape, std::vector<py::ssize_t> strides,
                      const void* data, const HolderPtr& holder) {
  const py::capsule owner(new HolderPtr(holder), [](void* p) { delete static_cast<HolderPtr*>(p); });
  py::array a(py::dtype::from_args(std::move(dtype)), std::move(shape), std::move(strides), data, owner);
  if (!holder->doc().writable()) a.attr("setflags")(py::arg("write") = false);
  return a;
}

}  // namespace

py::object numpy_of(const typed::nd_view& n, const HolderPtr& holder) {
  py::object dtype = n.dtype().empty() ? helpers().numpy.attr("dtype")(numpy_name(n.element()))
                                       : helpers().dtype_from_json(string_of(n.dtype()), n.item_bytes());
  std::vector<py::ssize_t> shape(n.shape().begin(), n.shape().end()), strides(shape.size());
  py::ssize_t step = static_cast<py::ssize_t>(n.item_bytes());
  for (std::size_t i = shape.size(); i--;) strides[i] = step, step *= std::max<py::ssize_t>(shape[i], 1);
  return array_over(dtype, std::move(shape), std::move(strides), n.data(), holder);
}

py::object numpy_of(const typed::list_view& l, const HolderPtr& holder) {
  if (l.element() == typed::type::none)
    throw py::type_error("a list of mixed values has no numpy array; use list()");
  const auto item = static_cast<py::ssize_t>(typed::bytes_of(l.element()));
  return array_over(helpers().numpy.attr("dtype")(numpy_name(l.element())),
                    {static_cast<py::ssize_t>(l.size())}, {item * l.step()}, l.data(), holder);
}

py::object to_python(const typed::any_view& v, const HolderPtr& holder) {
  switch (v.raw().what) {
    case typed::code::null:
      return py::none();
    case typed::code::boolean:
      return py::bool_(v.raw().payload == 1);
    case typed::code::integer:
      return py::reinterpret_steal<py::object>(PyLong_FromLongLong(static_cast<long long>(v.raw().payload)));
    case typed::code::uinteger:
      return py::reinterpret_steal<py::object>(PyLong_FromUnsignedLongLong(v.raw().payload));
    default:
      break;
  }
  switch (take(v.what())) {
    case what::f32:
    case what::f64:
      return py::float_(take(v.real()));
    case what::text: {
      const typed::text_view t = take(v.text());
      return t.is_compressed() ? string_of(take(t.str())) : string_of(t.stored());
    }
    case what::bytes: {
      const typed::text_view t = take(v.bytes());
      if (t.is_compressed()) return py::bytes(take(t.str()));
      return py::bytes(t.stored().data(), t.stored().size());
    }
    case what::buffer: {
      const std::string_view s = take(v.buffer()).stored();
      return py::memoryview(py::cast(BufferView{holder, s.data(), s.size()}));
    }
    case what::date: {
      const auto [year, month, day] = take(v.date()).ymd();
      return helpers().date(year, month, day);
    }
    case what::instant:
      return instant_of(take(v.instant()));
    case what::local_time: {
      const typed::local_time t = take(v.local_time());
      return datetime_of(t.when(), py::none(), t.fold);
    }
    case what::time_of_day:
      return time_of(take(v.time_of_day()));
    case what::decimal:
      return helpers().decimal(take(v.decimal()).str());
    case what::list:
    case what::tuple:
      return py::cast(ListView{holder, take(v.list())});
    case what::set:
      return py::cast(SetView{holder, take(v.set())});
    case what::map:
      return py::cast(MapView{holder, take(v.map())});
    case what::record: {
      const typed::record_view r = take(v.record());
      return py::cast(RecordView{holder, r, &holder->access(r.type_index())});
    }
    case what::nd:
      return numpy_of(take(v.nd()), holder);
    default:
      return py::none();
  }
}

}  // namespace spillway::python
