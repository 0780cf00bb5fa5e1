"""What a program gets wrong: every message says what was expected, nothing crashes; the stubs, the docstrings, and the GIL."""
import ast
import copy
import gc
import hashlib
import os
import pathlib
import pickle
import re
import subprocess
import sys
import tempfile
import threading
import unittest

import numpy as np

import spillway
from spillway import _spillway, mapped_struct


class Person(spillway.Record, name="mistakes.person"):
    id: int
    name: str


class Other(spillway.Record, name="mistakes.other"):
    weight: float


def back(value):
    return spillway.loads(spillway.dumps(value))


class Mistakes(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "blob")

    def refused(self, cases):
        for call, error, words in cases:
            with self.subTest(words), self.assertRaisesRegex(error, words):
                call()

    def test_sources_and_destinations(self):
        good = spillway.dumps(Person(id=1))
        with open(self.path, "wb") as f:
            f.write(good[:-8])
        self.refused([(lambda: spillway.open(self.path), spillway.TypedError, "expected as many bytes as the header"),
                      (lambda: spillway.open(b""), spillway.TypedError, "expected a header of 64 bytes"),
                      (lambda: spillway.open(b"x" * 100), spillway.TypedError, "expected a typed blob"),
                      (lambda: spillway.open(None), TypeError, "expected a path, .* got NoneType"),
                      (lambda: spillway.dump(1, 5.5), TypeError, "expected a path, .* got float"),
                      (lambda: spillway.open(self.path + "\0x"), ValueError, "NUL"),
                      (lambda: spillway.dump(1, self.path + "\0x"), ValueError, "NUL"),
                      (lambda: spillway.open(good, offset=-8), ValueError, "offset: expected 0"),
                      (lambda: spillway.pack_into(1, bytearray(1000), -8), ValueError, "offset: expected 0"),
                      (lambda: spillway.dump(1, b"x" * 1000), BufferError, "writable"),
                      (lambda: spillway.open(bytes(good), writable=True), BufferError, "writable"),
                      (lambda: spillway.open(good, int), TypeError, "expected a spillway.Record class, got <class 'int'>"),
                      (lambda: spillway.open(good, Other), spillway.IncompatibleError, "expected a record mistakes.other, found mistakes.person"),
                      (lambda: spillway.loads(spillway.dumps(5), Person), spillway.IncompatibleError, "expected a record mistakes.person, found int"),
                      (lambda: spillway.open("/no/such/file"), FileNotFoundError, "No such file or directory: '/no/such/file'")])

    def test_what_the_system_refuses_is_its_own_error_with_the_path(self):
        missing, locked = os.path.join(self.folder.name, "missing"), os.path.join(self.folder.name, "locked")
        cases = [(lambda: spillway.open(missing), FileNotFoundError, missing), (lambda: spillway.open(pathlib.Path(missing)), FileNotFoundError, missing),
                 (lambda: spillway.dump(1, missing + "/x"), FileNotFoundError, missing + "/x"),
                 (lambda: spillway.build_map({}, missing + "/x"), FileNotFoundError, missing + "/x"),
                 (lambda: spillway.open(self.folder.name), IsADirectoryError, self.folder.name)]
        for call, error, path in cases:
            with self.assertRaises(error) as raised:
                call()
            self.assertEqual(raised.exception.filename, path)
            self.assertIn(repr(path), str(raised.exception))
        with self.assertRaisesRegex(FileNotFoundError, "scratch"):  # met only when the index outgrows its memory
            spillway.build_map(((str(i), i) for i in range(1000)), memory=4096, scratch=missing)
        spillway.dump(1, locked)
        os.chmod(locked, 0)
        os.chmod(self.folder.name, 0o755)
        child = os.fork()
        if child == 0:  # root may read everything
            os.setgid(65534), os.setuid(65534)
            try:
                spillway.open(locked)
            except PermissionError as e:
                os._exit(0 if e.filename == locked else 2)
            except BaseException:
                os._exit(3)
            os._exit(1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_arguments_of_a_wrong_type_or_value(self):
        blob, one, approx = spillway.open_blob(spillway.dumps([1])), spillway.build_map({"a": 1}), spillway.build_map({"a": 1}, keys="approx", duplicates="all")
        record = spillway.open(spillway.dumps(Person(id=1)), writable=True)
        build = spillway.Builder.to_memory
        self.refused([(lambda: spillway.build_map([], keys=5), TypeError, "keys: expected 'text', 'uint', 'object' or 'approx', got 5"),
                      (lambda: spillway.build_map([], keys="x"), ValueError, "keys: expected 'text', .* got 'x'"),
                      (lambda: spillway.build_map([], duplicates=None), TypeError, "duplicates: expected 'error', .* got None"),
                      (lambda: spillway.build_map([], hash_bits="x"), TypeError, "hash_bits: expected an int of 32 bits, got 'x'"),
                      (lambda: spillway.build_map(5), TypeError, "items: expected an iterable, got int"),
                      (lambda: spillway.build_map([5]), TypeError, "items: expected pairs of key and value, got 5"),
                      (lambda: spillway.build_map([(5, 1)]), TypeError, "a key: expected a str, got 5"),
                      (lambda: spillway.build_map([("x", 1)], keys="uint"), TypeError, "a key: expected an int, got 'x'"),
                      (lambda: spillway.build_map([(-1, 1)], keys="approx", duplicates="all"), OverflowError, "a key: expected 0 to 2.64 - 1, got -1"),
                      (lambda: spillway.build_list(5), TypeError, "items: expected an iterable, got int"),
                      (lambda: spillway.build_array("int8", 5), TypeError, "values: expected an iterable, got int"),
                      (lambda: spillway.build_array("int8", ["x"]), TypeError, "values: expected numbers, got 'x'"),
                      (lambda: spillway.build_array("int8", [1.5]), ValueError, "values: 1.5 does not fit int8"),
                      (lambda: spillway.build_array("int8", [128]), ValueError, "values: 128 does not fit int8"),
                      (lambda: spillway.build_array("complex64", [1]), TypeError, "dtype: expected bool, int8 to int64, .* got 'complex64'"),
                      (lambda: spillway.build_array("nonsense", [1]), TypeError, "nonsense"),
                      (lambda: spillway.merge_maps(5), TypeError, "maps: expected an iterable, got int"),
                      (lambda: spillway.merge_maps([one, 5]), TypeError, "maps: expected MapViews, got 5"),
                      (lambda: spillway.dumps(1, dedupe="x"), TypeError, "dedupe: expected True or False, got 'x'"),
                      (lambda: spillway.dumps(1, scratch=5), TypeError, "scratch: expected a path, got 5"),
                      (lambda: spillway.dumps(1, nonsense=5), TypeError, "unknown option 'nonsense'; expected dedupe, "),
                      (lambda: blob.verify(-1), ValueError, "max_expanded_bytes: expected 0 to 2.64 - 1, got -1"),
                      (lambda: blob.verify("x"), TypeError, "max_expanded_bytes: expected a whole number, got 'x'"),
                      (lambda: blob.dump(json="x"), TypeError, "json: expected True or False, got 'x'"),
                      (lambda: spillway.open(self.path, offset="x"), TypeError, "offset: expected a number of bytes, got 'x'"),
                      (lambda: spillway.open(self.path, size=1.5), TypeError, "size: expected a number of bytes, got 1.5"),
                      (lambda: spillway.loads(5), TypeError, "expected a buffer of bytes .*, got int"),
                      (lambda: build().data(), ValueError, "not finished; expected finish"),
                      (lambda: record.add(5, 1), TypeError, "field: expected a str, got 5"),
                      (lambda: record.compare_exchange(None, 1, 2), TypeError, "field: expected a str, got None"),
                      (lambda: record.add("id", "x"), TypeError, "field 'id': expected a whole number, got 'x'"),
                      (lambda: back([1, 2]).select(5), TypeError, "mask: expected 2 booleans, got 5"),
                      (lambda: spillway.fields_of(5), TypeError, "expected a record or a view of one, got int"),
                      (lambda: spillway.state_of(Person(), "x"), AttributeError, "Person has no field 'x'"),
                      (lambda: spillway.state_of(record, "x"), AttributeError, "mistakes.person has no field 'x'"),
                      (lambda: spillway.field("x"), ValueError, "field: expected a number from 1 .* got 'x'"),
                      (lambda: Person(1, "x"), TypeError, "Person: expected its fields by name: id=..., name=..."),
                      (lambda: type("Bad", (spillway.Record,), {"__annotations__": {"x": "nope"}}), NameError, "Bad.x: name 'nope' is not defined; expected a type"),
                      (lambda: spillway.build_map([("a", 1), ("a", 2)]), spillway.TypedError, "a key came twice: 'a'"),
                      (lambda: spillway.build_map([(7, 1), (7, 2)], keys="uint"), spillway.TypedError, "a key came twice: 7"),
                      (lambda: spillway.build_map([((1, "x"), 1), ((1, "x"), 2)], keys="object"), spillway.TypedError, "a key came twice$"),
                      (lambda: spillway.open(__file__), spillway.TypedError, "test_mistakes.py: bad magic: expected a typed blob"),
                      (lambda: spillway.Array[5], TypeError, "Array: no element type 5")])
        self.assertEqual((spillway.Array[float].element, spillway.Array[int].element, spillway.Array[np.uint8].element), ("float64", "int64", "uint8"))
        self.assertEqual((repr(blob), repr(one)), (f"<blob of {blob.nbytes} bytes>", "<map of 1: 'a': 1>"))
        self.assertNotIn(-1, approx)
        self.assertNotIn(2**70, approx)
        self.assertEqual(spillway.build_array("bool", [True, False]).dtype, "bool")

    def test_a_builder_that_two_calls_use_at_once_refuses_the_second(self):
        entered, leave = threading.Event(), threading.Event()

        class Slow(spillway.Record, name="mistakes.slow"):
            id: int

            @property
            def id(self):
                entered.set()
                leave.wait(60)
                return 7

        b = spillway.Builder.to_memory()
        items, index = b.list(), b.map()
        made = []
        first = threading.Thread(target=lambda: made.append(b.add([Slow(), "kept"])))
        first.start()
        self.assertTrue(entered.wait(60))
        try:
            for call in (lambda: b.add(1), lambda: b.finish(1), lambda: b.set_user_data(1), b.list, b.map, lambda: b.array("int8", [1]), lambda: b.merge([]),
                         lambda: items.add(1), items.finish, lambda: index.put("a", 1), index.finish):
                with self.assertRaisesRegex(RuntimeError, "this Builder is in use by another call; expected one thread"):
                    call()
        finally:
            leave.set()
            first.join()
        items.add(made[0])  # nothing of what was refused is there, and the builder goes on
        b.finish(items.finish())
        self.assertEqual([[v[0].id, v[1]] for v in spillway.loads(b.data())], [[7, "kept"]])

        class Nested(spillway.Record, name="mistakes.nested"):
            id: int

            @property
            def id(self):
                inner.add("within")

        inner = spillway.Builder.to_memory()
        with self.assertRaisesRegex(RuntimeError, "one call, at a time"):
            inner.add(Nested())
        inner.finish("after")
        self.assertEqual(spillway.loads(inner.data()), "after")

    def test_builders(self):
        finished = spillway.Builder.to_memory()
        made, index = finished.list(), finished.map()
        finished.finish(1)
        other = spillway.Builder.to_memory()
        closed, closed_map = other.list(), other.map()
        closed.finish(), closed_map.finish()
        self.refused([(lambda: finished.add("text"), ValueError, "finished; expected a new Builder"), (made.finish, ValueError, "finished"),
                      (lambda: made.add(1), ValueError, "finished"), (lambda: index.put("a", 1), ValueError, "finished"),
                      (lambda: finished.finish(2), ValueError, "finished"), (lambda: finished.array("int8", [1]), ValueError, "finished"),
                      (closed.finish, ValueError, "this list is finished"), (lambda: closed.add(1), ValueError, "this list is finished"),
                      (closed_map.finish, ValueError, "this map is finished"), (lambda: closed_map.put("a", 1), ValueError, "this map is finished"),
                      (lambda: spillway.dumps(1, memory=-1), ValueError, "memory: expected 0 to 2.64 - 1, got -1"),
                      (lambda: spillway.dumps(1, memory="x"), TypeError, "memory: expected a whole number, got 'x'"),
                      (lambda: spillway.build_map([("a", 1)], keys="approx"), ValueError, "expected duplicates='all' or 'distinct'"),
                      (lambda: spillway.build_map([], keys="approx", duplicates="all", hash_bits=-1), ValueError, "hash_bits: expected 1 to 64, got -1"),
                      (lambda: back({"a": 1}).get_many([5]), TypeError, "expected text keys, got 5")])
        for _ in range(20):  # a new builder may lie where the old one lay
            b = spillway.Builder.to_memory()
            ref = b.add("a text that is long enough")
            del b
            gc.collect()
            with self.assertRaisesRegex(ValueError, "another builder"):
                spillway.Builder.to_memory().finish([ref])

    def test_the_names_of_sharedbuffers(self):
        schema = mapped_struct.Schema.from_typed_slots({"a": int})
        alien = mapped_struct.Schema.from_typed_slots({"b": str}).pack(type("T", (), {"b": "x"})())
        texts = mapped_struct.Schema.from_typed_slots({"a": str}).pack(type("T", (), {"a": "x"})())
        self.refused([(lambda: mapped_struct.Schema.from_typed_slots(5), TypeError, "expected a dict of names and types"),
                      (lambda: mapped_struct.Schema.from_typed_slots({1: int}), TypeError, "expected a dict of names and types"),
                      (lambda: schema.unpack(spillway.dumps(5)), spillway.IncompatibleError, r"expected a record slots\(a\), found int"),
                      (lambda: schema.unpack(alien), spillway.IncompatibleError, r"expected a record slots\(a\), found slots\(b\)"),
                      (lambda: schema.unpack(texts), spillway.IncompatibleError, "text cannot be read as int64"),
                      (lambda: mapped_struct.MappedArrayProxyBase.map_buffer(spillway.dumps(5)), spillway.IncompatibleError, "expected a ListView, found int"),
                      (lambda: mapped_struct.MappedMappingProxyBase.map_buffer(spillway.dumps([5])), spillway.IncompatibleError, "expected a MapView, found ListView")])

    def test_lists_without_a_buffer_say_so_and_numpy_takes_their_values(self):
        for native in ([1, "x"], [], (), [[1, 2], [3, 4]], [None, 2]):
            view = back(native)
            with self.assertRaisesRegex(BufferError, "mixed"):
                memoryview(view)
            np.testing.assert_array_equal(np.array(view, dtype=object), np.array(native, dtype=object))
        view = back(list(range(1000, 1100)))
        native = np.arange(1000, 1100, dtype="u2")
        self.assertEqual(hashlib.sha256(view).digest(), hashlib.sha256(native.tobytes()).digest())
        self.assertEqual(hashlib.sha256(view[10:20]).digest(), hashlib.sha256(native[10:20].tobytes()).digest())
        for cut in (view[::-1], view[::2], view[90:10:-3]):  # readers that know no strides would read what lies behind
            with self.assertRaises(BufferError):
                hashlib.sha256(cut)
            self.assertEqual(bytes(memoryview(cut)), np.array(list(cut), "u2").tobytes())

    def test_views_are_made_by_opening_a_blob_alone(self):
        for cls in (spillway.RecordView, spillway.ListView, spillway.SetView, spillway.MapView, spillway.Blob, spillway.Builder, _spillway.Ref):
            with self.assertRaises(TypeError):
                cls()
            with self.assertRaises(TypeError):
                cls.__new__(cls)
        with self.assertRaisesRegex(TypeError, "pickle"):
            pickle.dumps(spillway.open_blob(spillway.dumps(1)))

    def test_what_is_shown_of_a_view_is_short_whatever_it_holds(self):
        self.assertEqual(repr(back([1, "x", (2,), {3}, {"k": None}, Person(id=1, name="Ann")])),
                         "<list of 6: 1, 'x', <tuple of 1: 2>, <set of 1: 3>, <map of 1: 'k': None>, <mistakes.person id=1, name='Ann'>>")
        self.assertEqual((repr(back([])), repr(back(list(range(1000))))), ("<list of 0>", "<list of 1000: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...>"))
        tree = ["leaf"]
        for _ in range(40):
            tree = [tree] * 10  # ten times what is below, stored once
        self.assertLess(len(repr(back({"tree": tree, (1, "x"): tree}))), 20000)

    def test_a_key_that_is_missing_is_the_errors_argument(self):
        view = back({1: 2})
        for key in (None, (1, 2), "x", ()):
            with self.assertRaises(KeyError) as raised:
                view[key]
            self.assertEqual(raised.exception.args, (key,))

    def test_writing_in_place_into_nothing_is_an_error_whatever_the_operation(self):
        v = spillway.open(spillway.dumps(Person(id=None)), writable=True)
        w = spillway.open(spillway.dumps(Person(name="x")), writable=True)
        readonly = back(Person(id=1))
        self.refused([(lambda: v.add("id", 1), TypeError, "null"), (lambda: v.compare_exchange("id", 0, 1), TypeError, "null"),
                      (lambda: w.add("id", 1), AttributeError, "absent"), (lambda: w.compare_exchange("id", 0, 1), AttributeError, "absent"),
                      (lambda: readonly.add("id", 1), TypeError, "read-only"), (lambda: readonly.compare_exchange("id", 1, 2), TypeError, "read-only")])


class Package(unittest.TestCase):
    def stub(self):
        return ast.parse((pathlib.Path(spillway.__file__).parent / "_spillway.pyi").read_text())

    def test_the_stubs_name_what_the_module_has_and_nothing_else(self):
        stub = self.stub()
        classes = {node.name: {name for item in node.body for name in
                               ([item.name] if isinstance(item, ast.FunctionDef) else [item.target.id] if isinstance(item, ast.AnnAssign) else [])}
                   for node in stub.body if isinstance(node, ast.ClassDef)}
        self.assertEqual(set(classes), {n for n, c in vars(_spillway).items() if isinstance(c, type) and not n.startswith("_")})
        for name, members in classes.items():
            cls = getattr(_spillway, name)
            public = {n for n in vars(cls) if not n.startswith("_")}
            inherited = {"index", "count"}  # of Sequence, the stub's base
            self.assertEqual(public - inherited, {n for n in members if not n.startswith("_")}, name)
            self.assertEqual([n for n in members if n != "__getattr__" and not hasattr(cls, n)], [], name)


    def test_the_stubs_have_the_parameters_that_the_methods_have(self):
        compared = 0
        for cls in (node for node in self.stub().body if isinstance(node, ast.ClassDef)):
            for stated in (node for node in cls.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")):
                # The extension's methods say what they take in the first line of their docstrings.
                signature = (getattr(getattr(_spillway, cls.name), stated.name).__doc__ or "").split("\n")[0]
                found = re.match(rf"{stated.name}\((.*)\) -> ", signature)
                if not found:
                    continue  # Python's own, of collections.abc
                with self.subTest(signature):
                    given = [re.split("[:=]", p)[0].strip() for p in found[1].split(", ") if p]
                    self.assertEqual(given, [a.arg for a in stated.args.args] + ["**kwargs"] * bool(stated.args.kwarg))
                    defaults = [d for d in stated.args.defaults if ast.unparse(d) != "..."]
                    self.assertTrue(all(f" = {ast.unparse(d)}" in signature for d in defaults))
                    self.assertEqual(signature.count("="), len(stated.args.defaults))
                    self.assertNotRegex(signature, "handle|::")  # names of C++
                    compared += 1
        self.assertGreater(compared, 25)

    def test_classes_and_functions_have_docstrings(self):
        widths = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
        self.assertEqual([n for n in spillway.__all__ if n not in widths and not (getattr(spillway, n).__doc__ or "").strip()], [])
        # Behind the signature, where there is one.
        words = lambda made: re.sub(r"^\w+\(.*\) -> .*\n*", "", made.__doc__ or "").strip()
        for name, cls in ((n, c) for n, c in vars(spillway).items() if isinstance(c, type) and n in spillway.__all__ and n not in widths):
            own = {m: made for m, made in vars(cls).items() if not m.startswith("_") and (callable(made) or isinstance(made, (property, staticmethod, classmethod)))}
            self.assertEqual([f"{name}.{m}" for m, made in own.items() if not words(getattr(cls, m))], [])

    def test_the_gil_is_free_while_blobs_are_built_verified_merged_and_searched(self):
        items = {f"key {i}": i for i in range(20000)}
        one, two = spillway.build_map(items), spillway.build_map({"other": 1})
        blob, keys = spillway.open_blob(spillway.dumps(list(items))), list(items)

        def finish_map():
            b = spillway.Builder.to_memory()
            index = b.map()
            for k in keys[:2000]:
                index.put(k, 1)
            return index.finish

        before = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, before)
        for work in (blob.verify, lambda: spillway.merge_maps([one, two]), lambda: one.get_many(keys), finish_map):
            with self.subTest(work=work):
                met, start = [], threading.Event()

                def other():
                    start.wait()
                    met.append(True)

                thread = threading.Thread(target=other, daemon=True)
                thread.start()
                calls = [finish_map() for _ in range(50)] if work is finish_map else [work] * 1000
                sys.setswitchinterval(10**6)  # from here on a thread runs only when another lets go of the GIL
                start.set()
                for call in calls:
                    call()
                    if met:
                        break
                free = bool(met)
                sys.setswitchinterval(before)
                thread.join()
                self.assertTrue(free)

    def test_a_map_far_larger_than_the_memory_it_may_take_is_built(self):
        code = """
import resource, sys, spillway
used = int(next(l for l in open('/proc/self/status') if l.startswith('VmData')).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (24 << 20),) * 2)
items = ((f'key {i}', f'{i} ' * 60) for i in range(150000))
m = spillway.build_map(items, sys.argv[1] + '/map', memory=1 << 20, scratch=sys.argv[1], compress=False, dedupe=False)
assert len(m) == 150000 and m['key 77777'] == '77777 ' * 60
"""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            got = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=300,
                                 env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})  # its threads wait for ever where memory is refused
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertGreater(os.path.getsize(folder + "/map"), 48 << 20)


if __name__ == "__main__":
    unittest.main()
