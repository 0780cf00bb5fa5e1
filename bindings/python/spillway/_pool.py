"""The pool: objects that the processes of a machine share by mapping, spilled to disk when memory is short.

    pool = spillway.connect()
    ref = pool.set(numpy.arange(10**8), name="acme/samples")      # one copy, into shared memory
    samples = pool.get("acme/samples")                            # no copy: read-only, on the mapping itself

What get() gives keeps its object pinned (in memory) for as long as any view of it lives. An object never changes; set() under a name
that is taken makes a new version, and who holds the old one keeps it.
"""
from __future__ import annotations

import contextlib
import ctypes
import json
import os
import tempfile
import threading
import weakref
from typing import Any, Iterator, List, NamedTuple, Optional, Union

import numpy

from . import _library
from ._handles import Making, Pin, Session
from ._library import FOREVER, InvalidError, NotFoundError, check, library
from ._spillway import Builder
from ._values import decode, encode, kind_of, size_of

_HINTS = {"normal": 0, "keep": 1, "first-to-go": 2, "recomputable": 3}
_WHEN_FULL = {"spill": 0, "wait": 1, "fail": 2}
_SMALL = 64 << 10  # below, one message with the bytes is quicker than memory to write them to


class Info(NamedTuple):
    """What is known of an object; see spillway_info in pool.h. `kind`: how this package stored it, "" when another program did."""
    name: str
    nbytes: int
    state: str
    version: int
    kind: str
    tag: bytes
    uid: int
    mode: int
    owner_pid: int
    references: int
    pins: int
    idle_ms: int
    file: str


class DRef:
    """Keeps an object of the pool alive, from this process or, pickled, on its way to another.

    Pickling it, as multiprocessing does, makes a token that keeps the object for a minute, or until it is unpickled; once each. DRefs are
    equal when they name the same object.
    """
    __slots__ = ("_pool", "_raw", "__weakref__")

    def __init__(self, pool: "Pool", raw: _library.Ref) -> None:
        self._pool, self._raw = pool, raw

    def get(self, timeout: float = 0) -> Any:
        """As pool.get()."""
        return self._pool.get(self, timeout)

    def token(self, expiry: float = 60) -> str:
        """Text that keeps the object alive until it is picked up by Pool.from_token(), once, or for `expiry` seconds."""
        token = ctypes.create_string_buffer(80)
        check(library().spillway_ref_to_token(self._pool._handle(), self._raw, max(1, _ms(expiry)), token))
        return token.value.decode()

    @property
    def id(self) -> int:
        """Its number in this pool."""
        return self._raw.id

    def __reduce__(self) -> Any:
        return _from_token, (self._pool.socket, self.token())

    def __copy__(self) -> "DRef":
        return self

    def __deepcopy__(self, memo: Any) -> "DRef":
        return self

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, DRef) and (self._raw.id, self._raw.key) == (other._raw.id, other._raw.key)

    def __hash__(self) -> int:
        return hash((self._raw.id, self._raw.key))

    def __repr__(self) -> str:
        return f"<DRef {self._raw.id}>"

    def __del__(self) -> None:
        pool = getattr(self, "_pool", None)
        if pool is not None and pool._session is not None:
            library().spillway_ref_release(pool._session.handle, self._raw)


class Pool:
    """A session with this machine's pool. Any thread may use it; after fork() the child has a session of its own by itself."""

    def __init__(self, socket: Optional[str] = None, *, start: bool = True, daemon: Optional[str] = None, timeout: float = 10) -> None:
        options = _library.PoolOptions(_encoded(socket), _encoded(daemon), not start, _ms(timeout), 0)
        handle = ctypes.c_void_p()
        self._session: Optional[Session] = None
        check(library().spillway_pool_open(options, handle))
        self._session = Session(handle)

    def _handle(self) -> ctypes.c_void_p:
        if self._session is None:
            raise InvalidError("the pool is closed")
        return self._session.handle

    @property
    def socket(self) -> str:
        """Where its daemon listens."""
        return library().spillway_pool_socket(self._handle()).decode()

    def close(self) -> None:
        """Ends the session, at the latest when the last view of an object is gone. What has no name and no other reference is erased."""
        self._session = None

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    # ---- storing

    def set(self, value: Any, name: Optional[str] = None, *, hint: str = "normal", when_full: str = "spill", timeout: Optional[float] = None,
            mode: int = 0o600, durable: bool = False, retain: bool = False, exclusive: bool = False, filters: Optional[str] = None) -> DRef:
        """Copies a value into a new object, under a name if one is given.

        numpy arrays, bytes and Columns are stored as they lie in memory; records and views of typed blobs as typed blobs; str as UTF-8;
        anything else is pickled, its large buffers beside the pickle. hint: 'normal', 'keep' (leaves memory last), 'first-to-go' or
        'recomputable' (deleted instead of spilled). when_full: 'spill', 'wait' (until `timeout` seconds) or 'fail'. durable: on disk when
        it returns. exclusive: ExistsError when the name is taken. filters: on the way to disk: 'lz4', 'zstd', 'checksum', with commas.
        Raises FullError, ExistsError, DeniedError, UnavailableError.
        """
        tag, parts = encode(value)
        options = self._put_options(tag, name, hint, when_full, timeout, mode, durable, retain, exclusive, filters)
        total = sum(size_of(p) for p in parts)
        raw = _library.Ref()
        if total <= _SMALL:
            check(library().spillway_put(self._handle(), b"".join(bytes(p) if not isinstance(p, numpy.ndarray) else p.tobytes("A") for p in parts),
                                         total, options, raw))
            return DRef(self, raw)
        with self._create(total, options) as making:
            at = 0
            for p in parts:
                n = size_of(p)
                if isinstance(p, numpy.ndarray):
                    # C order, Fortran order where that is how it lies: the numbers move once, whatever their strides are.
                    order = "F" if p.flags.f_contiguous and not p.flags.c_contiguous else "C"
                    numpy.copyto(numpy.ndarray(p.shape, p.dtype, making.memory[at:at + n], order=order), p)
                elif n:
                    making.memory[at:at + n] = memoryview(p).cast("B")
                at += n
            return DRef(self, making.seal())

    def target(self, name: Optional[str] = None, *, scratch: Optional[str] = None, hint: str = "normal", when_full: str = "spill",
               timeout: Optional[float] = None, mode: int = 0o600, durable: bool = False, retain: bool = False, exclusive: bool = False,
               filters: Optional[str] = None) -> "Target":
        """A destination for dump(), build_map(), build_list(), build_array() and merge_maps(): the blob becomes an object when it is complete,
        and is read in place from there. Until then it lies in a temporary file below `scratch` (default: $TMPDIR), so it may be larger
        than memory. The other arguments are those of set()."""
        return Target(self, scratch, self._put_options({"spillway": "typed"}, name, hint, when_full, timeout, mode, durable, retain, exclusive, filters))

    def _put_options(self, tag: dict, name: Optional[str], hint: str, when_full: str, timeout: Optional[float], mode: int, durable: bool, retain: bool,
                     exclusive: bool, filters: Optional[str]) -> _library.PutOptions:
        if name == "":
            raise InvalidError("name: expected a name, or None for an object that only its DRefs lead to, got ''")
        if not isinstance(mode, int) or not 0 <= mode <= 0o777:
            raise InvalidError(f"mode: expected 0 to 0o777, got {mode!r}")
        text = json.dumps(tag, separators=(",", ":")).encode()
        made = _library.PutOptions(_encoded(name), ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p), len(text), mode, _one_of("hint", hint, _HINTS),
                                   _one_of("when_full", when_full, _WHEN_FULL), _ms(timeout),
                                   durable * 1 | retain * 2 | exclusive * 4, _encoded(filters))
        made.keep = text  # the structure only points to it
        return made

    @contextlib.contextmanager
    def _create(self, size: int, options: _library.PutOptions) -> Iterator["Making"]:
        builder = ctypes.c_void_p()
        check(library().spillway_create(self._handle(), size, options, builder))
        making = Making(self._session, builder, size)
        try:
            yield making
        finally:
            making.abort()

    # ---- reading

    def get(self, what: Union[DRef, str], timeout: Optional[float] = 0) -> Any:
        """The object that a DRef or a name means, without copying it: arrays, Columns, views and the arrays inside pickled objects lie on the
        mapping, and are read-only. bytes come back as a read-only memoryview, as does what other programs stored.

        timeout: how many seconds to wait for a name that does not exist yet. Pickles run code when they are read: get only what programs you
        trust have put there. Raises NotFoundError, TimedOutError, StorageError.
        """
        pin = self._pin(what, timeout)
        return decode(pin.memory(), pin.tag())

    @contextlib.contextmanager
    def pin(self, what: Union[DRef, str], timeout: float = 0) -> Iterator[memoryview]:
        """The object's bytes as a read-only memoryview, pinned until the block ends; longer only for arrays and views made of it that
        live longer."""
        memory = self._pin(what, timeout).memory()
        try:
            yield memory
        finally:
            memory.release()

    def _pin(self, what: Union[DRef, str], timeout: Optional[float]) -> Pin:
        raw, options = ctypes.c_void_p(), _library.GetOptions(_ms(timeout), 0)
        if isinstance(what, DRef):
            check(library().spillway_get(self._handle(), what._raw, options, raw))
        elif isinstance(what, str):
            check(library().spillway_get_name(self._handle(), _encoded(what), options, raw))
        else:
            raise TypeError(f"expected a DRef or a name, got {type(what).__name__}")
        assert self._session is not None
        return Pin(self._session, raw)

    def wait(self, name: str, timeout: Optional[float] = None) -> Any:
        """As get(), once the name exists. None waits for ever; TimedOutError otherwise."""
        return self.get(name, timeout)

    def lookup(self, name: str) -> DRef:
        """A reference to the newest version of the name."""
        raw = _library.Ref()
        check(library().spillway_lookup(self._handle(), _encoded(name), raw))
        return DRef(self, raw)

    def from_token(self, token: str) -> DRef:
        """Picks up DRef.token(). NotFoundError: it expired, or was picked up, and nobody else keeps the object."""
        raw = _library.Ref()
        check(library().spillway_ref_from_token(self._handle(), _encoded(token), raw))
        return DRef(self, raw)

    # ---- what is there

    def __contains__(self, name: str) -> bool:
        try:
            self.stat(name)
            return True
        except NotFoundError:
            return False

    def stat(self, what: Union[DRef, str]) -> Info:
        """What is known of an object."""
        found: list[Info] = []
        call = _library.InfoCall(lambda _, info: found.append(_info(info.contents)) or 0)
        if isinstance(what, DRef):
            check(library().spillway_stat(self._handle(), what._raw, call, None))
        else:
            check(library().spillway_stat_name(self._handle(), _encoded(what), call, None))
        return found[0]

    def list(self, prefix: str = "") -> List[Info]:
        """The objects whose names begin so, in the order of names."""
        found: list[Info] = []
        check(library().spillway_list(self._handle(), _encoded(prefix), _library.InfoCall(lambda _, info: found.append(_info(info.contents)) or 0), None))
        return found

    def names(self, prefix: str = "") -> List[str]:
        """The names that begin so."""
        return [info.name for info in self.list(prefix)]

    def stats(self) -> "dict[str, int]":
        """The daemon's counters."""
        found: dict[str, int] = {}
        check(library().spillway_stats(self._handle(), _library.StatsCall(lambda _, name, value: found.update({name.decode(): value}) or 0), None))
        return found

    # ---- steering

    def erase(self, what: Union[DRef, str]) -> None:
        """The object can no longer be found; its memory is free when the last view goes. What is gone already is no error."""
        if isinstance(what, DRef):
            check(library().spillway_erase(self._handle(), what._raw))
        else:
            check(library().spillway_erase_name(self._handle(), _encoded(what)))

    def spill(self, what: Union[DRef, str]) -> None:
        """Writes it to disk and frees its memory; a later get() reads it back. BusyError: views hold it, and it stays in memory, too."""
        ref = what if isinstance(what, DRef) else self.lookup(what)
        check(library().spillway_move_to_disk(self._handle(), ref._raw, None, None))

    def load(self, what: Union[DRef, str]) -> None:
        """Brings it into memory."""
        ref = what if isinstance(what, DRef) else self.lookup(what)
        check(library().spillway_load(self._handle(), ref._raw))

    def set_hint(self, what: Union[DRef, str], hint: str) -> None:
        """As the argument of set()."""
        ref = what if isinstance(what, DRef) else self.lookup(what)
        check(library().spillway_set_hint(self._handle(), ref._raw, _one_of("hint", hint, _HINTS)))

    def drain(self) -> None:
        """Writes everything that is only in memory."""
        check(library().spillway_drain(self._handle()))


class Target:
    """Where a builder's blob goes: see Pool.target(). `ref` is set when it is complete."""

    def __init__(self, pool: Pool, scratch: Optional[str], options: _library.PutOptions) -> None:
        self.pool, self.ref = pool, None  # type: Pool, Optional[DRef]
        self._scratch, self._options = scratch, options
        self._file: Any = None

    def builder(self, options: dict) -> Builder:
        """A builder whose bytes publish() makes an object of."""
        self._file = tempfile.TemporaryFile(dir=self._scratch)
        made = Builder.to_fd(self._file.fileno(), 0, is_scratch=True, **{"scratch": self._scratch, **options})
        weakref.finalize(made, self._file.close)
        return made

    def publish(self, size: int) -> DRef:
        """The finished blob, as an object."""
        with self.pool._create(size, self._options) as making, self._file:
            at = 0
            while at < size:
                got = os.preadv(self._file.fileno(), [making.memory[at:at + (1 << 30)]], at)
                if got == 0:
                    raise _library.StorageError("the scratch file of a build became shorter")
                at += got
            self.ref = DRef(self.pool, making.seal())
        return self.ref


def connect(socket: Optional[str] = None, *, start: bool = True, daemon: Optional[str] = None, timeout: float = 10) -> Pool:
    """A session with the pool of this user, whose daemon is started when none runs.

    socket: default $SPILLWAY_SOCKET, else the user's own. start=False: UnavailableError instead of starting one. daemon: the program to start
    (default $SPILLWAY_DAEMON, beside libspillway, on PATH). timeout: seconds for its start.
    """
    return Pool(socket, start=start, daemon=daemon, timeout=timeout)


# One session per socket for the references that are unpickled.
_sessions: dict[str, Pool] = {}
_sessions_lock = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_sessions_lock=threading.Lock()))


def _from_token(socket: str, token: str) -> DRef:
    with _sessions_lock:
        if socket not in _sessions:
            _sessions[socket] = Pool(socket)
        return _sessions[socket].from_token(token)


def _encoded(text: Any) -> Optional[bytes]:
    if text is None:
        return None
    if not isinstance(text, (str, os.PathLike)):
        raise TypeError(f"expected str, got {type(text).__name__}")
    words = os.fsencode(text)
    if b"\0" in words:
        raise InvalidError(f"{text!r}: names and paths hold no NUL")
    return words


def _ms(seconds: Optional[float]) -> int:
    """Milliseconds for the library; None and infinity: for ever."""
    if seconds is not None and not isinstance(seconds, (int, float, numpy.integer, numpy.floating)):
        raise TypeError(f"a timeout: expected seconds, or None, got {seconds!r}")
    if seconds is None or seconds * 1000 >= FOREVER:
        return FOREVER
    if not seconds >= 0:
        raise InvalidError(f"a timeout: expected seconds from 0 on, or None, got {seconds!r}")
    return int(seconds * 1000)


def _one_of(what: str, word: str, known: dict) -> int:
    if word not in known:
        raise InvalidError(f"{what}: expected {', '.join(map(repr, known))}, got {word!r}")
    return known[word]


def _info(i: _library.Info) -> Info:
    tag = ctypes.string_at(i.tag, i.tag_bytes) if i.tag_bytes else b""
    return Info(i.name.decode(errors="replace"), i.bytes, library().spillway_state_text(i.state).decode(), i.version, kind_of(tag).get("spillway", ""), tag, i.uid,
                i.mode, i.owner_pid, i.references, i.pins, i.idle_ms, i.file.decode(errors="replace"))
