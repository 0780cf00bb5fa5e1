"""What a field takes and what it refuses, by its name; fields that are called as methods are; arrays of dates."""
import datetime
import io
import math
import unittest

import spillway


class Fields(unittest.TestCase):
    def test_a_field_may_have_the_name_of_any_method_of_views(self):
        class Hiding(spillway.Record, name="fields.hiding"):
            add: int
            _fields: str
            _state: int
            _type_name: str
            _class: str
            _position: int
        made = Hiding(add=1, _fields="f", _state=3, _type_name="t", _class="c", _position=5)
        view = spillway.loads(spillway.dumps(made), Hiding)
        self.assertEqual((view.add, view._fields, view._state), (1, "f", 3))
        self.assertEqual(spillway.fields_of(view), spillway.fields_of(made))
        self.assertEqual(spillway.state_of(view, "_state"), "set")
        self.assertEqual(view, made)
        self.assertEqual(spillway.clone(view), made)
        self.assertIn("_type_name='t'", repr(view))
        self.assertIn("_class", dir(view))
        self.assertIsInstance(hash(view), int)

    def test_a_field_that_cannot_take_a_value_is_named(self):
        class Inner(spillway.Record, name="fields.inner"):
            n: int

        class Derived(Inner, name="fields.derived"):
            more: int

        class Other(spillway.Record, name="fields.other"):
            n: int

        class Holder(spillway.Record, name="fields.holder"):
            items: list
            pair: tuple
            members: set
            whole: spillway.Array["int32"]
            bits: spillway.Array["bool"]
            reals: spillway.Array["float32"]
            days: spillway.Array["date"]
            inner: Inner
        day = datetime.date(1900, 2, 28)
        for error, field, value in ((TypeError, "items", 5), (TypeError, "items", "text"), (TypeError, "pair", 5), (TypeError, "pair", "text"),
                                    (TypeError, "members", 5), (TypeError, "members", "text"), (TypeError, "whole", 5), (TypeError, "whole", "123"),
                                    (TypeError, "whole", ["a"]), (TypeError, "whole", [None]), (TypeError, "whole", [[1]]), (OverflowError, "whole", [1.5]),
                                    (OverflowError, "whole", [2**40]), (OverflowError, "whole", [2**70]), (OverflowError, "whole", [math.nan]),
                                    (TypeError, "bits", [1, 2]), (OverflowError, "reals", [1e300]), (TypeError, "reals", ["x"]), (TypeError, "days", [5]),
                                    (TypeError, "days", [datetime.datetime(2000, 1, 1)]), (TypeError, "days", day), (TypeError, "inner", Other(n=1)),
                                    (TypeError, "inner", spillway.loads(spillway.dumps(Other(n=1)))), (TypeError, "inner", 5)):
            with self.subTest(f"{field}={value!r}"), self.assertRaisesRegex(error, f"fields.holder.{field}: "):
                spillway.dumps(Holder(**{field: value}))
        for field, value in (("items", range(3)), ("pair", [1, 2]), ("members", [1, 2]), ("whole", []), ("whole", (1, 2.0, True)), ("bits", [True]),
                             ("reals", [math.inf, 0.5, -math.inf]), ("days", [day, datetime.date.max]), ("days", [])):
            with self.subTest(f"{field}={value!r}"):
                view = spillway.loads(spillway.dumps(Holder(**{field: value})))
                self.assertEqual(sorted(getattr(view, field)), sorted(value))
                spillway.open_blob(spillway.dumps(view)).verify()
        for inner in (Inner(n=1), Derived(n=1, more=2), spillway.loads(spillway.dumps(Derived(n=1)))):
            self.assertEqual(spillway.loads(spillway.dumps(Holder(inner=inner))).inner.n, 1)

    def test_arrays_of_dates_and_files_that_are_in_memory(self):
        days = [datetime.date.min, datetime.date(1969, 12, 31), datetime.date.max]
        view = spillway.build_array("date", days)
        self.assertEqual((view.dtype, view, view[1]), ("date", days, days[1]))
        for call, words in ((lambda: spillway.build_array("date", [5]), "dates"), (lambda: spillway.build_array("int33", [5]), "dtype: .*int33"),
                            (lambda: spillway.dump(1, io.BytesIO()), "BytesIO.*dumps"), (lambda: spillway.open(io.BytesIO(b"x")), "BytesIO.*loads"),
                            (lambda: spillway.Columns(n=[1, None]), "column 'n'.*nan")):
            with self.subTest(words), self.assertRaisesRegex(TypeError, words):
                call()


if __name__ == "__main__":
    unittest.main()
