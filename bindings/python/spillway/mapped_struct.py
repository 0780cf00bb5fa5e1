"""The names of the library sharedbuffers over typed blobs, for programs that come from there: docs/typed_from_sharedbuffers.md.

The bytes are Spillway's, not sharedbuffers': data is built again, not converted. Field numbers follow the order of the
slots' names, so adding a slot to __slot_types__ keeps old files readable only by name.
"""
from __future__ import annotations

import datetime
import decimal
from typing import Any, Iterable, Iterator, Optional

import numpy

from . import _files, _fields
from ._fields import TYPE_CODES, classes, spec_of_annotation
from ._spillway import Blob, Builder, ListView, MapView, RecordView
from ._views import clone
from ._errors import IncompatibleError

# Names of sharedbuffers' slot types. Its mapped_ and proxied_ forms are one here: always read in place, cloned on request.
ubyte = uint8 = _fields.uint8
byte = int8 = _fields.int8
ushort = uint16 = _fields.uint16
short = int16 = _fields.int16
uint32, int32, uint64, int64 = _fields.uint32, _fields.int32, _fields.uint64, _fields.int64
float32, float64, double = _fields.float32, _fields.float64, _fields.float64
mapped_list = proxied_list = list
mapped_tuple = proxied_tuple = tuple
mapped_frozenset = proxied_frozenset = frozenset
mapped_dict = proxied_dict = mapped_defaultdict = dict
mapped_date, mapped_datetime, mapped_decimal = datetime.date, datetime.datetime, decimal.Decimal
mapped_ndarray = proxied_ndarray = numpy.ndarray
proxied_buffer = memoryview


def _expect(name: str, wanted: type, given: Any) -> None:
    if not isinstance(given, wanted):
        raise TypeError(f"{name}: expected a {wanted.__name__}, got {given!r}")


class Schema:
    """How objects with certain slots are stored. Made by from_typed_slots."""

    def __init__(self, record: type) -> None:
        self._record = record
        self.user_data: Any = None

    @classmethod
    def from_typed_slots(cls, slots: Any, name: Optional[str] = None) -> "Schema":
        """slots: a dict of names and types, or a class with __slot_types__. A name tells records of different schemas apart in one blob."""
        types = slots if isinstance(slots, dict) else getattr(slots, "__slot_types__", None)
        if not isinstance(types, dict) or not all(isinstance(slot, str) for slot in types):
            raise TypeError(f"from_typed_slots: expected a dict of names and types, or a class with __slot_types__, got {slots!r}")
        if name is None:
            name = "slots(" + ",".join(sorted(types)) + ")" if isinstance(slots, dict) else slots.__name__
        fields = []
        for number, (slot, wanted) in enumerate(sorted(types.items()), 1):
            if isinstance(getattr(wanted, "__schema__", None), Schema):
                wanted = wanted.__schema__._record
            fields.append((number, slot, *spec_of_annotation(slot, wanted), False))
        record = type("Slots", (), {"_spillway_spec": (name, tuple(fields))})
        return cls(record)

    @property
    def slot_keys(self) -> list[str]:
        return [f[1] for f in self._record._spillway_spec[1]]

    def set_user_data(self, value: Any) -> None:
        """Stored beside the schema in everything packed from now on."""
        self.user_data = value

    def compatible(self, other: "Schema") -> bool:
        """Whether what one packs the other unpacks as the same."""
        _expect("compatible", Schema, other)
        strip = lambda s: [f[:4] for f in s._record._spillway_spec[1]]
        return strip(self) == strip(other)

    def _wrap(self, obj: Any) -> Any:
        if isinstance(obj, RecordView) or type(obj) is self._record:
            return obj
        made = self._record()
        for slot in self.slot_keys:
            try:
                setattr(made, slot, getattr(obj, slot))
            except AttributeError:
                pass
        return made

    def pack(self, obj: Any, **options: Any) -> bytearray:
        """A bytearray that holds the object; any object with these slots as attributes, absent ones left out, or a view."""
        return _files.dumps(self._wrap(obj), user_data=self.user_data, **options)

    def pack_into(self, obj: Any, buf: Any, offs: int = 0, **options: Any) -> int:
        """Stores the object in a writable buffer; returns the end. BufferError when it does not fit."""
        return _files.pack_into(self._wrap(obj), buf, offs, user_data=self.user_data, **options)

    def unpack(self, buf: Any, cls: Optional[type] = None) -> Any:
        """A view of the object; or, with cls, a new object of that class, filled."""
        return self.unpack_from(buf, 0, cls)

    def unpack_from(self, buf: Any, offs: int = 0, cls: Optional[type] = None) -> Any:
        """unpack(), from what pack_into() stored at this offset."""
        _files._check_place(offs)
        blob = _files.open_blob(buf, (offs + 7) // 8 * 8)
        view = blob.root()
        name = self._record._spillway_spec[0]
        if not isinstance(view, RecordView):
            raise IncompatibleError(f"expected a record {name}, found {type(view).__name__}", "incompatible")
        found, fields = RecordView._type_name(view), RecordView._fields(view)
        if self.slot_keys and not set(self.slot_keys) & set(fields):
            raise IncompatibleError(f"expected a record {name}, found {found}, which has none of its fields", "incompatible")
        _fields.check_compatible(self._record, blob._types(), found)
        if cls is None:
            return view
        made = cls.__new__(cls)
        for slot in fields:
            if RecordView._state(view, slot) != 0:
                setattr(made, slot, clone(getattr(view, slot)))
        return made


class _MappedObjects:
    """register_schema() and register_subclass(), as sharedbuffers' mapped_object has them."""

    @staticmethod
    def register_schema(cls: type, schema: Schema, typecode: Any = None) -> type:
        """From now on objects of cls can be stored anywhere; views of them have its methods. typecode is not needed: blobs name types."""
        _expect("register_schema", type, cls), _expect("register_schema", Schema, schema)
        name, fields = schema._record._spillway_spec
        name = cls.__name__ if name.startswith("slots(") else name
        if classes.get(name, cls) is not cls:
            raise ValueError(f"register_schema: {name} is already another class's name")
        cls._spillway_spec = schema._record._spillway_spec = (name, fields)
        classes[name] = cls
        return cls

    @staticmethod
    def register_subclass(cls: type, superclass: type) -> None:
        """Objects of cls are stored as their superclass."""
        _expect("register_subclass", type, cls)
        if not hasattr(superclass, "_spillway_spec"):
            raise TypeError(f"register_subclass: expected a class given to register_schema(), got {superclass!r}")
        cls._spillway_spec = superclass._spillway_spec


mapped_object = _MappedObjects


class _Mapped:
    """What arrays and mappings share: made by build() or map_file() or map_buffer()."""
    schema: Optional[Schema] = None
    _root: Any = None
    _holds: Any = object

    @classmethod
    def _of(cls, root: Any) -> Any:
        if not isinstance(root, cls._holds):
            raise IncompatibleError(f"{cls.__name__}: expected a {cls._holds.__name__}, found {type(root).__name__}", "incompatible")
        made = cls.__new__(cls)
        made._root = root
        return made

    @classmethod
    def map_file(cls, fileobj: Any, offset: int = 0, size: int = 0) -> Any:
        """fileobj: a path or an open file."""
        return cls._of(_files.open(fileobj, offset=offset, size=size or 0))

    @classmethod
    def map_buffer(cls, buf: Any, offset: int = 0) -> Any:
        return cls._of(_files.open(buf, offset=offset))

    @classmethod
    def _wrap(cls, value: Any) -> Any:
        return cls.schema._wrap(value) if cls.schema is not None and not isinstance(value, _PASS) else value

    @staticmethod
    def _place(destfile: Any) -> tuple[Any, int]:
        """An open file is written from its position on, at the next multiple of 64."""
        if destfile is None or not hasattr(destfile, "tell"):
            return destfile, 0
        destfile.flush()
        return destfile, (destfile.tell() + 63) // 64 * 64

    def __len__(self) -> int:
        return len(self._root)


_PASS = (int, float, str, bytes, list, tuple, dict, frozenset, set, type(None))


class MappedArrayProxyBase(_Mapped):
    """An array of records; subclasses set `schema`."""
    _holds = ListView

    @classmethod
    def build(cls, initializer: Iterable, destfile: Any = None, tempdir: Optional[str] = None, idmap: Any = None, return_mapper: bool = True) -> Any:
        """Streams the objects into destfile (a path, an open file from its position on, or None for memory). idmap is not needed:
        equal objects are found by their content."""
        target, offset = cls._place(destfile)
        root = _files.build_list(map(cls._wrap, _files._each(initializer, "initializer")), target, offset=offset, **({"scratch": tempdir} if tempdir else {}))
        return cls._finish(root, destfile) if return_mapper else _end(destfile)

    @classmethod
    def _finish(cls, root: Any, destfile: Any) -> Any:
        _end(destfile)
        return cls._of(root)

    def __getitem__(self, index: Any) -> Any:
        return self._root[index]

    def get(self, index: int) -> Any:
        return self._root[index]

    def __iter__(self) -> Iterator:
        return iter(self._root)

    def iter_fast(self, mask: Any = None) -> Iterator:
        """The records where the mask is true, or all."""
        return iter(self._root) if mask is None else iter(self._root.select(mask))

    def getter(self) -> Any:
        return self._root.__getitem__


def _end(destfile: Any) -> Any:
    if destfile is not None and hasattr(destfile, "seek"):
        return destfile.seek(0, 2)
    return None


class NumericIdMapper:
    keys, multi = "uint", False


class StringIdMapper:
    keys, multi = "text", False


class ObjectIdMapper:
    keys, multi = "object", False


class NumericIdMultiMapper(NumericIdMapper):
    multi = True


class StringIdMultiMapper(StringIdMapper):
    multi = True


class ObjectIdMultiMapper(ObjectIdMapper):
    multi = True


class ApproxStringIdMultiMapper:
    keys, multi = "approx", True


NumericId32Mapper, StringId32Mapper = NumericIdMapper, StringIdMapper


class MappedMappingProxyBase(_Mapped):
    """A mapping to records; subclasses set IdMapper (what the keys are) and ValueArray (whose schema the values have)."""
    _holds = MapView
    IdMapper: Any = StringIdMapper
    ValueArray: Any = None

    @classmethod
    def build(cls, initializer: Any, destfile: Any = None, tempdir: Optional[str] = None, idmap: Any = None, return_mapper: bool = True,
              discard_duplicates: bool = False, discard_duplicate_keys: bool = False) -> Any:
        """Streams (key, value) pairs into destfile; see MappedArrayProxyBase.build. Simple mappings keep the first value of a key."""
        wrap = cls.ValueArray._wrap if cls.ValueArray is not None else cls._wrap
        items = initializer.items() if hasattr(initializer, "items") else initializer
        multi = cls.IdMapper.multi and not discard_duplicate_keys
        if cls.IdMapper.keys == "approx":
            multi = True
        target, offset = cls._place(destfile)
        root = _files.build_map(((k, wrap(v)) for k, v in _files._pairs(items, "initializer")), target, keys=cls.IdMapper.keys,
                                duplicates=("distinct" if discard_duplicates else "all") if multi else "first", offset=offset,
                                **({"scratch": tempdir} if tempdir else {}))
        end = _end(destfile)
        return cls._of(root) if return_mapper else end

    @classmethod
    def merge(cls, parts: Iterable["MappedMappingProxyBase"], destfile: Any = None, discard_duplicates: bool = False) -> Any:
        """Any number of mappings as one."""
        target, offset = cls._place(destfile)
        policy = ("distinct" if discard_duplicates else "all") if cls.IdMapper.multi else "first"
        maps = list(_files._each(parts, "parts"))
        for part in maps:
            _expect("merge", MappedMappingProxyBase, part)
        return cls._of(_files.merge_maps([p._root for p in maps], target, duplicates=policy, offset=offset))

    def __getitem__(self, key: Any) -> Any:
        return self._root[key]

    def get(self, key: Any, default: Any = None) -> Any:
        return self._root.get(key, default)

    def get_iter(self, key: Any) -> Iterator:
        return self._root.get_iter(key)

    def __contains__(self, key: Any) -> bool:
        return key in self._root

    has_key = __contains__

    def __iter__(self) -> Iterator:
        return iter(self._root)

    def keys(self) -> list:
        return list(self._root)

    def values(self) -> list:
        return list(self._root.itervalues())

    def items(self) -> list:
        return list(self._root.iteritems())

    def iterkeys(self) -> Iterator:
        return self._root.iterkeys()

    def itervalues(self) -> Iterator:
        return self._root.itervalues()

    def iteritems(self) -> Iterator:
        return self._root.iteritems()


class MappedMultiMappingProxyBase(MappedMappingProxyBase):
    """A mapping whose [] and get() give the list of a key's values; IdMapper is a multi mapper."""
    IdMapper: Any = StringIdMultiMapper
