"""Records: fields, states, evolution, writing in place; the same bytes as C++."""
import collections.abc
import datetime
import decimal
import multiprocessing
import os
import tempfile
import unittest
import zoneinfo

import numpy as np

import spillway


class Address(spillway.Record, name="py.address"):
    street: str
    number: spillway.int32


class Everything(spillway.Record, name="py.everything"):
    flag: bool
    i8: spillway.int8
    i16: spillway.int16
    i32: spillway.int32
    i64: int
    u8: spillway.uint8
    u16: spillway.uint16
    u32: spillway.uint32
    u64: spillway.uint64
    f32: spillway.float32
    f64: float
    text: str
    raw: bytes
    window: memoryview
    maybe: "int | None"
    items: list
    pair: tuple
    lucky: set
    table: dict
    home: Address
    others: list[Address]
    anything: object
    day: datetime.date
    moment: datetime.datetime
    alarm: datetime.time
    price: decimal.Decimal
    grid: np.ndarray
    exact: spillway.Array["int16"]

    def total(self):
        return self.i8 + self.i16


def sample() -> Everything:
    return Everything(flag=True, i8=-8, i16=-1600, i32=-320000, i64=-2**63, u8=255, u16=65535, u32=4 * 10**9, u64=2**64 - 1, f32=1.5, f64=0.1,
                      text="größer", raw=b"\0\xff", window=memoryview(b"window"), maybe=None, items=[1, "x", None, [2.5]], pair=(1, "a"),
                      lucky={3, 7, 10**6}, table={"a": 1, 2: "b"}, home=Address(street="Road", number=12),
                      others=[Address(street="A", number=1), Address(street="B", number=2)], anything=Address(street="any", number=3),
                      day=datetime.date(1900, 2, 28), moment=datetime.datetime(2060, 1, 1, 5, 6, 7, 8, datetime.timezone.utc),
                      alarm=datetime.time(6, 30), price=decimal.Decimal("-12.50"), grid=np.arange(6.0).reshape(2, 3), exact=[1, -2, 3])


class Records(unittest.TestCase):
    def test_any_mix_of_fields_round_trips(self):
        e = sample()
        v = spillway.loads(spillway.dumps(e), Everything)
        spillway.open_blob(spillway.dumps(e)).verify()
        self.assertIs(v.flag, True)
        for name in ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "text", "raw", "maybe", "day", "moment", "alarm", "price"):
            self.assertEqual(getattr(v, name), getattr(e, name), name)
            self.assertIs(type(getattr(v, name)), type(getattr(e, name)), name)
        self.assertEqual(bytes(v.window), b"window")
        self.assertEqual(v.items, e.items)
        self.assertEqual(v.pair, e.pair)
        self.assertEqual(v.lucky, e.lucky)
        self.assertEqual(v.table, e.table)
        self.assertEqual(v.home.number, 12)
        self.assertEqual([o.street for o in v.others], ["A", "B"])
        self.assertEqual(v.anything.street, "any")
        np.testing.assert_array_equal(v.grid, e.grid)
        self.assertEqual(v.exact, [1, -2, 3])
        self.assertEqual(v.exact.dtype, "int16")
        self.assertEqual(v.total(), -1608)

    def test_records_of_many_fields_with_some_absent(self):
        for n in (7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200):
            cls = type(f"Wide{n}", (spillway.Record,), {"__annotations__": {f"f{i}": int for i in range(n)}})
            for step in (1, 2, 3, 7):
                values = {f"f{i}": i * 1000 for i in range(n) if i % step == 0}
                v = spillway.loads(spillway.dumps(cls(**values)), cls)
                for i in range(n):
                    if i % step == 0:
                        self.assertEqual(getattr(v, f"f{i}"), i * 1000)
                    else:
                        self.assertFalse(hasattr(v, f"f{i}"))
                        self.assertEqual(spillway.state_of(v, f"f{i}"), "absent")

    def test_absent_null_and_set_are_three_states(self):
        states = []
        for a in (Address(street="x"), Address(street="x", number=5)):
            states.append(spillway.state_of(spillway.loads(spillway.dumps(a)), "number"))
        a.number = None
        v = spillway.loads(spillway.dumps(a))
        states.append(spillway.state_of(v, "number"))
        self.assertEqual(states, ["absent", "set", "null"])
        self.assertIsNone(v.number)
        with self.assertRaisesRegex(AttributeError, "absent"):
            spillway.loads(spillway.dumps(Address(street="x"))).number
        with self.assertRaisesRegex(AttributeError, "no field"):
            v.nonsense

    def test_strings(self):
        random = os.urandom(256000)
        for s in ("", "\0", "a\0b", "12345678", "123456789", "é漢\U0001f600", "x" * 100000):
            self.assertEqual(spillway.loads(spillway.dumps(s)), s)
            self.assertEqual(spillway.loads(spillway.dumps(Address(street=s))).street, s)
        self.assertEqual(spillway.loads(spillway.dumps(random)), random)
        self.assertLess(len(spillway.dumps("x" * 100000)), 2000)
        self.assertGreater(len(spillway.dumps(random)), 256000)
        self.assertGreater(len(spillway.dumps("x" * 100000, compress=False)), 100000)
        with self.assertRaises(UnicodeEncodeError):
            spillway.dumps("\ud800")

    def test_a_view_packed_again_is_equal(self):
        data = spillway.dumps(sample())
        v = spillway.loads(data)
        again = spillway.loads(spillway.dumps(v))
        self.assertEqual(v, again)
        self.assertEqual(spillway.clone(v).text, "größer")
        self.assertEqual(spillway.dumps(spillway.clone(v)), data)
        for part in (v.items, v.pair, v.lucky, v.table, v.home):
            self.assertEqual(spillway.loads(spillway.dumps(part)), part)
        self.assertEqual(spillway.loads(spillway.dumps([v.items[1:]])), [["x", None, [2.5]]])
        self.assertEqual(v, sample())
        self.assertNotEqual(v, Address(street="x"))

    def test_values_that_do_not_fit_are_refused_with_the_fields_name(self):
        for error, values in ((OverflowError, {"i8": 128}), (OverflowError, {"u64": -1}), (OverflowError, {"u64": 2**64}), (TypeError, {"i8": "x"}),
                              (TypeError, {"text": 5}), (TypeError, {"flag": 1}), (TypeError, {"home": 5}), (TypeError, {"day": 5}),
                              (TypeError, {"table": [1]}), (TypeError, {"price": 1.5}), (OverflowError, {"exact": [70000]}), (TypeError, {"f64": "x"})):
            with self.subTest(values), self.assertRaisesRegex(error, next(iter(values))):
                spillway.dumps(Everything(**values))
        with self.assertRaisesRegex(OverflowError, "64 bits"):
            spillway.dumps(2**70)
        with self.assertRaisesRegex(TypeError, "cannot store"):
            spillway.dumps(object())
        with self.assertRaisesRegex(TypeError, "no field"):
            Address(strasse="x")
        cycle = []
        cycle.append(cycle)
        with self.assertRaisesRegex(spillway.TypedError, "255"):
            spillway.dumps(cycle)

    def test_fields_are_written_in_place_from_two_processes(self):
        class Counters(spillway.Record):
            total: int
            small: spillway.uint8
            real: float
            on: bool
            day: datetime.date
            nothing: int
            never: int
            name: str
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/counters"
            spillway.dump(Counters(total=0, small=5, real=0.5, on=False, day=datetime.date(2000, 1, 1), nothing=None, name="n"), path)
            with self.assertRaisesRegex(TypeError, "read-only"):
                spillway.open(path).total = 5
            v = spillway.open(path, writable=True)
            v.small, v.real, v.on, v.day = 7, 2.5, True, datetime.date(2001, 2, 3)
            self.assertEqual((v.small, v.real, v.on, v.day), (7, 2.5, True, datetime.date(2001, 2, 3)))
            with self.assertRaises(OverflowError):
                v.small = 256
            with self.assertRaisesRegex(TypeError, "null"):
                v.nothing = 1
            with self.assertRaisesRegex(AttributeError, "absent"):
                v.never = 1
            with self.assertRaisesRegex(TypeError, "name"):
                v.name = "x"
            with self.assertRaisesRegex(AttributeError, "no field"):
                v.other = 1
            self.assertTrue(v.compare_exchange("total", 0, 10))
            self.assertFalse(v.compare_exchange("total", 0, 11))
            self.assertEqual(v.add("total", -10), 10)
            self.assertEqual(v.add("real", 0.25), 2.5)
            v.small = 0
            workers = [multiprocessing.get_context("fork").Process(target=count, args=(path,)) for _ in range(2)]
            for w in workers:
                w.start()
            for w in workers:
                w.join()
                self.assertEqual(w.exitcode, 0)
            self.assertEqual((v.total, v.small, v.real), (20000, 20000 % 256, 2.75 + 5000))


def count(path):
    """One of two processes that write the same fields: nothing of what either does is lost."""
    v = spillway.open(path, writable=True)
    for _ in range(10000):
        v.add("total", 1)
        v.add("real", 0.25)
        while not v.compare_exchange("small", seen := v.small, (seen + 1) % 256):
            pass


class Evolution(unittest.TestCase):
    def test_added_removed_reordered_renamed_and_widened_fields(self):
        class V1(spillway.Record, name="evolving"):
            a: spillway.int32
            b: str
            gone: int
        data = spillway.dumps(V1(a=-7, b="text", gone=1), user_data={"made by": 1})

        class V2(spillway.Record, name="evolving"):
            renamed: str = spillway.field(2)
            a: int = spillway.field(1)
            added: float = spillway.field(9)
        v = spillway.loads(data, V2)
        self.assertEqual((v.a, v.renamed), (-7, "text"))
        with self.assertRaisesRegex(AttributeError, "absent"):
            v.added
        self.assertEqual(spillway.open_blob(data).user_data(), {"made by": 1})

        class V3(spillway.Record, name="evolving"):
            a: str
        with self.assertRaisesRegex(spillway.IncompatibleError, "a: .*int32.*text"):
            spillway.loads(data, V3)
        with self.assertRaises(spillway.IncompatibleError):
            spillway.loads(data, Address)

    def test_base_fields_are_part_of_the_derived_record(self):
        class Base(spillway.Record):
            id: int

        class Derived(Base):
            extra: str
        data = spillway.dumps(Derived(id=5, extra="x"))
        self.assertEqual(spillway.loads(data, Derived).id, 5)
        self.assertEqual(spillway.loads(data, Base).id, 5)

    def test_unknown_types_stay_readable_by_name(self):
        data = spillway.dumps([Address(street="x", number=1)])
        saved = dict(spillway._fields.classes)
        try:
            spillway._fields.classes.clear()
            v = spillway.loads(data)[0]
            self.assertEqual((v.street, spillway.fields_of(v)), ("x", ["street", "number"]))
            self.assertEqual(spillway.clone(v), {"street": "x", "number": 1})
        finally:
            spillway._fields.classes.update(saved)


class TwoLanguages(unittest.TestCase):
    """tests/typed/golden/v1.spw was written by C++."""
    golden = os.path.join(os.path.dirname(__file__), "../../../tests/typed/golden/v1.spw")

    def test_python_reads_what_cpp_wrote(self):
        v = spillway.open(self.golden, verify=True)
        self.assertEqual((v.i64, v.text, v.home.number), (-5, "golden", 37))
        self.assertEqual(v.names, ["one", "a name longer than eight"])
        self.assertEqual(v.lucky, {1, 2, 100})
        self.assertEqual(v.by_name["b"], 2)
        self.assertEqual(v.price, decimal.Decimal("19.90"))
        self.assertEqual(v.when, spillway.Instant(1, 0, 0, "UTC"))
        self.assertEqual(v.anything["nd"].tolist(), [[1.0], [2.0]])
        self.assertEqual(spillway.open_blob(self.golden).user_data(), "user data")

    def test_times_are_the_same_bytes_from_both(self):
        kathmandu, berlin = zoneinfo.ZoneInfo("Asia/Kathmandu"), zoneinfo.ZoneInfo("Europe/Berlin")
        hours = lambda h: datetime.timezone(datetime.timedelta(hours=h))
        times = [datetime.datetime(2060, 1, 1, tzinfo=datetime.timezone.utc), datetime.datetime(2024, 7, 1, 12, 0, 0, 7, tzinfo=hours(5.5)),
                 datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=berlin), datetime.datetime(1900, 5, 1, tzinfo=kathmandu),
                 spillway.Instant(5, 3, 3600, "Europe/Berlin"), datetime.datetime(1900, 1, 1, 2, 3, 4, 5), datetime.time(1, tzinfo=hours(-2)), datetime.date(2060, 12, 31)]
        with open(os.path.join(os.path.dirname(self.golden), "times.spw"), "rb") as f:
            stored = f.read()
        self.assertEqual(bytes(spillway.dumps(times)), stored)
        for got, expected in zip(spillway.loads(stored), times):
            self.assertEqual((type(got), str(got), getattr(got, "fold", 0)), (type(expected), str(expected), getattr(expected, "fold", 0)))
        self.assertEqual((got := spillway.loads(stored))[2].tzinfo.key, "Europe/Berlin")
        self.assertEqual(got[3].tzinfo.key, "Asia/Kathmandu")

    def test_python_writes_the_bytes_that_cpp_writes(self):
        class Golden(spillway.Record, name="golden.small"):
            id: int
            name: str
            weight: "float | None"
            tags: spillway.Array["int32"]
        data = spillway.dumps(Golden(id=7, name="Ann", weight=None, tags=[1, 2, 3]))
        with open(os.path.join(os.path.dirname(self.golden), "small.spw"), "rb") as f:
            self.assertEqual(bytes(data), f.read())


if __name__ == "__main__":
    unittest.main()
