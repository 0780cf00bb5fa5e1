"""libspillway as ctypes sees it: which file it is, its structures and functions, its failures as exceptions.

Loaded when first needed, so that typed buffers work without it. Calls release the GIL.
"""
from __future__ import annotations

import ctypes
import os
import pathlib
from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Optional

FOREVER = 2**64 - 1


class PoolError(Exception):
    """What the pool or the store answers other than a value. `status` is its code in pool.h or store.h."""
    status = 0


class NotFoundError(PoolError, KeyError):
    """No such object or name: never was, erased, expired, evicted or lost."""
    __str__ = Exception.__str__


class TimedOutError(PoolError, TimeoutError):
    """The time given for waiting is over."""


class FullError(PoolError, MemoryError):
    """No room, in memory or on disk, that could be made."""


class DeniedError(PoolError, PermissionError):
    """This user, or this session, may not do that."""


class ExistsError(PoolError, FileExistsError):
    """The name is taken, and was asked for exclusively."""


class InvalidError(PoolError, ValueError):
    """An argument that is not what the call expects."""


class BusyError(PoolError):
    """Somebody else holds it: a pin of the object, the store's writer."""


class StorageError(PoolError, OSError):
    """A disk or a file failed."""


class UnavailableError(PoolError, ConnectionError):
    """There is no daemon to talk to, or no libspillway."""


POOL_ERRORS = {1: InvalidError, 2: NotFoundError, 3: NotFoundError, 4: NotFoundError, 5: StorageError, 6: FullError, 7: StorageError,
               8: FullError, 9: TimedOutError, 10: ExistsError, 11: DeniedError, 12: StorageError, 15: UnavailableError, 16: FullError, 17: BusyError}
STORE_ERRORS = {1: InvalidError, 3: DeniedError, 4: BusyError, 5: InvalidError, 6: InvalidError, 7: FullError, 8: StorageError, 9: StorageError, 10: StorageError,
                11: BusyError, 12: StorageError}


class Ref(Structure):
    _fields_ = [("id", c_uint64), ("key", c_uint64)]


class PoolOptions(Structure):
    _fields_ = [("socket", c_char_p), ("daemon", c_char_p), ("do_not_start", c_int), ("start_timeout_ms", c_uint64), ("cached_objects", c_uint32)]


class PutOptions(Structure):
    _fields_ = [("name", c_char_p), ("tag", c_void_p), ("tag_bytes", c_size_t), ("mode", c_uint32), ("hint", c_int), ("when_full", c_int),
                ("timeout_ms", c_uint64), ("flags", c_uint32), ("filters", c_char_p)]


class GetOptions(Structure):
    _fields_ = [("timeout_ms", c_uint64), ("when_full", c_int)]


class FileRef(Structure):
    _fields_ = [("host", c_uint64), ("bytes", c_uint64), ("path", c_char * 4096)]


class Info(Structure):
    _fields_ = [("ref", Ref), ("name", c_char_p), ("bytes", c_uint64), ("state", c_int), ("version", c_uint64), ("tag", c_void_p),
                ("tag_bytes", c_size_t), ("uid", c_uint32), ("mode", c_uint32), ("owner_pid", c_int), ("references", c_uint32),
                ("pins", c_uint32), ("hint", c_int), ("age_ms", c_uint64), ("idle_ms", c_uint64), ("file", c_char_p), ("filters", c_char_p),
                ("retained", c_int)]


class Value(Structure):
    _fields_ = [("data", c_void_p), ("size", c_uint64), ("sequence", c_uint64), ("found", c_int), ("hold", c_void_p)]


InfoCall = CFUNCTYPE(c_int, c_void_p, POINTER(Info))
StatsCall = CFUNCTYPE(c_int, c_void_p, c_char_p, c_uint64)
EachCall = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t, c_void_p, c_uint64)

_P, _R = c_void_p, POINTER(Ref)
_FUNCTIONS: dict[str, tuple[Any, list]] = {
    "spillway_last_error": (c_char_p, []),
    "spillway_state_text": (c_char_p, [c_int]),
    "spillway_pool_open": (c_int, [POINTER(PoolOptions), POINTER(_P)]),
    "spillway_pool_close": (None, [_P]),
    "spillway_pool_socket": (c_char_p, [_P]),
    "spillway_put": (c_int, [_P, c_char_p, c_size_t, POINTER(PutOptions), _R]),
    "spillway_create": (c_int, [_P, c_size_t, POINTER(PutOptions), POINTER(_P)]),
    "spillway_builder_data": (_P, [_P]),
    "spillway_builder_seal": (c_int, [_P, _R]),
    "spillway_builder_abort": (None, [_P]),
    "spillway_get": (c_int, [_P, Ref, POINTER(GetOptions), POINTER(_P)]),
    "spillway_get_name": (c_int, [_P, c_char_p, POINTER(GetOptions), POINTER(_P)]),
    "spillway_pin_data": (_P, [_P]),
    "spillway_pin_size": (c_size_t, [_P]),
    "spillway_pin_ref": (Ref, [_P]),
    "spillway_pin_tag": (_P, [_P, POINTER(c_size_t)]),
    "spillway_pin_version": (c_uint64, [_P]),
    "spillway_pin_release": (None, [_P]),
    "spillway_ref_retain": (c_int, [_P, Ref]),
    "spillway_ref_release": (None, [_P, Ref]),
    "spillway_lookup": (c_int, [_P, c_char_p, _R]),
    "spillway_ref_to_token": (c_int, [_P, Ref, c_uint64, c_char_p]),
    "spillway_ref_from_token": (c_int, [_P, c_char_p, _R]),
    "spillway_erase": (c_int, [_P, Ref]),
    "spillway_erase_name": (c_int, [_P, c_char_p]),
    "spillway_move_to_disk": (c_int, [_P, Ref, _P, POINTER(FileRef)]),
    "spillway_load": (c_int, [_P, Ref]),
    "spillway_set_hint": (c_int, [_P, Ref, c_int]),
    "spillway_keep_resident": (c_int, [_P, Ref, c_int]),
    "spillway_drain": (c_int, [_P]),
    "spillway_stat": (c_int, [_P, Ref, InfoCall, _P]),
    "spillway_stat_name": (c_int, [_P, c_char_p, InfoCall, _P]),
    "spillway_list": (c_int, [_P, c_char_p, InfoCall, _P]),
    "spillway_stats": (c_int, [_P, StatsCall, _P]),
    "spillway_store_error": (c_char_p, []),
    "spillway_store_open": (c_int, [c_char_p, c_int, c_uint64, POINTER(_P)]),
    "spillway_store_open_shared": (c_int, [c_char_p, c_int, c_uint64, POINTER(_P)]),
    "spillway_store_open_reader": (c_int, [c_char_p, POINTER(_P)]),
    "spillway_store_close": (c_int, [_P]),
    "spillway_store_free": (None, [_P]),
    "spillway_store_get": (c_int, [_P, c_char_p, c_size_t, POINTER(Value)]),
    "spillway_value_release": (None, [POINTER(Value)]),
    "spillway_store_put": (c_int, [_P, c_char_p, c_size_t, _P, c_uint64, c_uint64, c_uint64, POINTER(c_uint64)]),
    "spillway_store_remove": (c_int, [_P, c_char_p, c_size_t, POINTER(c_int)]),
    "spillway_store_sync": (c_int, [_P]),
    "spillway_store_compact": (c_int, [_P]),
    "spillway_store_backup": (c_int, [_P, c_char_p]),
    "spillway_store_each": (c_int, [_P, c_char_p, c_size_t, EachCall, _P]),
}

_loaded: Optional[ctypes.CDLL] = None


def library() -> ctypes.CDLL:
    """libspillway: $SPILLWAY_LIBRARY; else that of the build tree this package lies in; else what the dynamic linker finds."""
    global _loaded
    if _loaded is not None:
        return _loaded
    named = os.environ.get("SPILLWAY_LIBRARY")
    beside = pathlib.Path(__file__).resolve().parent.parent.parent / "lib" / "libspillway.so.0"
    tried = []
    for path in [named] if named else [str(beside), "libspillway.so.0", "/usr/local/lib/libspillway.so.0"]:
        try:
            lib = ctypes.CDLL(path)
            break
        except OSError as e:
            tried.append(str(e))
    else:
        raise UnavailableError("the pool and the store need libspillway.so.0: install Spillway (make install), or set SPILLWAY_LIBRARY to the "
                               f"file; tried: {'; '.join(tried)}")
    for name, (result, arguments) in _FUNCTIONS.items():
        try:
            function = getattr(lib, name)
        except AttributeError:
            raise UnavailableError(f"{path} has no {name}: it is older than this package") from None
        function.restype, function.argtypes = result, arguments
    _loaded = lib
    return lib


def fail(status: int, words: Optional[bytes], kinds: dict) -> None:
    error = kinds.get(status, PoolError)((words or b"").decode(errors="replace"))
    error.status = status
    raise error


def check(status: int) -> None:
    """Raises what a function of pool.h answered."""
    if status:
        fail(status, library().spillway_last_error(), POOL_ERRORS)


def check_store(status: int) -> None:
    """Raises what a function of store.h answered."""
    if status:
        fail(status, library().spillway_store_error(), STORE_ERRORS)
