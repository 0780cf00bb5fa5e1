"""Objects that processes share without copying: the pool, the segment store, typed buffers.

    pool = spillway.connect()                         # this user's pool; its daemon starts by itself
    pool.set(numpy.arange(10**8), name="samples")     # any process: pool.get("samples"), without a copy

    store = spillway.open_store("/data/sessions")     # a mapping on disk; values are read where they lie

Typed buffers: structured data read in place from files, shared memory and the pool.

    import spillway

    class Person(spillway.Record):
        id: int
        name: str
        tags: list[object]

    spillway.dump(Person(id=1, name="Ann", tags=["x", 2]), "ann.spw")
    p = spillway.open("ann.spw")      # nothing is parsed or copied
    p.name, p.tags[1]

C++ reads and writes the same bytes (include/spillway/typed.hpp); `spillway typed dump ann.spw` prints them. Classes and
names of the Python library sharedbuffers are in spillway.mapped_struct.
"""
from ._errors import IncompatibleError, TypedError
from ._fields import (Array, Instant, LocalTime, Record, field, float32, float64, int8, int16, int32, int64, uint8, uint16,
                      uint32, uint64)
from . import _views  # noqa: F401  (completes the view classes)
from ._spillway import Blob, Builder, ListView, MapView, RecordView, SetView
from ._files import (build_array, build_list, build_map, dump, dumps, loads, merge_maps, open, open_blob, pack, pack_into,
                     unpack, unpack_from, zip_member)
from ._views import clone, fields_of, state_of
from ._columns import Columns, TextColumn
from ._library import (BusyError, DeniedError, ExistsError, FullError, InvalidError, NotFoundError, PoolError, StorageError, TimedOutError,
                       UnavailableError)
from ._pool import DRef, Info, Pool, Target, connect
from ._store import Store, open_store

__all__ = [
    "Array", "Blob", "Builder", "BusyError", "Columns", "DRef", "DeniedError", "ExistsError", "FullError", "IncompatibleError", "Info", "Instant",
    "InvalidError", "ListView", "LocalTime", "MapView", "NotFoundError", "Pool", "PoolError", "Record", "RecordView", "SetView", "StorageError",
    "Store", "Target", "TextColumn", "TimedOutError", "TypedError", "UnavailableError", "build_array", "build_list", "build_map", "clone", "connect", "dump", "dumps", "field", "fields_of",
    "float32", "float64", "int8", "int16", "int32", "int64", "loads", "merge_maps", "open", "open_blob", "open_store", "pack", "pack_into",
    "state_of", "uint8", "uint16", "uint32", "uint64", "unpack", "unpack_from", "zip_member",
]
