"""Completes the view classes of the extension with the mixin methods of collections.abc, and registers them there."""
from __future__ import annotations

import collections.abc as abc
import datetime
import decimal
import itertools
import json
import reprlib
import threading
import zoneinfo
from typing import Any, Iterable

import numpy

from . import _spillway
from ._errors import IncompatibleError, TypedError
from ._fields import Instant, Record, classes
from ._spillway import Blob, ListView, MapView, RecordView, SetView

_MISSING = object()

# Methods of a record's view are called as RecordView's: a field may have the name of any of them.


def fields_of(record: Any) -> list[str]:
    """The names of a record's fields, of a view as its writer named them."""
    _check_record(record)
    return RecordView._fields(record) if isinstance(record, RecordView) else [f[1] for f in record._spillway_spec[1]]


def state_of(record: Any, field: str) -> str:
    """'absent', 'null' or 'set'. AttributeError when the record has no such field."""
    if isinstance(record, RecordView):
        return ("absent", "null", "set")[RecordView._state(record, field)]
    if field not in fields_of(record):
        raise AttributeError(f"{type(record).__name__} has no field {field!r}")
    value = getattr(record, field, _MISSING)
    return "absent" if value is _MISSING else "null" if value is None else "set"


def _check_record(given: Any) -> None:
    if not isinstance(given, RecordView) and not hasattr(type(given), "_spillway_spec"):
        raise TypeError(f"expected a record or a view of one, got {type(given).__name__}")


def records_equal(a: Any, b: Any) -> Any:
    """Whether two records, or views of records, have the same name, fields, states and values."""
    if not isinstance(b, (Record, RecordView)) and not hasattr(type(b), "_spillway_spec"):
        return NotImplemented
    name = lambda r: RecordView._type_name(r) if isinstance(r, RecordView) else type(r)._spillway_spec[0]
    if name(a) != name(b):
        return False
    values = lambda r: {f: getattr(r, f) for f in fields_of(r) if state_of(r, f) != "absent"}
    return _same(values(a), values(b))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, numpy.ndarray) or isinstance(b, numpy.ndarray):
        return isinstance(a, numpy.ndarray) and isinstance(b, numpy.ndarray) and a.shape == b.shape and bool(numpy.array_equal(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    return bool(a == b)


def clone(value: Any) -> Any:
    """A native copy of a view, all the way down: lists, tuples, frozensets, dicts, and records of the class that declares them (a
    dict of the fields where there is none). Other values are given back as they are."""
    if isinstance(value, RecordView):
        pairs = {f: clone(getattr(value, f)) for f in RecordView._fields(value) if RecordView._state(value, f) != 0}
        cls = RecordView._class(value)
        if cls is None:
            return pairs
        made = cls.__new__(cls)
        for name, held in pairs.items():
            setattr(made, name, held)
        return made
    if isinstance(value, ListView):
        items = [clone(v) for v in value]
        return tuple(items) if value.is_tuple else items
    if isinstance(value, SetView):
        return frozenset(_hashable(v) for v in value)
    if isinstance(value, MapView):
        if value.is_multi:
            return {_hashable(k): clone(value[k]) for k in value}
        return {_hashable(k): clone(v) for k, v in value.iteritems()}
    return numpy.array(value) if isinstance(value, numpy.ndarray) else value


def _hashable(value: Any) -> Any:
    if isinstance(value, ListView):
        return tuple(_hashable(v) for v in value)
    return clone(value)


_nesting = threading.local()


def _brief(what: str, contents: Iterable[str], all_of_them: bool = True, between: str = ": ") -> str:
    """A few elements, and of those within them fewer: a small blob may hold a tree of 2^40 values."""
    level = getattr(_nesting, "level", 0)
    if level == 3:
        return f"<{what}>"
    _nesting.level = level + 1
    try:
        shown = ", ".join(contents) + ("" if all_of_them else ", ...")
    finally:
        _nesting.level = level
    return f"<{what}{between if shown else ''}{shown}>"


def _record_repr(self: RecordView) -> str:
    return _brief(RecordView._type_name(self), (f"{f}={getattr(self, f)!r}" for f in RecordView._fields(self) if RecordView._state(self, f) != 0), between=" ")


def _list_repr(self: ListView) -> str:
    return _brief(f"{'tuple' if self.is_tuple else 'list'} of {len(self)}", map(repr, self[:10]), len(self) <= 10)


def _set_repr(self: SetView) -> str:
    return _brief(f"set of {len(self)}", map(repr, itertools.islice(self, 10)), len(self) <= 10)


def _map_repr(self: MapView) -> str:
    return _brief(f"map of {len(self)}", (f"{k!r}: {v!r}" for k, v in itertools.islice(self.iteritems(), 5)), self.entries <= 5)


def _compare(operation: str) -> Any:
    def compare(self: ListView, other: Any) -> Any:
        if not isinstance(other, (list, tuple, ListView)):
            return NotImplemented
        mine, theirs = self.is_tuple, other.is_tuple if isinstance(other, ListView) else isinstance(other, tuple)
        if mine != theirs:  # as [1] and (1,), which are never equal and have no order
            return {"__eq__": False, "__ne__": True}.get(operation, NotImplemented)
        return getattr(list(self), operation)(list(other))
    compare.__name__ = operation
    return compare


def _list_hash(self: ListView) -> int:
    if not self.is_tuple:
        raise TypeError("unhashable type: a list in a blob")
    return hash(tuple(self))


def _contains(self: ListView, wanted: Any) -> bool:
    return any(v is wanted or v == wanted for v in self)


def _select(self: ListView, mask: Any) -> list:
    """The elements where the mask (booleans, as many as elements) is true; an array of numbers gives an array."""
    if not hasattr(mask, "__len__"):
        raise TypeError(f"mask: expected {len(self)} booleans, got {mask!r}")
    if len(mask) != len(self):
        raise ValueError(f"a mask of {len(mask)} for {len(self)} elements")
    if self.dtype is not None:
        return self.numpy()[numpy.asarray(mask, dtype=bool)]
    return [v for v, wanted in zip(self, mask) if wanted]


def _set_le(self: SetView, other: Any) -> Any:
    if isinstance(other, SetView):
        return self._subset(other)
    return abc.Set.__le__(self, other)


def _set_eq(self: SetView, other: Any) -> Any:
    if not isinstance(other, abc.Set):
        return NotImplemented
    return len(self) == len(other) and bool(_set_le(self, other))


def _map_eq(self: MapView, other: Any) -> Any:
    if not isinstance(other, abc.Mapping):
        return NotImplemented
    if len(self) != len(other):
        return False
    return all(k in other and _same(self[k], other[k]) for k in self)


def _copy(self: MapView) -> dict:
    """A dict of the keys and values; the values are views still."""
    return {_hashable(k): self[k] for k in self}


def _dir(self: RecordView) -> list[str]:
    """The fields, and what the class that declares them has beside."""
    cls = RecordView._class(self)
    return sorted({*RecordView._fields(self), *dir(type(self)), *(dir(cls) if cls is not None else ())})


def _from_pickle(packed: bytes) -> Any:
    from ._files import loads
    return loads(packed)


def _reduce(self: Any) -> Any:
    """Pickled, a view is a blob of its own, of this value alone; unpickled, a view of that blob."""
    from ._files import dumps
    return _from_pickle, (bytes(dumps(self)),)


def _deepcopy(self: Any, memo: Any) -> Any:
    """A view of a copy: what is written in place into the original does not show. For native objects: spillway.clone()."""
    make, arguments = _reduce(self)
    return make(*arguments)


def _equal(self: RecordView, other: Any) -> Any:
    return records_equal(self, other)


def _position_hash(self: RecordView) -> int:
    return hash((RecordView._type_name(self), RecordView._position(self)))


def _assign(cls: type, **members: Any) -> None:
    for name, member in members.items():
        setattr(cls, name, member)


_assign(Blob, __repr__=lambda self: f"<blob of {self.nbytes} bytes>")
_assign(RecordView, __eq__=_equal, __repr__=_record_repr, __hash__=_position_hash, __dir__=_dir)
for _cls in (RecordView, ListView, SetView, MapView):
    _assign(_cls, __reduce__=_reduce, __copy__=lambda self: self, __deepcopy__=_deepcopy)
_assign(ListView, __repr__=_list_repr, __hash__=_list_hash, __contains__=_contains, index=abc.Sequence.index, count=abc.Sequence.count,
        select=_select, **{n: _compare(n) for n in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")})
_assign(SetView, __repr__=_set_repr, __le__=_set_le, __eq__=_set_eq,
        __hash__=lambda self: hash(frozenset(self)), isdisjoint=abc.Set.isdisjoint,
        _from_iterable=classmethod(lambda cls, items: frozenset(items)),
        **{n: abc.Set.__dict__[n] for n in ("__lt__", "__gt__", "__ge__", "__and__", "__or__", "__sub__", "__xor__", "__rand__",
                                            "__ror__", "__rsub__", "__rxor__")})


def _set_method(name: str) -> Any:
    def method(self: SetView, *others: Any) -> Any:
        return getattr(frozenset(self), name)(*others)
    method.__name__, method.__doc__ = name, getattr(frozenset, name).__doc__
    return method


def _issubset(self: SetView, other: Any) -> bool:
    """Whether every member of this set is one of the other, which may be any iterable."""
    return bool(self <= other) if isinstance(other, SetView) else frozenset(self).issubset(other)


def _has_key(self: MapView, key: Any) -> bool:
    """As `key in map`."""
    return key in self


_assign(SetView, issubset=_issubset, **{n: _set_method(n) for n in ("union", "intersection", "difference", "symmetric_difference", "issuperset")})
_assign(MapView, __repr__=_map_repr, __eq__=_map_eq, __hash__=None, keys=abc.Mapping.keys, values=abc.Mapping.values,
        items=abc.Mapping.items, copy=_copy, has_key=_has_key)
abc.Sequence.register(ListView)
abc.Set.register(SetView)
abc.Mapping.register(MapView)


def _dtype_to_json(dtype: numpy.dtype) -> str:
    if dtype.hasobject:
        raise TypeError(f"cannot store a numpy array of {dtype}: it holds Python objects")
    plain = lambda d: d.str if d.fields is None else [[n, plain(d.fields[n][0]), d.fields[n][1]] for n in d.names]
    subarrays = lambda d: d.subdtype is not None or any(subarrays(f[0]) for f in (d.fields or {}).values())
    if subarrays(dtype):
        raise TypeError(f"cannot store a numpy array of {dtype}: fields of several elements")
    return json.dumps(plain(dtype))


def _dtype_from_json(text: str, item_bytes: int) -> numpy.dtype:
    def build(d: Any) -> numpy.dtype:
        if isinstance(d, str):
            return numpy.dtype(d)
        return numpy.dtype({"names": [f[0] for f in d], "formats": [build(f[1]) for f in d], "offsets": [f[2] for f in d]})
    try:
        made = build(json.loads(text))
        if not isinstance(json.loads(text), str):
            made = numpy.dtype({"names": list(made.names), "formats": [made.fields[n][0] for n in made.names],
                                "offsets": [made.fields[n][1] for n in made.names], "itemsize": item_bytes})
    except (ValueError, TypeError, IndexError, KeyError, RecursionError) as e:
        raise TypedError(f"bad dtype of an n-d array: {e}", "bad value") from None
    if made.hasobject or made.itemsize != item_bytes:
        raise TypedError("bad dtype of an n-d array: its size is not the items'", "contradiction")
    return made


def _packed_array(values: Any, element: str, field: str) -> numpy.ndarray:
    """The numbers as an array of exactly that element type; OverflowError when one of them would become another."""
    wrong = lambda: TypeError(f"{field}: expected a flat sequence of {element}, got {reprlib.repr(values)}")
    beyond = lambda: OverflowError(f"{field}: a number that {element} cannot hold, in {reprlib.repr(values)}")
    if isinstance(values, ListView) and element != "date":
        values = values.numpy() if values.dtype is not None else list(values)
    if element == "date":
        if isinstance(values, str) or not isinstance(values, abc.Iterable):
            raise wrong()
        values = list(values)
        if not all(isinstance(v, datetime.date) and not isinstance(v, datetime.datetime) for v in values):
            raise wrong()
        return numpy.array([v.toordinal() for v in values], numpy.int32) - numpy.int32(datetime.date(1970, 1, 1).toordinal())
    try:
        given = numpy.asarray(values)
        if given.ndim != 1 or (given.size and given.dtype.kind not in ("b" if element == "bool" else "biufO")):
            raise wrong()
        with numpy.errstate(all="ignore"):
            exact = numpy.ascontiguousarray(given, element)
    except OverflowError:
        raise beyond() from None
    except (TypeError, ValueError):
        raise wrong() from None
    # Floats are rounded as any are, but not to infinity.
    if (numpy.isinf(exact) & (given != exact)).any() if exact.dtype.kind == "f" else given.size and not numpy.array_equal(given, exact):
        raise beyond()
    return exact


_spillway._register({
    "classes": classes, "Decimal": decimal.Decimal, "date": datetime.date, "datetime": datetime.datetime, "time": datetime.time,
    "timezone": datetime.timezone, "timedelta": datetime.timedelta, "ZoneInfo": zoneinfo.ZoneInfo, "Instant": Instant, "numpy": numpy,
    "dtype_from_json": _dtype_from_json, "dtype_to_json": _dtype_to_json, "packed_array": _packed_array, "Record": Record, "TypedError": TypedError,
    "IncompatibleError": IncompatibleError,
})
