"""A dictionary built once, as an object of the pool, and shared by four processes: none of them loads it, it is in memory once.

    PYTHONPATH=build/python /usr/bin/python3 examples/typed/shared_dictionary.py [ROWS]     (default 5000000)
"""
import multiprocessing
import os
import sys
import time

import spillway

NAME = "examples/users"


def memory_of(pid: int) -> tuple:
    """(its share of what it has mapped, what it alone has) in bytes: the shares of all processes add up to what is resident."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in f if line.endswith("kB\n")}
    return kilobytes["Pss"] * 1024, (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) * 1024


def look_up(first: int, rows: int, answers: "multiprocessing.Queue", measured: "multiprocessing.Event") -> None:
    private_before = memory_of(os.getpid())[1]
    users = spillway.connect().get(NAME)
    total = sum(users[f"user/{i}"] for i in range(first, rows, 4))
    missing = f"user/{rows}" not in users and users.get("nobody") is None
    answers.put((first, total, missing, private_before))
    measured.wait()  # until all four have it mapped and everybody's share is known


def main() -> int:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    pool = spillway.connect()
    start = time.perf_counter()
    target = pool.target(NAME)
    spillway.build_map(((f"user/{i}", i * i) for i in range(rows)), target)
    size = pool.stat(NAME).nbytes
    print(f"built {rows} rows, {size / 2**20:.1f} MiB, in {time.perf_counter() - start:.1f} s")

    context = multiprocessing.get_context("spawn")  # processes that have nothing in common but the pool
    answers, measured = context.Queue(), context.Event()
    workers = [context.Process(target=look_up, args=(first, rows, answers, measured)) for first in range(4)]
    for worker in workers:
        worker.start()
    found = [answers.get() for _ in workers]
    shares = [memory_of(worker.pid) for worker in workers]
    measured.set()
    for worker in workers:
        worker.join()

    wrong = [first for first, total, missing, _ in found if total != sum(i * i for i in range(first, rows, 4)) or not missing]
    # What an interpreter takes by itself is not the dictionary's: each had it before it opened anything.
    together = sum(share for share, _ in shares) - sum(before for *_, before in found)
    print(f"4 processes, {rows} look-ups, {'all right' if not wrong else f'WRONG in {wrong}'}")
    print(f"resident for the dictionary in all four together: {together / 2**20:.1f} MiB, {together / size:.2f} times its size")
    pool.erase(NAME)
    return 1 if wrong or any(worker.exitcode for worker in workers) else 0


if __name__ == "__main__":
    sys.exit(main())
