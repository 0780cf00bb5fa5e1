"""The segment store as a mapping: a log-structured directory of keys and values that one process writes and any number read.

    with spillway.open_store("/data/sessions") as store:
        store["user/7"] = b"..."
        value = store["user/7"]        # a read-only memoryview on the mapped segment: nothing is copied
"""
from __future__ import annotations

import collections.abc
import ctypes
import math
import os
from typing import Any, Iterator, Optional, Union

from ._library import EachCall, InvalidError, Value, check_store, library
from ._spillway import Memory

_DURABILITY = {"async": 0, "group": 1, "sync": 2}
Key = Union[bytes, str]


class _Handle:
    """What the library gave for an open store, freed with the last call that uses it: another thread may close the store meanwhile."""

    def __init__(self, raw: ctypes.c_void_p) -> None:
        self._as_parameter_ = raw

    def __del__(self) -> None:
        library().spillway_store_free(self._as_parameter_)


class _Held:
    """A value's bytes, for as long as something looks at them; also after the store was closed."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __del__(self) -> None:
        library().spillway_value_release(self.value)


def _key(key: Key) -> bytes:
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, (bytes, bytearray, memoryview)):
        return bytes(key)
    raise TypeError(f"a key: expected bytes or str, got {type(key).__name__}")


class Store(collections.abc.MutableMapping):
    """A MutableMapping from bytes (or str, as UTF-8) to bytes. Values are read as read-only memoryviews on the segments, which stay as they
    are however long they are held. Any thread may use it. Made by open_store()."""

    def __init__(self, directory: Union[str, os.PathLike], *, readonly: bool = False, shared: bool = False, durability: str = "group",
                 segment_bytes: int = 0) -> None:
        self._handle: Optional[_Handle] = None
        if durability not in _DURABILITY:
            raise InvalidError(f"durability: expected 'async', 'group' or 'sync', got {durability!r}")
        handle, path = ctypes.c_void_p(), os.fsencode(directory)
        if readonly:
            check_store(library().spillway_store_open_reader(path, handle))
        else:
            open_it = library().spillway_store_open_shared if shared else library().spillway_store_open
            check_store(open_it(path, _DURABILITY[durability], segment_bytes, handle))
        self._handle = _Handle(handle)

    def _open(self) -> _Handle:
        handle = self._handle
        if handle is None:
            raise InvalidError("the store is closed")
        return handle

    def close(self) -> None:
        """Writes what is pending and lets go of the directory. Values stay readable."""
        handle, self._handle = self._handle, None
        if handle is not None:
            check_store(library().spillway_store_close(handle))

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def __getitem__(self, key: Key) -> memoryview:
        stored, value = _key(key), Value()
        check_store(library().spillway_store_get(self._open(), stored, len(stored), value))
        if not value.found:
            raise KeyError(key)
        held = _Held(value)
        return memoryview(Memory(value.data, value.size, True, held)) if value.size else memoryview(b"")

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
            return True
        except KeyError:
            return False

    def put(self, key: Key, data: Any, *, ttl: float = 0, alignment: int = 0) -> int:
        """Stores bytes, for `ttl` seconds (0: for ever), at a multiple of `alignment` (0: any). Returns the sequence number."""
        if not 0 <= ttl < 1e12:
            raise InvalidError(f"ttl: expected seconds, 0 for ever, got {ttl!r}")
        stored, bytes_ = _key(key), data if isinstance(data, bytes) else memoryview(data).tobytes()
        sequence = ctypes.c_uint64()
        check_store(library().spillway_store_put(self._open(), stored, len(stored), ctypes.cast(ctypes.c_char_p(bytes_), ctypes.c_void_p), len(bytes_),
                                                 math.ceil(ttl * 1000), alignment, sequence))
        return sequence.value

    def __setitem__(self, key: Key, data: Any) -> None:
        self.put(key, data)

    def __delitem__(self, key: Key) -> None:
        stored, removed = _key(key), ctypes.c_int()
        check_store(library().spillway_store_remove(self._open(), stored, len(stored), removed))
        if not removed.value:
            raise KeyError(key)

    def keys_with(self, prefix: Key = b"") -> "list[bytes]":
        """The keys that begin so, in order, as they were at one moment."""
        found: list[bytes] = []
        start = _key(prefix)
        call = EachCall(lambda _, key, n, data, size: found.append(ctypes.string_at(key, n)) or 0)
        check_store(library().spillway_store_each(self._open(), start, len(start), call, None))
        return found

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.keys_with())

    def __len__(self) -> int:
        return len(self.keys_with())

    def sync(self) -> None:
        """Everything written so far survives a power cut."""
        check_store(library().spillway_store_sync(self._open()))

    def compact(self) -> None:
        """Drops what was overwritten or removed."""
        check_store(library().spillway_store_compact(self._open()))

    def backup(self, directory: Union[str, os.PathLike]) -> None:
        """A copy of the store as it is at this moment, in a new directory."""
        check_store(library().spillway_store_backup(self._open(), os.fsencode(directory)))


def open_store(directory: Union[str, os.PathLike], *, readonly: bool = False, shared: bool = False, durability: str = "group",
               segment_bytes: int = 0) -> Store:
    """Opens the segment store in a directory, which is made when it is not there.

    readonly: beside its writer. shared: as one of several processes that write. durability: what a put waits for: 'async' nothing, 'group' the next common flush, 'sync' its own. Raises
    BusyError when another process writes it, InvalidError when the directory is no store.
    """
    return Store(directory, readonly=readonly, shared=shared, durability=durability, segment_bytes=segment_bytes)
