"""A table by columns: numbers as numpy arrays, texts as offsets and UTF-8, all of it readable where it lies.

As Arrow lays columns out: text i is data[offsets[i]:offsets[i + 1]]; where there are nulls, bit i % 8 of valid[i // 8] says that row i has
a value. Every buffer starts at a multiple of 64.
"""
from __future__ import annotations

import collections.abc
import json
import operator
from typing import Any, Iterable, Iterator, Mapping, Optional

import numpy


class TextColumn(collections.abc.Sequence):
    """Texts read in place: a Sequence of str, None where there is none. `offsets` (int64), `data` (uint8) and `valid` (bits, or None) are
    numpy arrays on the same memory."""

    def __init__(self, offsets: numpy.ndarray, data: numpy.ndarray, valid: Optional[numpy.ndarray] = None) -> None:
        self.offsets, self.data, self.valid = offsets, data, valid

    @classmethod
    def of(cls, values: Iterable[Optional[str]]) -> "TextColumn":
        """From texts, or None for null."""
        values = list(values)
        for v in values:
            if v is not None and not isinstance(v, str):
                raise TypeError(f"a column of texts holds str or None, not {v!r}")
        stored = [b"" if v is None else v.encode() for v in values]
        offsets = numpy.zeros(len(stored) + 1, numpy.int64)
        numpy.cumsum([len(s) for s in stored], out=offsets[1:])
        valid = None
        if None in values:
            valid = numpy.packbits([v is not None for v in values], bitorder="little")
        return cls(offsets, numpy.frombuffer(b"".join(stored), numpy.uint8), valid)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = operator.index(i)
        if i < 0:
            i += len(self)
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        if self.valid is not None and not self.valid[i // 8] >> (i % 8) & 1:
            return None
        return bytes(self.data[self.offsets[i]:self.offsets[i + 1]]).decode()

    def __eq__(self, other: Any) -> Any:
        if not isinstance(other, (TextColumn, list, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} texts: {self[:5]!r}>"


class Columns(collections.abc.Mapping):
    """A table: names to columns of equal length, each a numpy array of one dimension or a TextColumn.

        pool.set(spillway.Columns(id=ids, name=["Ann", None, "Bob"]), name="acme/people")
        pool.get("acme/people")["id"].sum()       # nothing is copied
    """

    def __init__(self, columns: Optional[Mapping[str, Any]] = None, **more: Any) -> None:
        self._columns: dict[str, Any] = {}
        for name, values in {**(columns or {}), **more}.items():
            column = _column_of(name, values)
            if self._columns and len(column) != self.rows:
                raise ValueError(f"column {name!r} has {len(column)} rows, the others {self.rows}")
            self._columns[name] = column

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self._columns.values()))) if self._columns else 0

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"<{self.rows} rows of {', '.join(self)}>"

    # What the pool stores: a description of the buffers, and the buffers.
    def _parts(self) -> list:
        described, buffers = [], []
        for name, column in self._columns.items():
            texts = isinstance(column, TextColumn)
            own = [column.offsets, column.data, *([column.valid] if column.valid is not None else [])] if texts else [column]
            described.append({"name": name, "text": texts, "buffers": [{"dtype": b.dtype.str, "length": len(b)} for b in own]})
            buffers += own
        return [json.dumps(described).encode(), *buffers]

    @classmethod
    def _from_parts(cls, parts: list) -> "Columns":
        made, rest = cls(), iter(parts[1:])
        for d in json.loads(bytes(parts[0])):
            arrays = [numpy.frombuffer(next(rest), b["dtype"], b["length"]) for b in d["buffers"]]
            made._columns[d["name"]] = TextColumn(*arrays) if d["text"] else arrays[0]
        return made


def _column_of(name: str, values: Any) -> Any:
    if isinstance(values, TextColumn):
        return values
    if not isinstance(values, numpy.ndarray):
        values = list(values)
        if any(isinstance(v, str) for v in values):
            return _texts_of(name, values)
        values = numpy.array(values)
    if values.ndim != 1:
        raise ValueError(f"column {name!r}: expected one dimension, got {values.ndim}")
    if values.dtype.kind in "UO":
        return _texts_of(name, (v.item() if isinstance(v, numpy.generic) else v for v in values))
    if values.dtype.kind not in "biufcmMS":
        raise TypeError(f"column {name!r}: cannot store {values.dtype}; expected numbers, dates or texts")
    return numpy.ascontiguousarray(values)


def _texts_of(name: str, values: Iterable[Any]) -> TextColumn:
    try:
        return TextColumn.of(values)
    except TypeError as e:
        raise TypeError(f"column {name!r}: {e}; a column of numbers has no nulls (use nan)") from None
