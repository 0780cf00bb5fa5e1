"""From raw records to tables of ratios and to the lines that must hold.

A record is a dict: section, variant, row, round, maybe threads and read_ahead, and one figure: `ns` per operation
(micro, churn), `seconds` (fits) or `rate` in bytes or accesses a second (matrix). Figures are medians over the rounds.
"""
import collections
import math
import statistics

from .matrix import MAPPINGS
from .variants import SPILLWAY

FIGURE = {"micro": "ns", "churn": "ns", "fits": "seconds", "matrix": "rate", "device": "rate", "beyond": "seconds"}
ALLOCATORS = ("glibc", "jemalloc", "mimalloc", "jemalloc-again", *SPILLWAY)
SOURCES = ("in-memory", "swap", *MAPPINGS, "spillway-file", "spillway-managed")
BY_ACCESS = ("stride", "random_read", "random_write", "hot", "random_integers")


def medians(records, section):
    """{(read_ahead, threads, row): {variant: median}}, rows in the order of their first record."""
    figures = collections.defaultdict(lambda: collections.defaultdict(list))
    for r in records:
        if r["section"] == section:
            figures[r.get("read_ahead"), r.get("threads"), r["row"]][r["variant"]].append(r[FIGURE[section]])
    return {key: {name: statistics.median(values) for name, values in by_variant.items()}
            for key, by_variant in figures.items()}


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(v) for v in values)) if values else math.nan


def table(title, header, lines):
    print(f"\n{title}\n")
    widths = [max(len(str(line[i])) for line in [header, *lines]) for i in range(len(header))]
    for number, line in enumerate([header, *lines]):
        cells = [str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")


def number(value, digits=3):
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}" if value else "0"


def _ratio(values, name, rival):
    return values[name] / values[rival] if name in values and rival in values else None


def _label(threads, row):
    return row if threads is None else f"{row}, {threads} thread" + ("s" if threads > 1 else "")


def time_table(records, section, title, unit, scale=1.0):
    rows = medians(records, section)
    if not rows:
        return
    names = [n for n in ALLOCATORS if any(n in values for values in rows.values())]
    ours = [n for n in SPILLWAY if n in names]
    rivals = [n for n in names if n not in SPILLWAY and n != "jemalloc-again"]
    lines = []
    for (_, threads, row), values in rows.items():
        best = min((values[r] for r in rivals if r in values), default=None)
        ratios = [number(values[n] / best) if best and n in values else "-" for n in ours]
        figures = [number(values[n] * scale) if n in values else "-" for n in names]
        lines.append([_label(threads, row), *figures, *ratios])
    table(f"{title} ({unit}; the last columns are time / best rival's time)",
          ["", *names, *(f"{n} / best" for n in ours)], lines)


def matrix_tables(records):
    rows = medians(records, "matrix")
    cut = {(r.get("read_ahead"), r["threads"], r["row"], r["variant"]) for r in records
           if r["section"] == "matrix" and not r["complete"]}
    memory = {(threads, row): values for (_, threads, row), values in rows.items() if "in-memory" in values}
    for read_ahead, threads in dict.fromkeys((ra, t) for ra, t, _ in rows if ra is not None):
        lines = []
        for (ra, t, row), values in rows.items():
            if (ra, t) != (read_ahead, threads):
                continue
            values = {**values, **memory.get((threads, row), {})}
            unit = 1e3 if row in BY_ACCESS else 1e6

            def cell(name):
                if name not in values:
                    return "-"
                sign = "*" if (ra, t, row, name) in cut else ""
                return (sign + number(values[name] / unit)) if values[name] else "cut"

            lines.append([row + (" (k/s)" if row in BY_ACCESS else " (MB/s)"), *map(cell, SOURCES),
                          *(number(_speed_to_best(values, name)) for name in ("spillway-file", "spillway-managed"))])
        table(f"Out of core, read-ahead {read_ahead} KiB, {threads} thread{'s' if threads > 1 else ''} "
              "(speed; * was cut, its rate is that of what it did; the last columns are our speed / that of the best "
              "of swap and the mappings)", ["", *SOURCES, "file / best", "managed / best"], lines)


# What each row of the managed backing should reach at least, times the best rival.
MANAGED_AIMS = {"fill": 2.5, "read": 1.5, "update": 1.4, "backward": 5, "stride": 2, "random_read": 1, "random_write": 1,
                "hot": 3, "cyclic": 2.5, "sort": 2, "random_integers": 3}


def _speed_to_best(values, name):
    best = max((values[m] for m in (*MAPPINGS, "swap") if m in values), default=0)
    return values[name] / best if best and name in values else math.nan


def _speed_to_best_mapping(values):
    best = max((values[m] for m in MAPPINGS if m in values), default=0)
    return values["spillway-file"] / best if best and "spillway-file" in values else math.nan


def device_table(records):
    rows = medians(records, "device")
    if rows:
        table("The device itself (O_DIRECT)", ["", "MB/s", "k requests/s"],
              [[row, number(v["O_DIRECT"] / 1e6), number(v["O_DIRECT"] / (4096 if "4k" in row else 2 << 20) / 1e3)]
               for (_, _, row), v in rows.items()])


class Verdicts:
    """The lines that must hold: PASS, MISS, or ---- for what was not measured. Rows are judged by the worst."""

    def __init__(self):
        self.lines = []

    def judge(self, what, ratios, limit, at_most, note=""):
        """ratios: {row: ratio}. A row without one was not measured, which is no pass."""
        unmeasured = [row for row, r in ratios.items() if r is None or math.isnan(r)]
        if unmeasured:
            self.lines.append((None, f"{what}: not measured: {', '.join(unmeasured)}"))
        ratios = {row: r for row, r in ratios.items() if row not in unmeasured}
        if not ratios:
            return
        worst = (max if at_most else min)(ratios, key=ratios.get)
        holds = ratios[worst] <= limit if at_most else ratios[worst] >= limit
        text = f"{what}: worst {ratios[worst]:.3f} ({worst})" if len(ratios) > 1 else f"{what}: {ratios[worst]:.3f}"
        if len(ratios) > 1:
            text += f", geometric mean {geometric_mean(list(ratios.values())):.3f} of {len(ratios)} rows"
            bad = [row for row, r in ratios.items() if (r > limit if at_most else r < limit)]
            if len(bad) > 1:
                text += f"; missed by {', '.join(f'{row} {ratios[row]:.3f}' for row in bad)}"
        self.lines.append((holds, f"{text}; must be {'<=' if at_most else '>='} {limit}{note}"))

    def print(self):
        if self.lines:
            print("\nMust hold\n")
        for holds, text in self.lines:
            print(f"{'----' if holds is None else 'PASS' if holds else 'MISS'}  {text}")
        return all(holds for holds, _ in self.lines)


def _judge_small(records, verdicts):
    rows = medians(records, "micro")
    for threads in (1, 2):
        mine = {row: values for (_, t, row), values in rows.items() if t == threads}
        noise = [_ratio(values, "jemalloc-again", "jemalloc") for values in mine.values()]
        noise = [n for n in noise if n]
        note = f" (jemalloc against itself: {min(noise):.3f} to {max(noise):.3f})" if noise else ""
        for name in SPILLWAY:
            verdicts.judge(f"small blocks, {threads} thread{'s' if threads > 1 else ''}, {name}: time / jemalloc's",
                           {row: _ratio(values, name, "jemalloc") for row, values in mine.items()}, 1.05, True, note)


def _judge_churn(records, verdicts):
    rows = medians(records, "churn")
    for name in SPILLWAY:
        speeds = {_label(t, row): _ratio(values, "glibc", name) for (_, t, row), values in rows.items()}
        speeds = {row: s for row, s in speeds.items() if s}
        # glibc recycles blocks below 32 MiB of one size without a system call: there both only write memory, and no
        # allocator could be faster. So the mean over all rows is judged.
        least = min(speeds, key=speeds.get, default=None)
        verdicts.judge(f"large-block churn, {name}: speed / glibc's, geometric mean of {len(speeds)} rows",
                       {"all rows": geometric_mean(list(speeds.values()))} if rows else {}, 1.5, False,
                       f" (least: {speeds[least]:.3f}, {least})" if speeds else "")


def _judge_fits(records, verdicts):
    rows = medians(records, "fits")
    for (_, _, row), values in rows.items():
        noise = _ratio(values, "jemalloc-again", "jemalloc")
        note = f" (jemalloc against itself: {noise:.3f})" if noise else ""
        for name in ("spillway-plain", "spillway-managed"):
            verdicts.judge(f"fits in memory, {row}, {name}: time / jemalloc's",
                           {row: _ratio(values, name, "jemalloc")}, 1.01, True, note)


def _judge_matrix(records, verdicts):
    rows = {key: values for key, values in medians(records, "matrix").items() if key[0] is not None}
    for read_ahead, threads in dict.fromkeys((ra, t) for ra, t, _ in rows):
        where = f"read-ahead {read_ahead}, {threads} thread{'s' if threads > 1 else ''}"
        mine = {row: values for (ra, t, row), values in rows.items() if (ra, t) == (read_ahead, threads)}
        verdicts.judge(f"out of core, {where}: speed / best mapping's",
                       {row: _speed_to_best_mapping(values) for row, values in mine.items()}, 0.85, False)
        for row, least in (("read", 3), ("update", 3), ("backward", 1.5)):
            if row in mine:
                verdicts.judge(f"out of core, {where}, {row}: speed / Linux swap's",
                               {row: _ratio(mine[row], "spillway-file", "swap")}, least, False)


        for row, least in MANAGED_AIMS.items():
            if row in mine:
                verdicts.judge(f"managed, {where}, {row}: speed / best rival's",
                               {row: _speed_to_best(mine[row], "spillway-managed")}, least, False)


def beyond_table(records):
    rows = medians(records, "beyond")
    if not rows:
        return
    names = [n for n in ("swap", "spillway-file", "spillway-managed") if any(n in values for values in rows.values())]
    lines = [[row, *(number(values.get(n)) for n in names),
              *(number(_ratio(values, "swap", n) or math.nan) for n in names if n != "swap")]
             for (_, _, row), values in rows.items()]
    table("Programs with a third of their memory (seconds; the last columns are swap's time / ours)",
          ["", *names, *(f"swap / {n}" for n in names if n != "swap")], lines)


def _judge_beyond(records, verdicts):
    rows = medians(records, "beyond")
    if rows:
        verdicts.judge("programs with a third of their memory, managed: speed / Linux swap's",
                       {row: _ratio(values, "swap", "spillway-managed") for (_, _, row), values in rows.items()}, 2, False)


def cost_of_file_backing(records):
    for (_, _, row), values in medians(records, "fits").items():
        ratio = _ratio(values, "spillway-file", "jemalloc")
        if ratio:
            print(f"cost of --backing file, {row}: {ratio:.3f} times jemalloc's time")


def print_report(records):
    """True: all that must hold does."""
    time_table(records, "micro", "Small blocks", "ns per operation")
    time_table(records, "churn", "Large-block churn", "microseconds per block", 1e-3)
    time_table(records, "fits", "Programs that fit in memory", "seconds")
    device_table(records)
    matrix_tables(records)
    beyond_table(records)
    print()
    cost_of_file_backing(records)
    verdicts = Verdicts()
    for judge in (_judge_small, _judge_churn, _judge_fits, _judge_matrix, _judge_beyond):
        judge(records, verdicts)
    return verdicts.print()
