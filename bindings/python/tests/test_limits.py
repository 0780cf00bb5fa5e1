"""Values at their limits, copies of views, what changes while it is stored, and memory that must not grow."""
import copy
import datetime
import gc
import math
import multiprocessing
import os
import pickle
import resource
import tempfile
import unittest

import numpy as np

import spillway


class Numbers(spillway.Record, name="limits.numbers"):
    big: spillway.uint64
    small: spillway.int8
    real: float
    half: spillway.float32
    day: datetime.date
    flag: bool


class Person(spillway.Record, name="limits.person"):
    id: int
    name: str
    friends: list

    @property
    def greeting(self):
        return f"Hello {self.name}"


class Slotted:
    __slots__ = ("id", "cache")
    __slot_types__ = {"id": int}


def back(value, **options):
    return spillway.loads(spillway.dumps(value, **options))


def people():
    return back([Person(id=i, name=f"n{i}", friends=[i, "x"]) for i in range(3)])


class Values(unittest.TestCase):
    def refused(self, cases):
        for call, error, words in cases:
            with self.subTest(words), self.assertRaisesRegex(error, words):
                call()

    def test_numbers_at_their_limits_are_kept_and_beyond_them_refused_with_the_field(self):
        kept = back(Numbers(big=2**64 - 1, small=-128, real=-0.0, half=3.4028234663852886e38))
        self.assertEqual((kept.big, kept.small, math.copysign(1, kept.real), kept.half), (2**64 - 1, -128, -1.0, 3.4028234663852886e38))
        self.assertTrue(math.isnan(back(Numbers(half=math.nan)).half))
        self.assertEqual((back(Numbers(half=-math.inf)).half, back(Numbers(half=1e-46)).half), (-math.inf, 0.0))
        dumped = lambda **fields: lambda: spillway.dumps(Numbers(**fields))
        self.refused([(dumped(big=2**64), OverflowError, "limits.numbers.big: 18446744073709551616 does not fit uint64"),
                      (dumped(big=-1), OverflowError, "limits.numbers.big: -1 does not fit uint64"),
                      (dumped(small=128), OverflowError, "limits.numbers.small: 128 does not fit int8"),
                      (dumped(half=1e39), OverflowError, r"limits.numbers.half: 1e\+39 does not fit float32"),
                      (dumped(real=10**400), OverflowError, "limits.numbers.real: 10+ does not fit float64")])

    def test_what_is_written_in_place_is_held_to_the_same_limits(self):
        v = spillway.open(bytearray(spillway.dumps(Numbers(big=0, small=0, real=0.0, half=0.0, day=datetime.date(2020, 1, 1), flag=False))), writable=True)
        v.big, v.small, v.real, v.half, v.day, v.flag = 2**64 - 1, -128, 1e300, 0.5, datetime.date(9999, 12, 31), True
        self.assertEqual((v.big, v.small, v.real, v.half, v.day, v.flag), (2**64 - 1, -128, 1e300, 0.5, datetime.date(9999, 12, 31), True))
        self.assertEqual((v.add("big", 2), v.big), (2**64 - 1, 1))  # wraps round
        self.assertEqual((v.add("small", -1), v.small), (-128, 127))
        self.assertEqual((v.add("half", 0.25), v.half, v.add("real", 1e300), v.real), (0.5, 0.75, 1e300, 2e300))
        self.assertTrue(v.compare_exchange("small", 127, -5) and v.compare_exchange("half", 0.75, -1) and v.compare_exchange("flag", True, False))
        self.assertFalse(v.compare_exchange("small", 127, 1) or v.compare_exchange("day", datetime.date(1, 1, 1), datetime.date(2, 2, 2)))
        self.assertEqual((v.small, v.half, v.flag), (-5, -1.0, False))
        write = lambda name, value: lambda: setattr(v, name, value)
        self.refused([(write("big", 2**64), OverflowError, "field 'big': 18446744073709551616 does not fit uint64"),
                      (write("big", -1), OverflowError, "field 'big': -1 does not fit uint64"),
                      (write("small", 128), OverflowError, "field 'small': 128 does not fit int8"),
                      (write("small", 1.5), TypeError, "field 'small': expected a whole number, got 1.5"),
                      (write("small", None), TypeError, "field 'small': expected a whole number, got None"),
                      (write("half", 1e39), OverflowError, r"field 'half': 1e\+39 does not fit float32"),
                      (write("real", "x"), TypeError, "field 'real': expected a number, got 'x'"),
                      (write("flag", 1), TypeError, "field 'flag': expected a bool, got 1"),
                      (write("day", 5), TypeError, "field 'day': expected a date, got 5"),
                      (write("day", datetime.datetime(2020, 1, 1, 5)), TypeError, "field 'day': expected a date, got datetime"),
                      (lambda: v.add("flag", True), TypeError, "field 'flag' is a bool; add.. expects a field that is a number"),
                      (lambda: v.compare_exchange("small", 0, 300), OverflowError, "field 'small': 300 does not fit int8")])
        self.assertEqual(v.small, -5)

    def test_a_text_that_cannot_be_stored_is_refused_and_is_no_key(self):
        half = "\ud800"
        self.refused([(lambda: spillway.dumps(half), UnicodeEncodeError, "surrogates"), (lambda: spillway.dumps({half: 1}), UnicodeEncodeError, "surrogates"),
                      (lambda: spillway.build_map({half: 1}), UnicodeEncodeError, "surrogates"),
                      (lambda: spillway.build_map({"a": 1}).get_many([half]), UnicodeEncodeError, "surrogates"),
                      (lambda: spillway.build_map({}, keys=half), UnicodeEncodeError, "surrogates"),
                      (lambda: spillway.dumps(1, **{half: 1}), (TypeError, UnicodeEncodeError), "")])
        for m in (spillway.build_map({"a": 1}), back({"a": 1, 2: 3})):
            self.assertFalse(half in m)
            self.assertIsNone(m.get(half))
            self.assertIsNone(m.get((half,)))
            with self.assertRaises(KeyError):
                m[half]
        self.assertFalse(half in back({"a", 1}))

    def test_numpy_values_that_would_lose_something_are_refused(self):
        self.refused([(lambda: spillway.dumps(np.datetime64(1, "ns")), TypeError, "cannot store a numpy scalar of type datetime64"),
                      (lambda: spillway.dumps(np.timedelta64(1, "ns")), TypeError, "cannot store a numpy scalar of type timedelta64"),
                      (lambda: spillway.dumps(np.longdouble(1)), TypeError, "cannot store a numpy scalar"),
                      (lambda: spillway.dumps(np.ma.array([1, 2], mask=[0, 1])), TypeError, "cannot store a masked array: .* expected filled")])
        self.assertEqual(back(np.datetime64("2020-02-29")), datetime.date(2020, 2, 29))
        swapped = back(np.arange(3, dtype=">i4"))
        self.assertEqual((swapped.dtype, swapped.tolist()), (np.dtype(">i4"), [0, 1, 2]))

    def test_a_container_that_changes_while_it_is_stored_does_no_harm(self):
        class Shrinks(spillway.Record, name="limits.shrinks"):
            id: int

            def __getattribute__(self, name):
                if name == "id":
                    held.clear()
                return super().__getattribute__(name)

        held: list = [Shrinks(id=1), *([i] for i in range(1000))]
        self.assertEqual(len(back(held)), 1)
        held = {"a": Shrinks(id=1), **{str(i): [i] for i in range(1000)}}
        with self.assertRaisesRegex(RuntimeError, "a dict changed size while it was stored"):
            spillway.dumps(held)


class Copies(unittest.TestCase):
    def test_views_pickle_as_blobs_of_their_own(self):
        root = people()
        for view in (root, root[0], root[1:], root[::-2], root[0].friends, back({1, "x"}), back({1, 2**40}), back({"a": [1], (1, 2): None}),
                     spillway.build_map([("a", 1), ("a", 2)], duplicates="all"), back((1, (2,)))):
            again = pickle.loads(pickle.dumps(view))
            self.assertIs(type(again), type(view))
            self.assertEqual(again, view)
            self.assertEqual(spillway.clone(again), spillway.clone(view))
        self.assertEqual(pickle.loads(pickle.dumps(root[2])).greeting, "Hello n2")
        self.assertLess(len(pickle.dumps(root[0])), 1000)

    def test_a_view_travels_to_spawned_and_forked_workers(self):
        for method in ("spawn", "fork"):
            with multiprocessing.get_context(method).Pool(1) as workers:
                self.assertEqual(workers.apply(_first_name, (people(),)), "n0")
                self.assertEqual(workers.apply(spillway.clone, (people()[1:],))[0].name, "n1")

    def test_a_copy_is_the_view_and_a_deep_copy_has_memory_of_its_own(self):
        root = spillway.open(bytearray(spillway.dumps(Person(id=1, name="Ann"))), writable=True)
        same, other = copy.copy(root), copy.deepcopy([root])[0]
        root.id = 7
        self.assertEqual((same.id, other.id, other.name), (7, 1, "Ann"))

    def test_views_list_their_fields_and_the_class_beside(self):
        view = people()[0]
        self.assertLessEqual({"id", "name", "friends", "greeting", "add"}, set(dir(view)))
        for name in ("__dict__", "__weakref__"):
            with self.assertRaises(AttributeError):
                getattr(view, name)
        schema = spillway.mapped_struct.Schema.from_typed_slots(Slotted)
        spillway.mapped_struct.mapped_object.register_schema(Slotted, schema, "s")
        made = Slotted()
        made.id, made.cache = 5, "not stored"
        slotted = back(made)
        self.assertEqual(slotted.id, 5)
        with self.assertRaisesRegex(AttributeError, "has no field 'cache'"):
            slotted.cache


def _first_name(view):
    return view[0].name


class Memory(unittest.TestCase):
    def test_loops_over_everything_do_not_grow(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "blob")
            spillway.dump({"people": [Person(id=i, name="n" * 100, friends=[1.5, "x", (2,), {3}, {4: None}]) for i in range(20)], "a": np.arange(1000)}, path)
            with open(path, "rb") as f:
                packed = f.read()

            def once():
                root = spillway.open(path, verify=True)
                for p in root["people"]:
                    (p.id, p.name, list(p.friends), p.greeting, repr(p), hash(p), p == p, spillway.clone(p))
                root["a"].sum(), memoryview(root["people"][0].friends[2]), root.get("nothing"), list(root.iteritems())
                pickle.loads(pickle.dumps(root["people"][1]))
                spillway.loads(spillway.dumps(root))
                m = spillway.build_map(((str(i), i) for i in range(50)), duplicates="all")
                spillway.merge_maps([m, m], duplicates="first").get_many(["1", "nothing"])
                for wrong in (lambda: spillway.open(packed[:-8]), lambda: spillway.dumps([object()]), lambda: root["people"][0].nothing, lambda: root[[]],
                              lambda: spillway.build_map([("a", 1), ("a", 2)]), lambda: spillway.build_list(iter(lambda: 1 / 0, 1))):
                    try:
                        wrong()
                    except Exception:
                        pass

            def used():
                with open("/proc/self/statm") as f:
                    return int(f.read().split()[1]) * resource.getpagesize()

            for _ in range(40):
                once()
            gc.collect()
            before = used()
            for _ in range(200):
                once()
            gc.collect()
            self.assertLess(used() - before, 4 << 20)  # 20 KiB a round would be a leak


if __name__ == "__main__":
    unittest.main()
