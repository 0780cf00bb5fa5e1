"""A dictionary built once and shared by four processes: none of them loads it.

    PYTHONPATH=build/python /usr/bin/python3 examples/typed/shared_dictionary.py [ROWS [FILE]]     (default 5000000)
"""
import multiprocessing
import os
import sys
import tempfile
import time

import spillway


def private_bytes() -> int:
    """Memory of this process that no other shares."""
    with open("/proc/self/smaps_rollup") as f:
        return sum(int(line.split()[1]) * 1024 for line in f if line.startswith(("Private_Clean:", "Private_Dirty:")))


def look_up(path: str, first: int, rows: int, answers: "multiprocessing.Queue") -> None:
    before = private_bytes()
    table = spillway.open(path)
    total = sum(table[f"user/{i}"] for i in range(first, rows, 997))
    missing = f"user/{rows}" not in table and table.get("nobody") is None
    answers.put((first, total, missing, private_bytes() - before))


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        path = sys.argv[2] if len(sys.argv) > 2 else os.path.join(folder, "users.spw")
        start = time.perf_counter()
        table = spillway.build_map(((f"user/{i}", i * i) for i in range(rows)), path)
        print(f"built {len(table)} rows, {os.path.getsize(path) >> 20} MiB, in {time.perf_counter() - start:.1f} s")
        answers: multiprocessing.Queue = multiprocessing.Queue()
        workers = [multiprocessing.Process(target=look_up, args=(path, first, rows, answers)) for first in range(4)]
        for worker in workers:
            worker.start()
        for _ in workers:
            first, total, missing, private = answers.get()
            assert total == sum(i * i for i in range(first, rows, 997)) and missing
            print(f"process {first}: every look-up right, {private / 2**20:.1f} MiB of its own")
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0


if __name__ == "__main__":
    main()
