"""What the C interface hands out, as objects that give it back: sessions, pins, objects under construction."""
from __future__ import annotations

import ctypes
from typing import Optional

from ._library import Ref, check, library
from ._spillway import Memory


class Session:
    """The C handle, closed when the pool, every reference and every view are gone: a view may outlive them all."""

    def __init__(self, handle: ctypes.c_void_p) -> None:
        self.handle = handle

    def __del__(self) -> None:
        library().spillway_pool_close(self.handle)


class Pin:
    """Holds an object in memory. The views of it hold the pin."""

    def __init__(self, session: Session, raw: ctypes.c_void_p) -> None:
        self.session, self.raw = session, raw

    def memory(self) -> memoryview:
        lib = library()
        size = lib.spillway_pin_size(self.raw)
        return memoryview(Memory(lib.spillway_pin_data(self.raw), size, True, self)) if size else memoryview(b"")

    def tag(self) -> bytes:
        size = ctypes.c_size_t()
        at = library().spillway_pin_tag(self.raw, size)
        return ctypes.string_at(at, size.value) if size.value else b""

    def __del__(self) -> None:
        library().spillway_pin_release(self.raw)


class Making:
    """An object under construction."""

    def __init__(self, session: Session, builder: ctypes.c_void_p, size: int) -> None:
        self._session = session
        self._builder: Optional[ctypes.c_void_p] = builder
        self.memory = memoryview(Memory(library().spillway_builder_data(builder), size, False, self)) if size else memoryview(bytearray())

    def seal(self) -> Ref:
        self.memory.release()  # BufferError rather than a view of memory that is not there any more
        raw, builder, self._builder = Ref(), self._builder, None
        check(library().spillway_builder_seal(builder, raw))
        return raw

    def abort(self) -> None:
        if self._builder is not None:
            builder, self._builder = self._builder, None
            library().spillway_builder_abort(builder)
