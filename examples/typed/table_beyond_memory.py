"""A table larger than the pool's memory, scanned by numpy from objects that were spilled and come back by themselves.

    SPILLWAY_POOL_MEMORY_LIMIT=64M PYTHONPATH=build/python /usr/bin/python3 examples/typed/table_beyond_memory.py [PARTS]     (default 40)
"""
import sys

import numpy

import spillway

ROWS = 1 << 18  # of a part: 6 MiB and more


def part(p: int) -> spillway.Columns:
    ids = numpy.arange(p * ROWS, (p + 1) * ROWS)
    return spillway.Columns(id=ids, price=(ids % 1000) / 4, shop=[f"shop {p}"] * 1000 + [None] * (ROWS - 1000))


def main() -> int:
    parts = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    pool = spillway.connect()
    table = [pool.set(part(p)) for p in range(parts)]

    total, rows, shops = 0.0, 0, set()
    for ref in table:
        columns = ref.get()  # read back when it was on disk; the arrays lie on the mapping
        total += columns["price"][columns["id"] % 2 == 0].sum()
        rows += columns.rows
        shops.add(columns["shop"][0])
        assert not columns["price"].flags.owndata
    ids = numpy.arange(0, parts * ROWS, 2)
    right = total == (ids % 1000 / 4).sum() and rows == parts * ROWS and len(shops) == parts

    stats = pool.stats()
    size = sum(pool.stat(ref).nbytes for ref in table)
    print(f"{rows} rows, {size >> 20} MiB, of which {stats['memory_used_bytes'] >> 20} MiB are in memory and {stats['spilled_bytes'] >> 20} MiB were "
          f"written to disk; the sum is {'right' if right else 'WRONG'}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
