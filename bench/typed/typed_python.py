"""Typed files against pickle, msgpack and sqlite3, in one run: opening, one field, look-ups, memory of four processes.

    PYTHONPATH=build/python /usr/bin/python3 bench/typed/typed_python.py [MEGABYTES]     (default 1024)
"""
import multiprocessing
import os
import pickle
import sqlite3
import statistics
import sys
import tempfile
import time
import timeit

import msgpack
import numpy

import spillway


class Person(spillway.Record, name="bench.person"):
    id: int
    name: str
    weight: float
    tags: list
    scores: dict


def timed(action, times=5):
    spent = []
    for _ in range(times):
        start = time.thread_time()  # others may be using the machine
        action()
        spent.append(time.thread_time() - start)
    return statistics.median(spent)


def per_call(statement, names, calls=20000):
    """Seconds of one execution of a statement. The statement itself is compiled into the loop: calling a function would take as long as what
    is measured."""
    timer = timeit.Timer(statement, globals={"pickle": pickle, "msgpack": msgpack, **names}, timer=time.thread_time)
    return statistics.median(timer.repeat(5, calls)) / calls


def memory_of(pids):
    """Bytes of proportional memory (each shared page counts once in the sum)."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            total += next(int(line.split()[1]) for line in f if line.startswith("Pss:")) * 1024
    return total


def reader(path, ready, done):
    numbers = spillway.open(path)["numbers"]  # stays mapped until everybody's share was counted
    ready.put((os.getpid(), float(numbers.sum())))
    done.wait()


def main():
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        path = os.path.join(folder, "big.spw")
        people = [{"id": i, "name": f"name {i}", "weight": i / 2, "tags": ["a", "b", i], "scores": {"x": i, "y": [1.5, 2.5]}} for i in range(1000)]
        numbers = numpy.arange(megabytes << 17, dtype=float)
        start = time.perf_counter()
        spillway.dump({"people": [Person(**p) for p in people], "numbers": numbers}, path)
        print(f"wrote {os.path.getsize(path) >> 20} MiB in {time.perf_counter() - start:.1f} s")
        del numbers
        opening = timed(lambda: spillway.open(path))
        print(f"open {megabytes} MiB: {opening * 1e3:.3f} ms (goal 5)")

        # One field of one object that is at rest: stored bytes to value.
        one = Person(**people[500])
        typed, pickled, packed = spillway.dumps(one), pickle.dumps(people[500]), msgpack.packb(people[500])
        view = spillway.loads(typed)
        field = per_call("view.weight", locals())
        nothing = per_call("pass", {})
        from_pickle = per_call("pickle.loads(pickled)['weight']", locals())
        from_msgpack = per_call("msgpack.unpackb(packed)['weight']", locals())
        print(f"one field: {field * 1e9:.0f} ns (of which the loop {nothing * 1e9:.0f}), pickle {from_pickle * 1e9:.0f}, msgpack {from_msgpack * 1e9:.0f}; "
              f"pickle / typed {from_pickle / field:.1f}, without the loop {(from_pickle - nothing) / max(field - nothing, 1e-9):.1f} (goal 20); msgpack / typed {from_msgpack / field:.1f}")
        records = spillway.open(path)["people"]
        everything = pickle.dumps(people)
        whole = per_call("pickle.loads(everything)[500]['weight']", locals(), 20)
        random_field = per_call("records[500].weight", locals())
        print(f"one field of one of 1000 records: {random_field * 1e9:.0f} ns, unpickling them {whole * 1e6:.0f} us: {whole / random_field:.0f} times")

        # Look-ups by text key.
        keys = 200000
        m = spillway.build_map(((f"key {i}", i) for i in range(keys)), os.path.join(folder, "map.spw"))
        db = sqlite3.connect(os.path.join(folder, "map.db"))
        db.execute("create table t (k text primary key, v integer) without rowid")
        db.executemany("insert into t values (?, ?)", ((f"key {i}", i) for i in range(keys)))
        db.commit()
        native = {f"key {i}": i for i in range(keys)}
        typed_map = per_call("m['key 77777']", locals())
        in_sqlite = per_call("db.execute('select v from t where k = ?', ('key 77777',)).fetchone()[0]", locals())
        in_dict = per_call("native['key 77777']", locals())
        print(f"look-up: {typed_map * 1e9:.0f} ns, sqlite3 {in_sqlite * 1e9:.0f} ({in_sqlite / typed_map:.1f} times), dict {in_dict * 1e9:.0f}")

        # Four processes that each read all of it.
        ready, done = multiprocessing.Queue(), multiprocessing.Event()
        workers = [multiprocessing.Process(target=reader, args=(path, ready, done)) for _ in range(4)]
        for w in workers:
            w.start()
        pids = [ready.get()[0] for _ in workers]
        total = memory_of(pids)
        done.set()
        for w in workers:
            w.join()
        print(f"4 processes that read it all: {total / 2**20:.0f} MiB together for {megabytes} MiB: {total / 2**20 / megabytes:.2f} (goal 1.1)")


if __name__ == "__main__":
    main()
