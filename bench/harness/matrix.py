"""The out-of-core matrix: one array several times larger than the memory cap, used in ten ways (bench/outofcore).

Rivals: Linux swap on a swap file, and the three plain MAP_SHARED mappings of a file. All run under the same cap by
scripts/with-memory-cap; only `swap` may swap, and the swap file is on only while it runs.
"""
import contextlib
import pathlib

from . import machine
from . import variants as v

MAPPINGS = ("mmap-normal", "mmap-random", "mmap-sequential")
ROWS = ("fill", "read", "update", "backward", "stride", "random_read", "random_write", "hot", "cyclic", "sort")
# Of an array of small integers in 8 bytes each, which compress; a run of its own.
INTEGER_ROWS = {"fill_integers": "fill", "random_integers": "random_read"}
WITH_MEMORY_CAP = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "with-memory-cap"


def _sources(context):
    """[(name, --source, Variant)], spillway first."""
    by_name = {variant.name: variant for variant in context.allocators}
    glibc = v.Variant("glibc")
    sources = [(name, "malloc", by_name[name]) for name in ("spillway-managed", "spillway-file")
               if name in by_name]
    sources += [(name, name, glibc) for name in MAPPINGS]
    sources.append(("swap", "malloc", glibc))
    return [s for s in sources if not context.only_variants or s[0] in context.only_variants]


def _command(context, name, source, variant, threads, cap, swap_bytes, data, rows):
    settings = context.settings["matrix"]
    command = [f"{context.build}/bench/outofcore_matrix", "--source", source, "--dir", context.work.path,
               "--bytes", settings["bytes"], "--memory", settings["cap"], "--threads", threads,
               "--accesses", settings["accesses"], "--seconds", settings["seconds"], "--data", data,
               "--rows", ",".join(rows)]
    if not cap:
        return list(map(str, command))
    own = {"LD_PRELOAD": variant.preload, **variant.environment} if variant.preload else {}
    swap = swap_bytes if name == "swap" else "none"
    return list(map(str, [WITH_MEMORY_CAP, settings["cap"], "--swap", swap, "env",
                          *(f"{key}={value}" for key, value in own.items()), *command]))


class _Checksums:
    """All variants do the same work, so they must read the same bytes."""

    def __init__(self):
        self._expected = {}

    def check(self, name, row):
        if not (row["complete"] and row["comparable"]):
            return
        first, value = self._expected.setdefault((row["row"], row["threads"]), (name, row["checksum"]))
        if value != row["checksum"]:
            raise v.Failed(f"matrix {row['row']}: checksum {row['checksum']} with {name}, {value} with {first}")


def _device(context, record):
    settings = context.settings["matrix"]
    context.progress("matrix: device baseline")
    with context.failures():
        machine.settle()
        out = v.run([f"{context.build}/bench/device_baseline", context.work.path, str(settings["device_bytes"]), "3"],
                    v.Variant("glibc").environ(), timeout=300).stdout
        for row in v.json_lines(out):
            record("device", "O_DIRECT", row["row"], seconds=row["seconds"], rate=row["bytes"] / row["seconds"],
                   accesses=row["accesses"])


def measure(context, record):
    if not machine.is_root():
        raise v.Unavailable("the out-of-core matrix needs root: a memory cap, the read-ahead setting and a swap file")
    settings = context.settings["matrix"]
    rows = v.chosen(context.rows, (*ROWS, *INTEGER_ROWS))
    runs = [(data, names) for data, names in (
        ("random", {row: row for row in ROWS if row in rows}),
        ("integers", {of: row for row, of in INTEGER_ROWS.items() if row in rows})) if names]
    sources = _sources(context)
    if not sources:
        raise v.Unavailable("none of the variants asked for belongs to it")
    try:
        v.run([str(WITH_MEMORY_CAP), "64M", "true"], v.Variant("glibc").environ(), timeout=60)
    except v.Failed as failure:
        raise v.Unavailable(f"no memory cap: {failure}") from None
    checksums = _Checksums()
    swap_mib = (settings["bytes"] >> 20) + 512
    with contextlib.ExitStack() as undo:
        swap = undo.enter_context(context.work.swap_file(swap_mib)) if any(s[0] == "swap" for s in sources) else None

        def one(name, source, variant, threads, cap, **where):
            for data, names in runs:
                one_of(data, names, name, source, variant, threads, cap, **where)

        def one_of(data, names, name, source, variant, threads, cap, **where):
            with context.failures(), contextlib.ExitStack() as while_running:
                machine.settle()
                if name == "swap":
                    while_running.enter_context(context.work.swap_on(swap))
                command = _command(context, name, source, variant, threads, cap, swap_mib << 20, data, names)
                out = v.run(command, v.Variant("glibc").environ(), timeout=1800)
                header, *results = v.json_lines(out.stdout)
                variant.assert_used(header["allocator"])
                for row in results:
                    row["row"] = names[row["row"]]
                    checksums.check(name, row)
                    rate = row.get("bytes", row.get("accesses")) / row["seconds"]
                    record("matrix", name, row.pop("row"), **row, rate=rate, **where)

        for threads in settings["threads"]:
            context.progress(f"matrix: in memory, {threads} threads")
            one("in-memory", "malloc", v.Variant("glibc"), threads, False, read_ahead=None, round=0)
        for read_ahead in settings["read_ahead"]:
            with context.work.read_ahead(read_ahead):
                for threads in settings["threads"]:
                    _device(context, record)
                    for turn in range(context.rounds("matrix")):
                        for name, source, variant in v.rotated(sources, turn):
                            context.progress(f"matrix: read-ahead {read_ahead} KiB, {threads} threads, "
                                             f"round {turn + 1}, {name}")
                            one(name, source, variant, threads, True, read_ahead=read_ahead, round=turn)
