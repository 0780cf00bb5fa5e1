"""Containers built by streaming, into files, buffers and mappings; hostile bytes; several processes."""
import gc
import json
import mmap
import operator
import os
import random
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile

import spillway
from spillway import _files


class Containers(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "blob")

    def test_maps_stream_from_iterators_into_files_buffers_and_mappings(self):
        items = lambda: ((f"key {i}", i) for i in range(5000))
        anonymous = mmap.mmap(-1, 1 << 20)
        with open(self.path + ".part", "w+b") as part:
            part.write(b"#" * 100)
            maps = [spillway.build_map(items()), spillway.build_map(items(), self.path), spillway.build_map(items(), bytearray(1 << 20)),
                    spillway.build_map(items(), anonymous), spillway.build_map(items(), part, offset=128), spillway.build_map(items(), memory=4096, scratch=self.folder.name)]
            for m in maps:
                self.assertEqual((len(m), m["key 4999"], m.get("key 5000")), (5000, 4999, None))
                self.assertEqual(sorted(m), sorted(k for k, _ in items()))
                self.assertEqual(sorted(m.itervalues()), list(range(5000)))
                self.assertEqual(m.get_many(["key 7", "nope", "key 9"]), [7, None, 9])
            self.assertEqual(spillway.open(part, offset=128)["key 5"], 5)
        self.assertEqual(spillway.open(self.path + ".part", offset=128)["key 5"], 5)
        with self.assertRaises(BufferError):
            spillway.build_map(items(), bytearray(1000))

    def test_arrays_lists_and_other_maps_stream_there_too(self):
        little = {"memory": 4096, "scratch": self.folder.name}
        kinds = [(lambda to, **o: spillway.build_map(((i * 7, -i) for i in range(5000)), to, keys="uint", **o), lambda m: m[34993], -4999),
                 (lambda to, **o: spillway.build_map((((i, "x"), i) for i in range(5000)), to, keys="object", **o), lambda m: m[4999, "x"], 4999),
                 (lambda to, **o: spillway.build_map(((f"k{i % 9}", i) for i in range(5000)), to, duplicates="all", **o), lambda m: len(m["k4"]), 556),
                 (lambda to, **o: spillway.build_array("int16", (i for i in range(5000)), to, **o), lambda a: a[-1], 4999),
                 (lambda to, **o: spillway.build_list(({"i": i} for i in range(5000)), to, **o), lambda a: a[4999]["i"], 4999)]
        for build, look, expected in kinds:
            with open(self.path + ".part", "w+b") as part:
                for destination, place in ((None, 0), (self.path, 0), (bytearray(1 << 20), 0), (mmap.mmap(-1, 1 << 20), 64), (part, 4096)):
                    for options in ({}, little):
                        view = build(destination, offset=place, **options)
                        self.assertEqual(look(view), expected)
                        if destination is not None:
                            self.assertEqual(look(spillway.open(destination, offset=place, verify=True)), expected)

    def test_look_ups_among_two_million_keys_find_all_and_only_the_right_ones(self):
        n = 2_000_000
        shuffled = list(range(0, 3 * n, 3))
        random.Random(2).shuffle(shuffled)
        for keys in (range(0, 3 * n, 3), range(3 * n - 3, -1, -3), shuffled):
            m = spillway.build_map(zip(keys, keys), keys="uint", memory=16 << 20)
            self.assertEqual(len(m), n)
            self.assertTrue(all(map(operator.eq, map(m.get, keys), keys)))
            self.assertFalse(any(map(m.__contains__, range(1, 3 * n, 3))))
            self.assertTrue(all(map(operator.eq, m.iterkeys(), range(0, 3 * n, 3))))
            self.assertTrue(all(map(operator.eq, m.itervalues(), m.iterkeys())))
        texts = [str(k) for k in shuffled]
        m = spillway.build_map(zip(texts, shuffled), memory=16 << 20)
        self.assertEqual(m.get_many(texts), shuffled)
        self.assertEqual(set(m.get_many([str(k + 1) for k in shuffled])), {None})

    def test_numbers_and_any_keys_in_ascending_descending_and_shuffled_order(self):
        end = 6_000_000 if os.environ.get("SPILLWAY_SOAK") else 60000
        for order in (1, -1, 0):
            keys = list(range(0, end, 3))[::order or 1]
            if order == 0:
                random.Random(1).shuffle(keys)
            m = spillway.build_map(((k, [k]) for k in keys), keys="uint", memory=1 << 16)
            self.assertEqual(len(m), len(keys))
            self.assertTrue(all((k in m) == (k % 3 == 0) for k in range(end)))
            self.assertEqual(m[end - 3], [end - 3])
            self.assertEqual(list(m), sorted(keys))
            self.assertTrue(all(list(v) == [k] and w == v for k, v, (_, w) in zip(m.iterkeys(), m.itervalues(), m.iteritems())))
            texts = spillway.build_map(((str(k), k) for k in keys), memory=1 << 16)
            self.assertEqual(len(texts), len(keys))
            self.assertTrue(all(texts.get(str(k)) == (k if k % 3 == 0 else None) for k in range(end)))
            self.assertTrue(all(k == str(v) for k, v in texts.iteritems()))
        m = spillway.build_map((((i, str(i)), i) for i in range(2000)), keys="object")
        self.assertEqual(m[5, "5"], 5)
        with self.assertRaises(OverflowError):
            spillway.build_map([(-1, 1)], keys="uint")
        with self.assertRaises(TypeError):
            spillway.build_map([(1, 1)], keys="text")

    def test_lists_and_arrays(self):
        class Row(spillway.Record, name="containers.row"):
            id: int
            name: str
        rows = spillway.build_list((Row(id=i, name=f"row {i}") for i in range(3000)), self.path, memory=4096)
        self.assertEqual((len(rows), rows[2999].name, rows[-3000].id), (3000, "row 2999", 0))
        self.assertEqual(sum(r.id for r in rows), sum(range(3000)))
        a = spillway.build_array("float64", (i / 2 for i in range(10000)), memory=4096)
        self.assertEqual(a.numpy().sum(), sum(i / 2 for i in range(10000)))
        with self.assertRaises(ValueError):
            spillway.build_array("int8", [300])

    def test_multimaps_and_approximate_ones(self):
        items = [(f"k{i % 10}", i % 50) for i in range(1000)]
        m = spillway.build_map(items, duplicates="all")
        self.assertEqual((len(m), m.entries, m["k3"][:6], list(m.get_iter("k4"))[:2]), (10, 1000, [3, 13, 23, 33, 43, 3], [4, 14]))
        self.assertEqual(spillway.build_map(items, duplicates="distinct")["k3"], [3, 13, 23, 33, 43])
        self.assertEqual(list(m.get_iter("none")), [])
        a = spillway.build_map(items, keys="approx", duplicates="all", hash_bits=12)
        self.assertTrue(all(v in a[k] for k, v in items))
        self.assertGreater(a.false_rate, 0)
        for policy, value in (("first", 3), ("last", 993 % 50)):
            self.assertEqual(spillway.build_map(items, duplicates=policy)["k3"], value)
        with self.assertRaisesRegex(spillway.TypedError, "twice"):
            spillway.build_map(items)

    def test_merging(self):
        parts = [spillway.build_map(((f"k{i + 50 * p}", p) for i in range(100))) for p in range(4)]
        for n in range(5):
            merged = spillway.merge_maps(parts[:n], duplicates="first")
            self.assertEqual(len(merged), 100 + 50 * (n - 1) if n else 0)
        self.assertEqual(spillway.merge_maps(parts, duplicates="last")["k60"], 1)
        self.assertEqual(spillway.merge_maps(parts, duplicates="all")["k60"], [0, 1])
        with self.assertRaisesRegex(spillway.TypedError, "a key came twice"):
            spillway.merge_maps(parts)
        self.assertEqual(len(spillway.merge_maps([parts[0], parts[2]])), 200)  # nothing twice
        self.assertEqual(spillway.merge_maps(parts, duplicates="distinct").entries, 400)
        self.assertEqual(spillway.merge_maps([parts[0], parts[0]], duplicates="distinct").entries, 100)
        self.assertEqual(spillway.merge_maps(iter(parts), self.path, duplicates="first")["k60"], 0)
        self.assertEqual(spillway.merge_maps([spillway.build_map({k: k}, keys="uint") for k in range(9)])[7], 7)
        with self.assertRaisesRegex(TypeError, "one kind"):
            spillway.merge_maps([parts[0], spillway.build_map({1: 1}, keys="uint")])

    def test_equal_values_are_stored_once_and_a_failed_add_leaves_nothing(self):
        big = lambda: {"some text that is long": [1.5, 2.5, 3.5] * 10}
        self.assertLess(len(spillway.dumps([big() for _ in range(1000)])), 1000 * 16 + 1000)
        b = spillway.Builder.to_memory()
        first = b.add("a text that stays where it is")
        with self.assertRaises(TypeError):
            b.add(["a text that goes away", object()])
        b.finish([first, "a text that goes away", first])
        blob = spillway.open_blob(b.data())
        blob.verify()
        self.assertEqual(blob.root()[1], "a text that goes away")

    def test_pack_into_and_unpack_from_at_any_offset(self):
        buffer = bytearray(1000)
        end = spillway.pack_into([1, "two"], buffer, 10)
        later = spillway.pack_into({"three": 3}, buffer, end)
        self.assertEqual(spillway.unpack_from(buffer, 10), [1, "two"])
        self.assertEqual(spillway.unpack_from(buffer, end)["three"], 3)
        self.assertLess(later, 1000)
        with self.assertRaises(BufferError):
            spillway.pack_into("x", bytearray(70))
        with self.assertRaises(ValueError):
            spillway.pack_into("x", bytearray(70), 100)

    def test_zip_members_that_are_stored_can_be_mapped(self):
        with zipfile.ZipFile(self.path, "w") as archive:
            archive.writestr("stored", bytes(spillway.dumps({"a": 1})))
            archive.writestr("packed", b"x" * 1000, zipfile.ZIP_DEFLATED)
        path, offset, size = _files.zip_member(self.path, "stored")
        with open(path, "rb") as f:
            data = f.read()[offset:offset + size]
        self.assertEqual(spillway.loads(data)["a"], 1)
        with self.assertRaisesRegex(ValueError, "compressed"):
            _files.zip_member(self.path, "packed")

    def test_damaged_bytes_raise_and_never_crash(self):
        good = bytes(spillway.dumps({"text": "some longer text", 5: [1, 2, 3], "deep": [[["x"]], {1, 2, 99}], "t": (1.5, None)}))
        for n in range(len(good)):
            with self.assertRaises(spillway.TypedError):
                spillway.loads(good[:n])
        rng = random.Random(11)
        changes = [[(at, good[at] ^ bits)] for at in range(len(good)) for bits in (1, 2, 4, 8, 16, 32, 64, 128, 255)]
        changes += [[(rng.randrange(len(good)), rng.randrange(256)) for _ in range(rng.randrange(1, 4))] for _ in range(2000)]
        for change in changes:
            bad = bytearray(good)
            for at, byte in change:
                bad[at] = byte
            try:
                blob = spillway.open_blob(bytes(bad))
                repr(spillway.clone(blob.root()))
                blob.dump(json=True)
                blob.verify()
            except (spillway.TypedError, TypeError, AttributeError, UnicodeDecodeError, KeyError, OverflowError, ValueError):
                pass
        with self.assertRaisesRegex(OSError, "missing"):
            spillway.open(self.path + "missing")
        with self.assertRaises(spillway.TypedError) as caught:
            spillway.loads(b"x" * 100)
        self.assertEqual(caught.exception.code, "bad magic")

    def test_json_dump(self):
        value = {"a": [1, 2.5, None, True], "b": "text"}
        data = json.loads(spillway.open_blob(spillway.dumps(value)).dump(json=True))
        self.assertEqual(sorted(data["$map"]), [["a", [1, 2.5, None, True]], ["b", "text"]])

    def test_views_keep_the_memory_and_serve_threads(self):
        m = spillway.build_map(((f"k{i}", [i, str(i)]) for i in range(2000)), self.path)
        os.unlink(self.path)
        gc.collect()
        wrong = []

        def look():
            for i in range(2000):
                if m[f"k{i}"][1] != str(i):
                    wrong.append(i)
        threads = [threading.Thread(target=look) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])

    def test_a_build_that_is_abandoned_leaves_no_file(self):
        b = spillway.Builder.to_file(self.path)
        b.add("something")
        del b
        gc.collect()
        self.assertEqual(os.listdir(self.folder.name), [])


class SharedBuffersNames(unittest.TestCase):
    def test_the_documented_programs_of_sharedbuffers(self):
        from spillway import mapped_struct

        class SomeStruct:
            __slot_types__ = {"a": int, "b": float, "s": bytes, "u": str, "fset": frozenset, "l": list, "o": object}
            __slots__ = tuple(__slot_types__)
            __schema__ = mapped_struct.Schema.from_typed_slots(__slot_types__)

        s = SomeStruct()
        s.a, s.s, s.u, s.fset, s.o = 3, b"blah", "name", frozenset([1, 3]), 3
        packed = s.__schema__.pack(s)
        self.assertIsInstance(packed, bytearray)
        buf = bytearray(1000)
        self.assertGreater(s.__schema__.pack_into(s, buf, 10), 10)
        p = s.__schema__.unpack_from(buf, 10)
        self.assertEqual((p.a, p.s, p.u, p.fset, p.o), (3, b"blah", "name", {1, 3}, 3))
        self.assertFalse(hasattr(p, "b"))
        filled = s.__schema__.unpack(packed, SomeStruct)
        self.assertEqual((filled.a, filled.fset), (3, frozenset([1, 3])))
        SomeStruct.__mapped_type__ = mapped_struct.mapped_object.register_schema(SomeStruct, SomeStruct.__schema__, "S")
        self.assertEqual(spillway.loads(spillway.dumps([s, s]))[1].u, "name")

        class Holder:
            __slot_types__ = {"inner": SomeStruct, "n": mapped_struct.uint8}
        Holder.__schema__ = mapped_struct.Schema.from_typed_slots(Holder)
        h = Holder()
        h.inner, h.n = s, 5
        self.assertEqual(Holder.__schema__.unpack(Holder.__schema__.pack(h)).inner.a, 3)

        class StructArray(mapped_struct.MappedArrayProxyBase):
            schema = SomeStruct.__schema__

        class StructNameMapping(mapped_struct.MappedMappingProxyBase):
            IdMapper = mapped_struct.StringIdMapper
            ValueArray = StructArray

        class StructIdMapping(mapped_struct.MappedMappingProxyBase):
            IdMapper = mapped_struct.NumericIdMapper
            ValueArray = StructArray

        class StructObjectMultiMapping(mapped_struct.MappedMultiMappingProxyBase):
            IdMapper = mapped_struct.ObjectIdMultiMapper
            ValueArray = StructArray

        for build in (lambda c, i: c.build(i), self.into_file):
            arr = build(StructArray, [s, s])
            self.assertEqual((len(arr), arr[0].a, [x.u for x in arr]), (2, 3, ["name", "name"]))
            self.assertEqual(len(list(arr.iter_fast([True, False]))), 1)
            names = build(StructNameMapping, {"a": s, "b": s})
            self.assertEqual((names["a"].a, sorted(names.keys()), len(names), names.get("c", 7)), (3, ["a", "b"], 2, 7))
            ids = build(StructIdMapping, {1: s, 3: s}.items())
            self.assertEqual((ids[3].a, 2 in ids, ids.get(0)), (3, False, None))
            multi = build(StructObjectMultiMapping, [((1, "x"), s), ((1, "x"), s)])
            self.assertEqual(len(multi[1, "x"]), 2)
        merged = StructNameMapping.merge([StructNameMapping.build({"a": s}), StructNameMapping.build({"b": s})])
        self.assertEqual(sorted(merged.keys()), ["a", "b"])

    def into_file(self, cls, items):
        with tempfile.NamedTemporaryFile() as destfile:
            destfile.write(b"something before")
            return cls.build(items, destfile=destfile)


if __name__ == "__main__":
    unittest.main()
