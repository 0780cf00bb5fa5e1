"""Values of every type, sequences, sets, mappings, arrays."""
import collections.abc
import datetime
import decimal
import math
import random
import subprocess
import sys
import tempfile
import unittest
import zoneinfo

import numpy as np

import spillway


def back(value):
    blob = spillway.open_blob(spillway.dumps(value))
    blob.verify()
    return blob.root()


class Values(unittest.TestCase):
    def test_any_gives_back_the_same_type_and_value(self):
        for v in (None, True, False, 0, 1, -1, 2**63 - 1, -2**63, 2**64 - 1, 1.0, -0.0, math.inf, "", "text", "a longer text", b"", b"raw", b"longer raw bytes",
                  decimal.Decimal("1.50"), decimal.Decimal("-0"), decimal.Decimal("NaN123"), decimal.Decimal("-Infinity"), decimal.Decimal("1E+30"),
                  datetime.date(1900, 1, 1), datetime.date(2060, 12, 31), datetime.time(1, 2, 3, 4), datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
                  datetime.datetime(1900, 1, 1, 2, 3, 4, 5), datetime.datetime(2060, 1, 1, tzinfo=datetime.timezone.utc),
                  datetime.datetime(2024, 7, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
                  datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), datetime.datetime(1900, 5, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Amsterdam")),
                  datetime.datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
                  datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), spillway.Instant(5, 3, 3600, "Europe/Berlin"), spillway.Instant(5, 0)):
            for got in (back(v), back([v, "x"])[0], back((v, "x"))[0], back({"k": v})["k"]):
                self.assertIs(type(got), type(v))
                self.assertEqual(str(got), str(v))
        self.assertEqual(back(datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo"))).tzinfo.key, "Asia/Tokyo")
        self.assertEqual(back(datetime.datetime(2024, 10, 27, 2, 30, fold=1)).fold, 1)
        with self.assertRaisesRegex(TypeError, "Europe/Berlin.*a fixed offset"):  # what it is depends on the day
            spillway.dumps(datetime.time(12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")))
        self.assertIsInstance(back(memoryview(b"window")), memoryview)
        self.assertEqual(back(np.float32(1.5)), 1.5)
        self.assertEqual(back(np.int16(-5)), -5)
        for v in ([], [1], (), (1, 2), {}, {1: 2}, set(), {1}, frozenset("ab"), [[1], [2.5], ["x", None, True]], [True, False], [1.5, 2.5], [1, True, 1.0]):
            got = back(v)
            self.assertEqual(got, v)
            if isinstance(v, list):
                self.assertEqual([type(x) for x in got if not isinstance(x, spillway.ListView)], [type(x) for x in v if not isinstance(x, list)])

    def test_integer_lists_pick_the_narrowest_width(self):
        for items, dtype in (([0, 255], "uint8"), ([-1, 127], "int8"), ([-1, 128], "int16"), ([256], "uint16"), ([70000], "uint32"), ([2**40], "uint64"),
                             ([-1, 2**40], "int64"), ([2**64 - 1], "uint64"), ([0.5], "float64"), ([True], "bool"), ([1, True], None), ([1, None], None)):
            got = back(items)
            self.assertEqual(got.dtype, dtype)
            self.assertEqual(got, items)
        many = spillway.build_array("uint8", (i % 251 for i in range(2**24 + 3)))
        self.assertEqual((len(many), many[2**24 + 2], many[-1]), (2**24 + 3, (2**24 + 2) % 251, (2**24 + 2) % 251))

    def test_slices_and_comparison_are_those_of_native_sequences(self):
        rng = random.Random(3)
        for native in (list(range(50)), [i if i % 3 else str(i) for i in range(50)], tuple(range(20)), (1, "a", None)):
            view = back(native)
            self.assertIsInstance(view, collections.abc.Sequence)
            for _ in range(200):
                pick = lambda: rng.choice([None] + list(range(-60, 60)))
                s = slice(pick(), pick(), rng.choice([None, 1, 2, 3, -1, -2, -7]))
                t = slice(pick(), pick(), rng.choice([None, 1, -1, 2]))
                self.assertEqual(view[s], native[s])
                self.assertEqual(list(view[s][t]), list(native[s][t]))
                if view[s].dtype:
                    self.assertEqual(view[s].numpy().tolist(), list(native[s]))
            self.assertEqual(list(reversed(view)), list(reversed(native)))
            self.assertEqual([view[i] for i in range(-len(native), len(native))], [native[i] for i in range(-len(native), len(native))])
            with self.assertRaises(IndexError):
                view[len(native)]
            self.assertIn(native[1], view)
            self.assertNotIn("nowhere", view)
            self.assertEqual(view.index(native[2]), 2)
            self.assertEqual(view.count(native[2]), 1)
            mask = [i % 2 == 0 for i in range(len(native))]
            self.assertEqual(list(view.select(mask)), [x for x, m in zip(native, mask) if m])
        self.assertTrue(back([1, 2]) < [1, 3] and back([1, 2]) >= back([1, 2]) and back((1, 2)) != [1, 2] and back([1]) != [2])
        self.assertEqual(hash(back((1, "a"))), hash((1, "a")))
        with self.assertRaises(TypeError):
            hash(back([1]))

    def test_sets_agree_with_native_sets_across_encodings(self):
        rng = random.Random(5)
        natives = [set(), {0}, {-1, 5}, {63, 64, -64}, {-2**63, 2**63 - 1}, {2**64 - 1}, set(range(100)), {rng.randrange(1000) for _ in range(400)},
                   {c * 10**8 + rng.randrange(200) for c in range(20) for _ in range(100)}, {rng.randrange(-2**40, 2**40) for _ in range(300)},
                   {0.5, 1.0, 64.0}, {"a", 1, None}, {1, 2.0, "x", (1, 2)}, {True, False}]
        views = [back(n) for n in natives]
        for n, v in zip(natives, views):
            self.assertIsInstance(v, collections.abc.Set)
            self.assertEqual(len(v), len(n))
            self.assertEqual(set(v), n)
            self.assertEqual(v, n)
            for probe in (0, 1, 1.0, True, -1, 63, 64, 0.5, "a", None, 2**64 - 1, -2**63, (1, 2), 2**70):
                self.assertEqual(probe in v, probe in n, (probe, n if len(n) < 10 else len(n)))
        for n, v in zip(natives, views):
            for m, w in zip(natives, views):
                self.assertEqual(v == w, n == m)
                self.assertEqual((v <= w, v < w, v >= w, v.isdisjoint(w)), (n <= m, n < m, n >= m, n.isdisjoint(m)))
                self.assertEqual((v & w, v | w, v - w, v ^ w), (n & m, n | m, n - m, n ^ m))
                self.assertEqual(v & m, n & m)
                self.assertEqual((n & w, n | w, n - w, n ^ w), (n & m, n | m, n - m, n ^ m))
                self.assertEqual((v.intersection(w), v.union(w), v.difference(w), v.symmetric_difference(w)), (n & m, n | m, n - m, n ^ m))
                self.assertEqual((v.issubset(w), v.issuperset(w), v > w, v != w), (n <= m, n >= m, n > m, n != m))
                self.assertEqual((v.issubset(m), v.issuperset(list(m)), v <= m, m <= v, v == m, v.isdisjoint(list(m))), (n <= m, n >= m, n <= m, m <= n, n == m, n.isdisjoint(m)))
        self.assertEqual(views[0].union([1], (2,), {3}), {1, 2, 3})
        self.assertIsInstance(views[3] | {1}, frozenset)
        with self.assertRaises(TypeError):
            views[3] < [1]
        self.assertFalse(views[3] == [63, 64, -64])
        self.assertEqual(hash(views[3]), hash(frozenset(natives[3])))
        self.assertLess(len(spillway.dumps(set(range(1000)))), 300)

    def test_maps_with_every_kind_of_key(self):
        nan = float("nan")
        native = {"text": 1, 7: 2, 0.5: 3, math.inf: 4, -math.inf: 5, nan: 6, None: 7, (1, "a"): 8, frozenset([1, "b"]): 9, b"text": 10, 2**64 - 1: 11,
                  datetime.date(2000, 1, 1): 12, decimal.Decimal("0.1"): 13, True: 14}
        view = back(native)
        self.assertIsInstance(view, collections.abc.Mapping)
        self.assertEqual(len(view), len(native))
        for k, v in native.items():
            self.assertEqual(view[k], v, k)
        for k in (7.0, decimal.Decimal("7.0"), np.int64(7), True, 1, 1.0, (1.0, "a"), frozenset(["b", True]), float("nan")):
            self.assertIn(k, view)
        for k in ("nope", 8, 0.1, b"txt", (1,), 2**70):
            self.assertNotIn(k, view)
            self.assertIsNone(view.get(k))
        self.assertEqual(sorted(view.values()), sorted(native.values()))
        self.assertEqual(len(list(view.items())), len(native))
        with self.assertRaises(KeyError):
            view["nope"]
        with self.assertRaises(TypeError):
            view[[1]]
        self.assertEqual(back({1: "a", "b": [1]}), {1: "a", "b": [1]})
        self.assertNotEqual(back({1: "a"}), {1: "b"})

    def test_another_process_finds_the_keys(self):
        with tempfile.TemporaryDirectory() as folder:
            spillway.dump({frozenset(["a", "b", "c"]): 1, ("x", 1): 2, "text": 3}, folder + "/map")
            code = ("import spillway, sys; m = spillway.open(sys.argv[1]); "
                    "assert m[frozenset(['c', 'a', 'b'])] == 1 and m['x', 1.0] == 2 and m['text'] == 3")
            subprocess.run([sys.executable, "-c", code, folder + "/map"], check=True, timeout=120)

    def test_numpy_sees_arrays_without_a_copy(self):
        for a in (np.zeros(0), np.arange(5), np.arange(6.0).reshape(2, 3), np.arange(24, dtype="i2").reshape(2, 3, 4)[:, ::2, 1:3], np.asfortranarray(np.arange(6).reshape(2, 3)),
                  np.arange(10)[::-3], np.broadcast_to(np.arange(3), (2, 3)), np.arange(12).reshape(3, 4).T[::-1, ::2], np.array([(1, 2.5)] * 4, dtype=[("a", "<i4"), ("b", "<f8")])[::2],
                  np.array([(1, 2.5)] * 4, dtype=[("a", "<i4"), ("b", "<f8")])["b"], np.array(5.0), np.zeros((2, 0)), np.array([(1, 2.5)], dtype=[("a", "<i4"), ("b", "<f8")]), np.zeros(2, dtype=np.dtype([("a", "u1"), ("b", "<i4")], align=True)),
                  np.array([1 + 2j]), np.array(["2020-01-01"], dtype="M8[ns]"), np.array([b"ab"]), np.array([True]), np.arange(3, dtype=">i4")):
            data = spillway.dumps(["before", a])
            got = spillway.loads(data)[1]
            np.testing.assert_array_equal(got, a)
            self.assertEqual(got.dtype.newbyteorder("="), a.dtype.newbyteorder("="))
            self.assertEqual(got.shape, a.shape)
            self.assertFalse(got.flags.writeable)
            if a.size:
                memory = np.frombuffer(data, dtype="u1")
                start = got.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
                self.assertTrue(64 <= start < len(data))
                self.assertEqual(start % 64, 0)
        with self.assertRaisesRegex(TypeError, "Python objects"):
            spillway.dumps(np.array([object()]))
        view = spillway.loads(spillway.dumps(list(range(1000))))
        memory = memoryview(view)
        self.assertEqual((memory.format, memory[999]), ("H", 999))
        self.assertEqual(np.asarray(view)[5], 5)
        del view
        self.assertEqual(memory[998], 998)  # the memory lives as long as anything looks at it


if __name__ == "__main__":
    unittest.main()
