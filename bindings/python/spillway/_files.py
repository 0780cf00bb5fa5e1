"""Opening and building blobs: files, parts of files, buffers, mappings."""
from __future__ import annotations

import contextlib
import mmap
import operator
import os
import zipfile
from io import UnsupportedOperation
from typing import Any, Iterable, Iterator, Optional, Union

from ._errors import IncompatibleError, TypedError
from ._fields import check_compatible
from ._pool import Target
from ._spillway import Blob, Builder, MapView, RecordView

Source = Union[str, os.PathLike, int, bytes, bytearray, memoryview, mmap.mmap]


def open_blob(source: Source, offset: int = 0, size: int = 0, writable: bool = False) -> Blob:
    """Opens a blob without reading it: a path, a file descriptor, a file object, or anything with the buffer protocol.

    The time does not depend on the size. Raises TypedError for bytes that are no blob, OSError (FileNotFoundError, PermissionError)
    for files that cannot be mapped. A file must not be truncated while it is open.
    """
    _check_place(offset, size)
    if isinstance(source, (str, os.PathLike)):
        with _named(source):
            return Blob.open_file(source, offset, size, writable)
    if isinstance(source, int):
        return Blob.open_fd(source, offset, size, writable)
    if hasattr(source, "fileno") and not isinstance(source, mmap.mmap):
        source.flush() if hasattr(source, "flush") and source.writable() else None
        return Blob.open_fd(_descriptor(source), offset, size, writable)
    _check_buffer(source)
    return Blob.open_buffer(source, offset, writable)


def _descriptor(file: Any) -> int:
    try:
        return file.fileno()
    except UnsupportedOperation:
        raise TypeError(f"expected a file of the operating system, got {type(file).__name__}, which is in memory only; "
                        "of such, spillway.dumps() makes the bytes and loads() reads them") from None


@contextlib.contextmanager
def _named(path: Any) -> Iterator[None]:
    """What the system refuses is an OSError with the path, as from Python's own open(); what is wrong in the file says which file."""
    if "\0" in os.fsdecode(path):
        raise ValueError(f"expected a path without NUL, got {path!r}")
    try:
        yield
    except OSError as e:
        raise OSError(e.errno, os.strerror(e.errno), os.fspath(path)) from None
    except TypedError as e:
        raise TypedError(f"{os.fsdecode(path)}: {e}", e.code) from None


def _check_place(offset: int, size: int = 0) -> None:
    for name, value in (("offset", offset), ("size", size)):
        try:
            value = operator.index(value)
        except TypeError:
            raise TypeError(f"{name}: expected a number of bytes, got {value!r}") from None
        if not 0 <= value < 2**63:
            raise ValueError(f"{name}: expected 0 to 2^63 - 1 bytes, got {value}")


def _check_buffer(given: Any, expected: str = "a path, a file, a descriptor or a buffer of bytes") -> None:
    try:
        memoryview(given)
    except TypeError:
        raise TypeError(f"expected {expected}, got {type(given).__name__}") from None


def open(source: Source, cls: Optional[type] = None, *, offset: int = 0, size: int = 0, writable: bool = False, verify: bool = False) -> Any:
    """What the blob at `source` holds, as a view (see open_blob).

    cls: a Record class; IncompatibleError, naming the field, unless the writer's records can be read as it declares.
    verify: check everything first. writable: numbers, bools and dates can be written in place.
    """
    if cls is not None and not hasattr(cls, "_spillway_spec"):
        raise TypeError(f"cls: expected a spillway.Record class, got {cls!r}")
    blob = open_blob(source, offset, size, writable)
    if verify:
        blob.verify()
    root = blob.root()
    if cls is not None:
        if not isinstance(root, RecordView):
            raise IncompatibleError(f"expected a record {cls._spillway_spec[0]}, found {type(root).__name__}", "incompatible")
        found = RecordView._type_name(root)
        if found != cls._spillway_spec[0]:
            mine, theirs = {f[1] for f in cls._spillway_spec[1]}, set(RecordView._fields(root))
            if not mine <= theirs:
                raise IncompatibleError(f"expected a record {cls._spillway_spec[0]}, found {found}", "incompatible")
        check_compatible(cls, blob._types(), found)
    return root


def _builder(destination: Any, offset: int, options: dict) -> Builder:
    _check_place(offset)
    if isinstance(destination, Target):
        if offset:
            raise ValueError("an object of the pool has no offset")
        return destination.builder(options)
    if isinstance(destination, (str, os.PathLike)):
        if offset:
            raise ValueError("an offset needs an open file; a path gives a file of its own")
        with _named(destination):
            return Builder.to_file(destination, **options)
    if isinstance(destination, int):
        return Builder.to_fd(destination, offset, **options)
    if hasattr(destination, "fileno") and not isinstance(destination, mmap.mmap):
        number = _descriptor(destination)
        destination.flush()
        return Builder.to_fd(number, offset, **options)
    _check_buffer(destination)
    return Builder.to_buffer(destination, offset, **options)


def dump(value: Any, destination: Any, *, offset: int = 0, user_data: Any = None, **options: Any) -> int:
    """Stores a value: in a new file, which appears under its path when it is complete; in an open file at `offset`; in a writable
    buffer; or in an object of the pool (Pool.target()). `offset` is a multiple of 64, in a buffer of 8. Returns the size in bytes. Options: dedupe, compress, checksum, memory, scratch
    (see Builder)."""
    builder = _builder(destination, offset, options)
    if user_data is not None:
        builder.set_user_data(user_data)
    size = builder.finish(value)
    if isinstance(destination, Target):
        destination.publish(size)
    return size


def dumps(value: Any, *, user_data: Any = None, **options: Any) -> bytearray:
    """Stores a value in new memory."""
    builder = Builder.to_memory(**options)
    if user_data is not None:
        builder.set_user_data(user_data)
    builder.finish(value)
    return builder.data()


def loads(data: Any, cls: Optional[type] = None) -> Any:
    """What a buffer holds, as a view that keeps the buffer."""
    _check_buffer(data, "a buffer of bytes (a file is read by open())")
    return open(data, cls)


pack = dumps
unpack = loads


def pack_into(value: Any, buffer: Any, offset: int = 0, **options: Any) -> int:
    """Stores a value in a writable buffer, from the first multiple of 8 at or after `offset`. Returns the end. BufferError when it is full."""
    _check_place(offset)
    start = (offset + 7) // 8 * 8
    return start + dump(value, buffer, offset=start, **options)


def unpack_from(buffer: Any, offset: int = 0, cls: Optional[type] = None, writable: bool = False) -> Any:
    """What pack_into stored at this offset, as a view."""
    _check_buffer(buffer, "a buffer of bytes (a file is read by open())")
    _check_place(offset)
    return open(buffer, cls, offset=(offset + 7) // 8 * 8, writable=writable)


def zip_member(path: Any, name: str) -> tuple[str, int, int]:
    """(path, offset, size) of a member of a zip archive, for open_blob(). ValueError unless it is stored uncompressed, unencrypted."""
    with zipfile.ZipFile(os.fspath(path)) as archive:
        info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise ValueError(f"{name}: compressed or encrypted; only stored members can be mapped")
    with io_open(path, "rb") as f:
        f.seek(info.header_offset)
        header = f.read(30)
        start = info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return os.fspath(path), start, info.file_size


from io import open as io_open  # noqa: E402  (after this module's own open)


def build_map(items: Iterable, destination: Any = None, *, keys: str = "text", duplicates: str = "error", hash_bits: int = 64,
              offset: int = 0, user_data: Any = None, **options: Any) -> Any:
    """A mapping from an iterable of (key, value), which may be far larger than memory; returns its view.

    keys: 'text', 'uint', 'object' (any keys) or 'approx' (text keys of which only a hash is kept). duplicates: 'error', 'first', 'last',
    'all' (a multimap) or 'distinct' (a multimap without equal pairs). destination: a path, an open file, a writable buffer,
    Pool.target(), or None for new memory.
    """
    builder = Builder.to_memory(**options) if destination is None else _builder(destination, offset, options)
    if user_data is not None:
        builder.set_user_data(user_data)
    index = builder.map(keys, duplicates, hash_bits)
    for key, value in _pairs(items.items() if hasattr(items, "items") else items, "items"):
        index.put(key, value)
    return _finish(builder, index.finish(), destination, offset)


def build_list(items: Iterable, destination: Any = None, *, offset: int = 0, **options: Any) -> Any:
    """A list from an iterable that may be far larger than memory; returns its view."""
    builder = Builder.to_memory(**options) if destination is None else _builder(destination, offset, options)
    out = builder.list()
    for item in _each(items, "items"):
        out.add(item)
    return _finish(builder, out.finish(), destination, offset)


def build_array(dtype: str, values: Iterable, destination: Any = None, *, offset: int = 0, **options: Any) -> Any:
    """A packed array of numbers from an iterable that may be far larger than memory; returns its view."""
    builder = Builder.to_memory(**options) if destination is None else _builder(destination, offset, options)
    return _finish(builder, builder.array(dtype, _each(values, "values")), destination, offset)


def merge_maps(maps: Iterable[MapView], destination: Any = None, *, duplicates: str = "error", offset: int = 0, **options: Any) -> MapView:
    """Any number of maps of one kind as one; `duplicates` as in build_map, in the order of the maps."""
    builder = Builder.to_memory(**options) if destination is None else _builder(destination, offset, options)
    return _finish(builder, builder.merge(_each(maps, "maps"), duplicates), destination, offset)


def _each(given: Any, name: str) -> Iterator:
    try:
        return iter(given)
    except TypeError:
        raise TypeError(f"{name}: expected an iterable, got {type(given).__name__}") from None


def _pairs(given: Any, name: str) -> Iterator:
    for pair in _each(given, name):
        try:
            key, value = pair
        except (TypeError, ValueError):
            raise TypeError(f"{name}: expected pairs of key and value, got {pair!r}") from None
        yield key, value


def _finish(builder: Builder, root: Any, destination: Any, offset: int) -> Any:
    size = builder.finish(root)
    if isinstance(destination, Target):
        return destination.publish(size).get()
    return open(builder.data() if destination is None else destination, offset=offset)
