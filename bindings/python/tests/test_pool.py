"""The pool and the segment store from Python: what is stored, that nothing is copied, names, tokens, processes, failures."""
import collections
import copy
import ctypes
import datetime
import gc
import multiprocessing
import os
import pathlib
import pickle
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import numpy

import spillway
import spillway.mapped_struct
from pool_daemon import Daemon, build
from spillway import _library


class Reading(spillway.Record, name="pool.reading"):
    id: int
    values: list[float]


def address(array):
    return array.__array_interface__["data"][0]


def mappings():
    """(first, end, permissions, name) of what this process has mapped."""
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        places, permissions, _, _, _, *name = line.split(maxsplit=5)
        first, end = (int(p, 16) for p in places.split("-"))
        yield first, end, permissions, (name[0].strip() if name else "")


def mapping_of(at, nbytes):
    return next(((p, name) for first, end, p, name in mappings() if first <= at and at + nbytes <= end), None)


def double(ref):
    array = ref.get()
    return ref._pool.set(array * 2)


def sum_of_name(socket, name, answers):
    pool = spillway.connect(socket, start=False)
    answers.put(float(pool.wait(name, timeout=60).sum()))


class WithPool(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--memory-limit", "64M")
        cls.pool = cls.daemon.connect()

    @classmethod
    def tearDownClass(cls):
        cls.pool.close()
        gc.collect()
        cls.daemon.stop()


class Values(WithPool):
    def test_arrays_lie_on_the_mapping_and_nothing_is_copied(self):
        for array in (numpy.arange(3 << 20, dtype=float), numpy.arange(1000, dtype="i2").reshape(10, 100), numpy.zeros((0, 3)), numpy.array(7.5),
                      numpy.asfortranarray(numpy.arange(600000).reshape(300, 2000)), numpy.arange(10**6)[::-3], numpy.array(["ab", "c"]),
                      numpy.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]), numpy.array(["2020-01-01", "NaT"], "M8[us]"), numpy.array([True, False])):
            got = self.pool.get(self.pool.set(array))
            self.assertEqual((got.dtype, got.shape), (array.dtype, array.shape))
            numpy.testing.assert_array_equal(got, array)
            self.assertFalse(got.flags.writeable or got.flags.owndata)
            with self.assertRaises(ValueError):
                got.flags.writeable = True
            if array.nbytes:
                permissions, name = mapping_of(address(got), got.nbytes)
                self.assertEqual(permissions, "r--s")  # shared memory, mapped read-only
                self.assertIn("memfd:", name)

    def test_two_gets_and_a_pin_see_the_same_memory(self):
        ref = self.pool.set(numpy.arange(1 << 20))
        a, b = self.pool.get(ref), ref.get()
        self.assertEqual(address(a), address(b))
        with self.pool.pin(ref) as memory:
            self.assertEqual(address(numpy.frombuffer(memory, int)), address(a))
            self.assertTrue(memory.readonly)
        with self.assertRaises(ValueError):
            memory[0]  # released with the block
        del a, b
        with self.pool.pin(ref) as memory:
            kept = numpy.frombuffer(memory, int)
        self.assertEqual((kept[5], self.pool.stat(ref).pins), (5, 1))
        del kept
        with self.pool.pin(ref):
            self.assertEqual(self.pool.stat(ref).pins, 1)
        self.assertEqual(self.pool.stat(ref).pins, 0)

    def test_views_keep_their_object_pinned_and_no_longer(self):
        ref = self.pool.set(numpy.arange(1 << 20))
        view = self.pool.get(ref)[100:200]
        gc.collect()
        self.assertEqual(self.pool.stat(ref).pins, 1)
        with self.assertRaises(spillway.BusyError):
            self.pool.spill(ref)
        self.assertEqual(view.sum(), numpy.arange(100, 200).sum())
        del view
        gc.collect()
        self.pool.spill(ref)
        self.assertEqual(self.pool.stat(ref).state, "spilled")
        self.assertEqual(self.pool.get(ref)[-1], (1 << 20) - 1)

    def test_bytes_and_texts(self):
        for data in (b"", b"x", bytes(range(256)) * 10000, bytearray(b"abc"), memoryview(b"abcdef")[::2]):
            got = self.pool.get(self.pool.set(data))
            self.assertIsInstance(got, memoryview)
            self.assertTrue(got.readonly)
            self.assertEqual(bytes(got), bytes(data))
        for text in ("", "Grüße\0", "é" * 10**6):
            self.assertEqual(self.pool.get(self.pool.set(text)), text)

    def test_other_objects_are_pickled_with_their_buffers_beside(self):
        Point = collections.namedtuple("Point", "x y")
        globals()["Point"], Point.__module__, Point.__qualname__ = Point, __name__, "Point"
        large = numpy.arange(1 << 19)
        for value in (None, 5, 2.5, [1, "x", {2: (3,)}], {"a": datetime.date(2020, 1, 1)}, Point(1, 2), {1, 2}, numpy.float32(2.5), ValueError("x")):
            got = self.pool.get(self.pool.set(value))
            self.assertEqual(repr(got), repr(value))
            self.assertIs(type(got), type(value))
        ref = self.pool.set({"large": large, "again": large, "name": "x"})
        got = ref.get()
        numpy.testing.assert_array_equal(got["large"], large)
        self.assertIs(got["large"], got["again"])
        with self.pool.pin(ref) as memory:
            first = address(numpy.frombuffer(memory, "u1"))
            self.assertTrue(first < address(got["large"]) < first + len(memory))
            self.assertEqual(address(got["large"]) % 64, 0)
        self.assertFalse(got["large"].flags.writeable)
        objects = numpy.array([1, "x", None], object)
        self.assertEqual(list(self.pool.get(self.pool.set(objects))), [1, "x", None])
        with self.assertRaises((pickle.PicklingError, TypeError, AttributeError)):
            self.pool.set(lambda: 5)

    def test_columns_of_numbers_and_texts(self):
        names = [None if i % 7 == 0 else f"näme {i}" for i in range(100000)]
        table = spillway.Columns({"id": numpy.arange(100000), "name": names}, weight=numpy.linspace(0, 1, 100000, dtype="f4"), plain=["x"] * 100000)
        ref = self.pool.set(table, name="columns/test")
        got = self.pool.get("columns/test")
        self.assertEqual((list(got), got.rows, len(got)), (["id", "name", "weight", "plain"], 100000, 4))
        numpy.testing.assert_array_equal(got["id"], numpy.arange(100000))
        self.assertEqual((got["weight"].dtype, got["id"][-1], got["name"][7], got["name"][-1], got["name"][1:3]),
                         (numpy.dtype("f4"), 99999, None, "näme 99999", ["näme 1", "näme 2"]))
        self.assertEqual(got["name"], names)
        self.assertIsNone(got["plain"].valid)
        with self.pool.pin(ref) as memory:
            first = address(numpy.frombuffer(memory, "u1"))
            for array in (got["id"], got["weight"], got["name"].data, got["name"].offsets, got["name"].valid):
                self.assertTrue(first < address(array) < first + len(memory))
                self.assertEqual((address(array) % 64, array.flags.writeable), (0, False))
        with self.assertRaises(IndexError):
            got["name"][100000]
        for wrong in (dict(a=[1], b=[1, 2]), dict(a=numpy.zeros((2, 2))), dict(a=["x", 5]), dict(a=numpy.zeros(2, "V3"))):
            with self.assertRaises((ValueError, TypeError)):
                spillway.Columns(wrong)
        self.assertEqual(self.pool.get(self.pool.set(spillway.Columns())).rows, 0)

    def test_typed_blobs_are_read_in_place_from_an_object(self):
        record = self.pool.get(self.pool.set(Reading(id=7, values=[1.0, 2.5])))
        self.assertEqual((record.id, list(record.values)), (7, [1.0, 2.5]))
        target = self.pool.target("typed/users")
        users = spillway.build_map(((f"user {i}", Reading(id=i, values=[i / 2])) for i in range(60000)), target, memory=1 << 20)
        self.assertEqual((len(users), users["user 59999"].id), (60000, 59999))
        self.assertEqual(self.pool.stat(target.ref).kind, "typed")
        again = self.pool.get("typed/users")
        self.assertEqual(address(again["user 5"].values.numpy()), address(users["user 5"].values.numpy()))
        self.assertIsNotNone(mapping_of(address(users["user 5"].values.numpy()), 8))
        numbers = spillway.build_array("int32", range(10**6), self.pool.target())
        self.assertEqual(numbers[-1], 10**6 - 1)
        rows = spillway.build_list(({"i": i} for i in range(10)), self.pool.target("typed/rows"))
        self.assertEqual(rows[9]["i"], 9)
        size = spillway.dump([1, "x"], self.pool.target("typed/dump"))
        self.assertEqual((self.pool.stat("typed/dump").nbytes, self.pool.get("typed/dump")[1]), (size, "x"))
        merged = spillway.merge_maps([users, spillway.build_map({"nobody": None})], self.pool.target("typed/merged"))
        self.assertEqual(len(merged), 60001)
        class Points(spillway.mapped_struct.MappedArrayProxyBase):
            schema = spillway.mapped_struct.Schema.from_typed_slots({"x": int})

        points = Points.build(({"x": i} for i in range(5)), destfile=self.pool.target("typed/points"))
        self.assertEqual(len(points), 5)
        self.assertEqual(len(self.pool.get("typed/points")), 5)
        with self.assertRaises(ZeroDivisionError):  # a build that fails leaves no object
            spillway.build_list((1 // (5 - i) for i in range(10)), self.pool.target("typed/failed"))
        self.assertNotIn("typed/failed", self.pool)


class Names(WithPool):
    def test_names_have_versions_and_can_be_listed_waited_for_and_erased(self):
        one = self.pool.set("one", name="names/a")
        before = self.pool.get("names/a")
        self.pool.set("two", name="names/a")
        self.pool.set(numpy.arange(5), name="names/b")
        self.assertEqual((before, self.pool.get("names/a"), one.get()), ("one", "two", "one"))
        self.assertEqual(self.pool.names("names/"), ["names/a", "names/b"])
        self.assertEqual([i.kind for i in self.pool.list("names/")], ["text", "ndarray"])
        self.assertGreater(self.pool.stat("names/a").version, self.pool.stat(one).version)
        self.assertIn("names/a", self.pool)
        with self.assertRaises(spillway.ExistsError):
            self.pool.set("three", name="names/a", exclusive=True)
        threading.Timer(0.05, lambda: self.pool.set("late", name="names/late")).start()
        self.assertEqual(self.pool.wait("names/late", timeout=60), "late")
        with self.assertRaises(spillway.TimedOutError):
            self.pool.wait("names/never", timeout=0.02)
        with self.assertRaises(spillway.NotFoundError) as raised:
            self.pool.get("names/never")
        self.assertIn("names/never", str(raised.exception))
        self.pool.erase("names/a")
        self.assertNotIn("names/a", self.pool)
        self.assertEqual(self.pool.lookup("names/b").get().sum(), 10)

    def test_what_nobody_refers_to_is_gone(self):
        ref = self.pool.set(numpy.zeros(1 << 20))
        other = copy.deepcopy(ref)
        token = ref.token()
        self.assertTrue(other == ref and hash(other) == hash(ref))
        del ref, other
        gc.collect()
        kept = self.pool.from_token(token)
        self.assertEqual(kept.get().size, 1 << 20)
        del kept
        gc.collect()
        with self.assertRaises(spillway.NotFoundError):
            self.pool.from_token(token)

    def test_mistakes_are_named(self):
        for call, error, words in ((lambda: self.pool.set(1, hint="often"), ValueError, "'recomputable'"), (lambda: self.pool.set(1, when_full="panic"), ValueError, "'wait'"),
                                   (lambda: self.pool.get(5), TypeError, "a DRef or a name"), (lambda: self.pool.from_token("rubbish"), spillway.PoolError, ""),
                                   (lambda: spillway.dump(1, self.pool.target(), offset=64), ValueError, "no offset"),
                                   (lambda: spillway.connect("/nowhere/pool.sock", start=False), ConnectionError, "/nowhere/pool.sock"),
                                   (lambda: self.pool.set(bytes(100), mode=0o777777), ValueError, ""), (lambda: self.pool.set(1, name="a\0b"), ValueError, "NUL"),
                                   (lambda: self.pool.get("x", timeout=-1), ValueError, "-1"), (lambda: self.pool.get("x", timeout="1"), TypeError, "expected seconds, or None, got '1'"),
                                   (lambda: self.pool.set(1, mode=2**40), ValueError, "mode: expected 0 to 0o777"), (lambda: self.pool.set(1, mode="x"), ValueError, "got 'x'"),
                                   (lambda: self.pool.set(1, name=""), ValueError, "name: expected a name"), (lambda: self.pool.set(1, name=5), TypeError, "int"),
                                   (lambda: self.pool.set(1, name="x" * 2000), ValueError, ""), (lambda: self.pool.lookup(5), TypeError, "int")):
            with self.assertRaises(error) as raised:
                call()
            self.assertIn(words, str(raised.exception))
        closed = self.daemon.connect()
        array = closed.get(closed.set(numpy.arange(10**6)))
        closed.close()
        self.assertEqual(array[-1], 10**6 - 1)  # a view outlives its session
        with self.assertRaises(ValueError):
            closed.set(1)

    def test_more_than_memory_spills_and_comes_back(self):
        refs = [self.pool.set(numpy.full(1 << 20, i)) for i in range(24)]  # 192 MiB in 64
        self.assertGreater(self.pool.stats()["spilled_bytes"], 100 << 20)
        for i, ref in enumerate(refs):
            self.assertEqual(int(ref.get().sum()), i << 20)
        with self.assertRaises(spillway.FullError) as raised:
            held = [ref.get() for ref in refs[:7]]
            for i in range(3):
                held.append(self.pool.set(numpy.zeros(1 << 20), when_full="fail").get())
        self.assertIn("pin", str(raised.exception))


class Processes(WithPool):
    def test_references_travel_to_workers_and_back(self):
        ref = self.pool.set(numpy.arange(1 << 18))
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as workers:
                results = workers.map(double, [ref] * 4)
            self.assertEqual([int(r.get().sum()) for r in results], [int(numpy.arange(1 << 18).sum()) * 2] * 4)

    def test_a_forked_child_has_a_session_of_its_own(self):
        array = self.pool.set(numpy.arange(1 << 18), name="processes/array").get()
        answers = multiprocessing.get_context("fork").Queue()

        def child():
            made = self.pool.set(self.pool.get("processes/array") + 1, name="processes/made")
            answers.put((int(array[-1]), made.id > 0))
            gc.collect()

        worker = multiprocessing.get_context("fork").Process(target=child)
        worker.start()
        self.assertEqual(answers.get(), ((1 << 18) - 1, True))
        worker.join()
        self.assertEqual(worker.exitcode, 0)
        self.assertEqual(self.pool.get("processes/made")[0], 1)

    def test_another_process_waits_for_a_name(self):
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        worker = context.Process(target=sum_of_name, args=(self.daemon.socket, "processes/later", answers))
        worker.start()
        self.pool.set(numpy.ones(10**6), name="processes/later")
        self.assertEqual(answers.get(), 1e6)
        worker.join()

    def test_threads_share_a_pool(self):
        wrong = []

        def work(k):
            for i in range(50):
                name = f"threads/{k}"
                self.pool.set(numpy.full(1000, i), name=name)
                if self.pool.get(name)[0] != i:
                    wrong.append((k, i))

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        [t.start() for t in threads], [t.join() for t in threads]
        self.assertEqual(wrong, [])


class Library(unittest.TestCase):
    def test_without_the_library_the_message_says_what_to_do(self):
        code = "import spillway; print(spillway.loads(spillway.dumps([1]))[0])\ntry: spillway.connect()\nexcept spillway.UnavailableError as e: print(e)"
        got = subprocess.run([sys.executable, "-c", code], env={**os.environ, "SPILLWAY_LIBRARY": "/nowhere/libspillway.so.0"}, capture_output=True, text=True)
        self.assertEqual(got.returncode, 0, got.stderr)
        first, words = got.stdout.splitlines()
        self.assertEqual(first, "1")
        self.assertIn("SPILLWAY_LIBRARY", words)
        self.assertIn("/nowhere/libspillway.so.0", words)

    def test_the_structures_are_those_of_the_headers(self):
        include = pathlib.Path(__file__).resolve().parents[3] / "include/spillway"
        text = re.sub(r"/\*.*?\*/", "", (include / "pool.h").read_text() + (include / "store.h").read_text(), flags=re.S)
        for name, structure in (("spillway_ref", _library.Ref), ("spillway_pool_options", _library.PoolOptions), ("spillway_put_options", _library.PutOptions),
                                ("spillway_get_options", _library.GetOptions), ("spillway_file_ref", _library.FileRef), ("spillway_info", _library.Info),
                                ("spillway_value", _library.Value)):
            body = re.search(r"typedef struct " + name + r"\s*\{(.*?)\}", text, re.S).group(1)
            fields = [re.sub(r"\[.*", "", f.split()[-1].lstrip("*")) for line in body.split(";") if line.strip() for f in line.split(",")]
            self.assertEqual(fields, [f[0] for f in structure._fields_], name)
        for name, (_, arguments) in _library._FUNCTIONS.items():
            found = re.search(r"\b" + name + r"\((.*?)\);", text, re.S).group(1)
            count = 0 if found.strip() == "void" else len(re.sub(r"\(\*\w+\)\(.*?\)", "callback", found, flags=re.S).split(","))
            self.assertEqual(count, len(arguments), name)
        self.assertEqual(ctypes.sizeof(_library.Ref), 16)


class Stores(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(dir="/var/tmp")
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "store")

    def test_a_store_is_a_mapping(self):
        with spillway.open_store(self.path) as store:
            store["a"] = b"1"
            store[b"b"] = numpy.arange(1000).tobytes()
            store.update({"c": b"", "d/1": b"x", "d/2": b"y"})
            self.assertEqual((bytes(store["a"]), len(store), list(store), store.keys_with("d/")), (b"1", 5, [b"a", b"b", b"c", b"d/1", b"d/2"], [b"d/1", b"d/2"]))
            value = numpy.frombuffer(store["b"], int)
            self.assertEqual(value[999], 999)
            self.assertFalse(value.flags.writeable)
            self.assertIsNotNone(mapping_of(address(value), value.nbytes))
            self.assertEqual((bytes(store["c"]), store.get("nobody"), "a" in store, "z" in store), (b"", None, True, False))
            del store["a"]
            with self.assertRaises(KeyError):
                del store["a"]
            store.put("aligned", bytes(100), alignment=64)
            self.assertEqual(address(numpy.frombuffer(store["aligned"], "u1")) % 64, 0)
            store["b"] = b"new"
            store.sync()
            store.compact()
            self.assertEqual(value[998], 998)  # what is held stays as it is
            store.backup(self.path + ".copy")
            with self.assertRaises(spillway.BusyError):
                spillway.open_store(self.path)
            with spillway.open_store(self.path, readonly=True) as reader:
                self.assertEqual(bytes(reader["b"]), b"new")
                with self.assertRaises(spillway.DeniedError):
                    reader["x"] = b"1"
        self.assertEqual(value[997], 997)  # also after the store was closed
        with self.assertRaises(ValueError):
            store["b"]
        with spillway.open_store(self.path + ".copy", readonly=True) as copied:
            self.assertEqual(len(copied), 5)

    def test_a_store_can_be_closed_while_threads_use_it(self):
        for _ in range(20):
            store = spillway.open_store(self.path, durability="async")
            store["k"] = bytes(100)
            wrong: list = []

            def use():
                try:
                    while True:
                        if bytes(store["k"]) != bytes(100):
                            wrong.append("bytes")
                        store["k"] = bytes(100)
                except ValueError:
                    pass  # closed
                except Exception as e:
                    wrong.append(e)

            threads = [threading.Thread(target=use) for _ in range(4)]
            for t in threads:
                t.start()
            time.sleep(0.01)
            store.close()
            for t in threads:
                t.join()
            self.assertEqual(wrong, [])

    def test_a_time_to_live_is_never_for_ever(self):
        with spillway.open_store(self.path, durability="async") as store:
            store.put("soon", b"1", ttl=1e-9)
            deadline = time.monotonic() + 10
            while "soon" in store and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertNotIn("soon", store)
            for ttl in (-1, float("nan"), float("inf")):
                with self.assertRaises(spillway.InvalidError):
                    store.put("x", b"1", ttl=ttl)
            self.assertNotIn("x", store)

    def test_several_processes_write(self):
        with spillway.open_store(self.path, shared=True) as store:
            store["k"] = b"parent"
            code = f"import spillway; s = spillway.open_store({self.path!r}, shared=True); s['k'] = bytes(s['k']) + b', child'; s.close()"
            subprocess.run([sys.executable, "-c", code], check=True)
            self.assertEqual(bytes(store["k"]), b"parent, child")

    def test_mistakes_are_named(self):
        with self.assertRaises(spillway.PoolError) as raised:
            spillway.open_store(self.path, readonly=True)
        self.assertIn(self.path, str(raised.exception))
        with spillway.open_store(self.path) as store:
            with self.assertRaises(TypeError):
                store[5] = b""
            with self.assertRaises(TypeError):
                store["x"] = "text"


if __name__ == "__main__":
    unittest.main()
