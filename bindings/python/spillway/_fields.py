"""Record classes: fields declared by annotations, numbered in order or explicitly."""
from __future__ import annotations

import collections.abc
import datetime
import decimal
import types
import typing
from typing import Any, NamedTuple, Optional

import numpy

# The codes of docs/typed_format.md.
TYPE_CODES = {
    "bool": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "uint8": 6, "uint16": 7, "uint32": 8, "uint64": 9,
    "float32": 10, "float64": 11, "date": 12, "text": 16, "bytes": 17, "buffer": 18, "array": 19, "list": 20, "tuple": 21,
    "set": 22, "map": 23, "record": 24, "ndarray": 25, "decimal": 26, "any": 32, "instant": 33, "local_time": 34, "time": 35,
}


class _Width(int):
    """An annotation that names a width; values are plain ints or floats."""


class int8(_Width): ...
class int16(_Width): ...
class int32(_Width): ...
class int64(_Width): ...
class uint8(_Width): ...
class uint16(_Width): ...
class uint32(_Width): ...
class uint64(_Width): ...


class float32(float):
    """An annotation: a float of 4 bytes."""


class float64(float):
    """An annotation: a float of 8 bytes, as float."""


class LocalTime(datetime.datetime):
    """An annotation: a datetime without a time zone."""


class Array:
    """An annotation: Array["int32"] is a packed array of exactly that element type."""

    def __init__(self, element: str) -> None:
        element = {"float": "float64", "int": "int64"}.get(str(element), element)
        if not isinstance(element, str) or TYPE_CODES.get(element, 99) > 12:
            raise TypeError(f"Array: no element type {element!r}; expected bool, int8 to uint64, float32, float64 or date")
        self.element = element

    def __class_getitem__(cls, element: Any) -> "Array":
        return cls(getattr(element, "__name__", element))


class Instant(NamedTuple):
    """A point in time of a unit that datetime does not have. As an annotation: a datetime with a time zone.

    ticks: since 1970-01-01T00:00Z; unit: 0 seconds, 1 milliseconds, 2 microseconds, 3 nanoseconds; offset: seconds east of UTC, as
    it was written down; zone: its IANA name.
    """
    ticks: int
    unit: int = 2
    offset: Optional[int] = None
    zone: Optional[str] = None

    def datetime(self) -> datetime.datetime:
        """The datetime of the same moment, cut to microseconds, in UTC or the offset."""
        microseconds = self.ticks * 10**6 // (1, 10**3, 10**6, 10**9)[self.unit]
        utc = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(microseconds=microseconds)
        return utc if self.offset is None else utc.astimezone(datetime.timezone(datetime.timedelta(seconds=self.offset)))


class _Field(NamedTuple):
    number: int


def field(number: int) -> Any:
    """`id: int = spillway.field(3)`: gives the field a number of its own, which stays when it is renamed or moved."""
    if not isinstance(number, int) or not 0 < number < 2**32:
        raise ValueError(f"field: expected a number from 1 to 2^32 - 1, got {number!r}")
    return _Field(number)


_SIMPLE = {
    bool: "bool", int: "int64", float: "float64", str: "text", bytes: "bytes", bytearray: "bytes", memoryview: "buffer",
    list: "list", tuple: "tuple", set: "set", frozenset: "set", dict: "map", object: "any", Any: "any",
    decimal.Decimal: "decimal", datetime.date: "date", datetime.datetime: "any", datetime.time: "time", numpy.ndarray: "ndarray",
    int8: "int8", int16: "int16", int32: "int32", int64: "int64", uint8: "uint8", uint16: "uint16", uint32: "uint32",
    uint64: "uint64", float32: "float32", float64: "float64", Instant: "instant", LocalTime: "local_time",
    collections.abc.Sequence: "list", collections.abc.Mapping: "map", collections.abc.Set: "set",
}


def spec_of_annotation(name: str, wanted: Any) -> tuple[int, int, Optional[type]]:
    """(type, element, record class) of a field."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in arguments if a is not type(None)]
        return spec_of_annotation(name, inner[0]) if len(inner) == 1 else (TYPE_CODES["any"], 0, None)
    if origin is typing.Annotated:
        return spec_of_annotation(name, arguments[0])
    if isinstance(wanted, Array):
        return TYPE_CODES["array"], TYPE_CODES[wanted.element], None
    if origin is not None:
        code, _, _ = spec_of_annotation(name, origin)
        inner = arguments[0] if code == TYPE_CODES["list"] and arguments else None
        return code, 0, inner if hasattr(inner, "_spillway_spec") else None
    if hasattr(wanted, "_spillway_spec"):
        return TYPE_CODES["record"], 0, wanted
    try:
        return TYPE_CODES[_SIMPLE[wanted]], 0, None
    except (KeyError, TypeError):
        raise TypeError(f"field {name!r}: cannot store {wanted!r}; expected a number type, str, bytes, memoryview, list, "
                        "tuple, set, dict, object, Decimal, date, datetime, time, numpy.ndarray, Array[...] or a Record") from None


classes: dict[str, type] = {}  # by the name that blobs hold


class Record:
    """Base of record classes. Fields are the annotations, in order, base classes first.

        class Person(spillway.Record, name="acme.person"):
            id: int
            name: str = spillway.field(7)   # an explicit number
            boss: "Person | None"

    A field that was never set is absent, which is not None: None is stored as null. The name (default: the class's) is how
    a blob names its records; reading one gives a view that has the class's methods and properties too.
    """
    _spillway_spec: tuple[str, tuple[tuple, ...]] = ("", ())

    def __init_subclass__(cls, name: Optional[str] = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("__annotations__", {})
        explicit = {}
        for field_name in own:
            value = cls.__dict__.get(field_name)
            if isinstance(value, _Field):
                explicit[field_name] = value.number
                delattr(cls, field_name)
        record_name = name or cls.__name__
        inherited = list(cls._spillway_spec[1])
        # While its own annotations are looked at the class already has a place: it may mention itself.
        cls._spillway_spec = (record_name, tuple(inherited))
        module = __import__("sys").modules.get(cls.__module__)
        scope = {**vars(typing), **(vars(module) if module else {}), cls.__name__: cls}
        fields = inherited
        for field_name, annotation in own.items():
            if typing.get_origin(annotation) is typing.ClassVar:
                continue
            if isinstance(annotation, str):
                if annotation.startswith(("ClassVar", "typing.ClassVar")):
                    continue
                try:
                    annotation = eval(annotation, scope)  # the class's own source, as typing.get_type_hints does
                except NameError as e:
                    raise NameError(f"{cls.__name__}.{field_name}: {e}; expected a type that is known where the class is") from None
            elif typing.get_origin(annotation) is not None and any(isinstance(a, (str, typing.ForwardRef)) for a in typing.get_args(annotation)):
                inner = [eval(getattr(a, "__forward_arg__", a), scope) if isinstance(a, (str, typing.ForwardRef)) else a for a in typing.get_args(annotation)]
                annotation = inner[0] if type(None) in inner[1:] and len(inner) == 2 else typing.get_origin(annotation)[tuple(inner)]
            code, element, record = spec_of_annotation(field_name, annotation)
            number = explicit.get(field_name, max((f[0] for f in fields), default=0) + 1)
            if any(f[0] == number or f[1] == field_name for f in fields):
                raise TypeError(f"{cls.__name__}.{field_name}: its name or its number {number} is already another field's")
            fields.append((number, field_name, code, element, record, field_name in explicit))
        cls._spillway_spec = (record_name, tuple(fields))
        classes[record_name] = cls

    def __init__(self, *positional: Any, **values: Any) -> None:
        if positional:
            raise TypeError(f"{type(self).__name__}: expected its fields by name: {', '.join(f[1] + '=...' for f in self._spillway_spec[1])}")
        known = {f[1] for f in self._spillway_spec[1]}
        for name, value in values.items():
            if name not in known:
                raise TypeError(f"{type(self).__name__} has no field {name!r}; it has {', '.join(sorted(known))}")
            setattr(self, name, value)

    def __eq__(self, other: object) -> Any:
        from ._views import records_equal
        return records_equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = ", ".join(f"{f[1]}={getattr(self, f[1])!r}" for f in self._spillway_spec[1] if hasattr(self, f[1]))
        return f"{type(self).__name__}({values})"


def check_compatible(cls: type, writer_types: list, root_name: str) -> None:
    """Raises IncompatibleError for the first field of cls that the writer's record of that name cannot be read as."""
    from ._errors import IncompatibleError
    by_name = {name: fields for name, fields in writer_types}
    seen: set = set()

    def check(reader: type, writer: str) -> None:
        if (reader, writer) in seen or writer not in by_name:
            return
        seen.add((reader, writer))
        for number, name, code, element, record, explicit in reader._spillway_spec[1]:
            for their_number, their_name, their_code, their_element, their_record in by_name[writer]:
                if (their_number == number) if explicit else (their_name == name):
                    if not _readable(code, element, their_code, their_element):
                        raise IncompatibleError(f"{reader.__name__}.{name}: the writer's {_name(their_code)} cannot be read as {_name(code)}",
                                                "incompatible")
                    if record is not None and their_record is not None:
                        check(record, writer_types[their_record][0])

    check(cls, root_name)


def _name(code: int) -> str:
    return next(n for n, c in TYPE_CODES.items() if c == code)


def _readable(code: int, element: int, theirs: int, their_element: int) -> bool:
    if code == TYPE_CODES["any"] or (code == theirs and code != TYPE_CODES["array"]):
        return True
    if code <= 11 and theirs <= 11 and code != 1 and theirs != 1:
        return _widens(theirs, code)
    if code == TYPE_CODES["array"] and theirs == code:
        return element == their_element or (1 < element <= 11 and 1 < their_element <= 11 and _widens(their_element, element))
    return code == TYPE_CODES["list"] and theirs in (TYPE_CODES["array"], TYPE_CODES["tuple"])


def _widens(narrow: int, wide: int) -> bool:
    names = {c: n for n, c in TYPE_CODES.items()}
    return bool(numpy.can_cast(names[narrow], names[wide], "safe")) and not (names[narrow] in ("int64", "uint64") and wide > 9)
