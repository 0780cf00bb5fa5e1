"""Values as objects of the pool: a tag that says what they are, and the bytes they consist of."""
from __future__ import annotations

import json
import pickle
from typing import Any

import numpy

from ._columns import Columns
from ._errors import TypedError
from ._fields import Record
from ._spillway import ListView, MapView, RecordView, SetView
from ._views import _dtype_from_json, _dtype_to_json

_MOST_TAG = 2048  # bytes, of the pool


def size_of(part: Any) -> int:
    """Bytes of a part."""
    return part.nbytes if isinstance(part, (numpy.ndarray, memoryview)) else len(part)


def kind_of(tag: bytes) -> dict:
    """What this package wrote into an object's tag; nothing when another program made it."""
    if tag.startswith(b'{"spillway":'):
        try:
            return json.loads(tag)
        except ValueError:
            pass
    return {}


def encode(value: Any) -> tuple[dict, list]:
    """A tag, and the parts that lie one behind the other in the object."""
    if isinstance(value, numpy.ndarray) and type(value) is numpy.ndarray:
        try:
            order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
            tag = {"spillway": "ndarray", "dtype": _dtype_to_json(value.dtype), "item": value.dtype.itemsize, "shape": value.shape, "order": order}
            if len(json.dumps(tag)) <= _MOST_TAG:
                return tag, [value]
        except TypeError:
            pass  # of Python objects, or of a dtype that has no words: pickled
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"spillway": "bytes"}, [memoryview(value).cast("B") if memoryview(value).c_contiguous else memoryview(value).tobytes()]
    if isinstance(value, str):
        try:
            return {"spillway": "text"}, [value.encode()]
        except UnicodeEncodeError:
            pass  # half of a surrogate pair: pickled
    if isinstance(value, Columns):
        return {"spillway": "columns"}, _framed(value._parts())
    if isinstance(value, (Record, RecordView, ListView, SetView, MapView)):
        from ._files import dumps
        return {"spillway": "typed"}, [dumps(value)]
    beside: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(value, protocol=5, buffer_callback=beside.append)
    return {"spillway": "pickle"}, _framed([stream, *(b.raw() for b in beside)])


def _framed(parts: list) -> list:
    """The parts one after the other at multiples of 64, behind a table of where they are."""
    table, at = [len(parts)], (8 + 16 * len(parts) + 63) // 64 * 64
    for p in parts:
        table += [at, size_of(p)]
        at = (at + size_of(p) + 63) // 64 * 64
    head = numpy.array(table, "<u8").tobytes()
    out: list[Any] = [head, bytes(-len(head) % 64)]
    for p in parts:
        out += [p, bytes(-size_of(p) % 64)]
    return out


def _unframed(memory: memoryview) -> list[memoryview]:
    try:
        count = int.from_bytes(memory[:8], "little")
        if not 0 < count <= len(memory) // 16:
            raise ValueError("parts that fit the object")
        table = numpy.frombuffer(memory[8:8 + 16 * count], "<u8").reshape(count, 2).tolist()
        if any(at + size > len(memory) for at, size in table):
            raise ValueError("parts inside the object")
        return [memory[at:at + size] for at, size in table]
    except ValueError as e:
        raise TypedError(f"an object of the pool is damaged: expected {e}", "out of range") from None


def decode(memory: memoryview, tag_bytes: bytes) -> Any:
    """The value that lies in `memory`, without copying it where that can be."""
    tag = kind_of(tag_bytes)
    kind = tag.get("spillway")
    if kind == "ndarray":
        dtype = _dtype_from_json(tag["dtype"], tag["item"])
        if int(numpy.prod(tag["shape"], dtype=object)) * dtype.itemsize != len(memory):
            raise TypedError("an object of the pool is damaged: its size is not its array's", "contradiction")
        return numpy.ndarray(tag["shape"], dtype, memory, order=tag["order"])
    if kind == "text":
        return str(memory, "utf-8")
    if kind == "columns":
        return Columns._from_parts(_unframed(memory))
    if kind == "typed":
        from ._files import open as open_typed
        return open_typed(memory)
    if kind == "pickle":
        parts = _unframed(memory)
        return pickle.loads(parts[0], buffers=parts[1:])
    return memory
