"""Real programs under a cap of a third of what they take in memory: Spillway against Linux swap, as users start them.

Each prints a result that must be equal everywhere. sort is told by its name what it may take; sqlite keeps its database in
many small blocks, so it runs with SPILLWAY_HEAP=1, and not over files, which cannot spill those.
"""
import contextlib
import hashlib
import shutil
import subprocess

from . import fits, machine
from . import variants as v
from .matrix import WITH_MEMORY_CAP

NUMPY = """
import numpy as np
rng = np.random.default_rng(1)
x = rng.random({count})
y = x * 3.0
y += 1.0
z = x + y
x.sort()
print(repr(float(x[::1000].sum())), repr(float(z.sum())), repr(float(y[-1])))
"""

R = """
set.seed(1)
x <- matrix(runif({count}), ncol = 200)
total <- sum(x)
y <- sort(x[, 1:100])
q <- qr(x[seq_len(nrow(x) %/% 8), ])
parts <- parallel::mclapply(1:2, function(k) sum(x[, k * 50]), mc.cores = 2)
cat(format(c(total, y[1000], abs(sum(qr.R(q)[1, ])), unlist(parts)), digits = 12), "\\n")
"""

SQL = """
create table t(id integer primary key, name text, value real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < {count})
  insert into t select i, 'name-' || (i * 7919 % 700001) || '-of-a-row', (i * 31 % 1009) / 7.0 from n;
create index by_name on t(name);
update t set value = value + 1 where id % 3 = 0;
select count(*), round(sum(value), 3), max(name) from t;
select name, count(*) from t where name like 'name-77%' group by 1 order by 2 desc, 1 limit 3;
"""


def _programs(context):
    """{name: (command, environment, file to compare or None)} of what is installed; skips are said."""
    work = context.work.path
    size = context.settings["beyond"]
    wanted = v.chosen(context.rows, ("sort", "numpy", "R", "sqlite"))
    programs = {}
    text = work / "text"
    fits.collect_text(text, size["text_bytes"])
    programs["sort"] = (["sort", "-S", f"{3 * size['text_bytes'] >> 20}M", "-T", str(work), "-o", str(work / "sorted"),
                         str(text)], {"LC_ALL": "C"}, work / "sorted")
    if subprocess.run([fits.PYTHON, "-c", "import numpy"], capture_output=True, check=False).returncode == 0:
        (work / "beyond.py").write_text(NUMPY.format(count=size["numbers"]), encoding="utf-8")
        programs["numpy"] = ([fits.PYTHON, str(work / "beyond.py")], {}, None)
    else:
        context.skip("beyond numpy", "python3-numpy is not installed (run make deps)")
    if shutil.which("Rscript"):
        (work / "beyond.R").write_text(R.format(count=size["numbers"] // 400 * 200), encoding="utf-8")
        programs["R"] = (["Rscript", "--vanilla", str(work / "beyond.R")], {}, None)
    else:
        context.skip("beyond R", "Rscript is not installed (apt-get install r-base-core)")
    if shutil.which("sqlite3"):
        (work / "beyond.sql").write_text(SQL.format(count=size["records"]), encoding="utf-8")
        programs["sqlite"] = (["sqlite3", "-init", str(work / "beyond.sql"), ":memory:", ".quit"],
                              {"SPILLWAY_HEAP": "1"}, None)
    else:
        context.skip("beyond sqlite", "sqlite3 is not installed (apt-get install sqlite3)")
    return {name: how for name, how in programs.items() if name in wanted}


def _peak_bytes(command, env):
    """The most that the program has in memory at once when it may."""
    peak = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, " \
           "stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL); " \
           "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    return int(v.run([fits.PYTHON, "-c", peak, *command], env, timeout=900).stdout) << 10


def measure(context, record):
    if not machine.is_root():
        raise v.Unavailable("programs beyond memory need root: a memory cap and a swap file")
    by_name = {variant.name: variant for variant in context.allocators}
    glibc = v.Variant("glibc")
    sources = [("swap", glibc)] + [(name, by_name[name]) for name in ("spillway-managed", "spillway-file")
                                   if name in by_name]
    if context.only_variants:
        sources = [s for s in sources if s[0] in context.only_variants]
    expected = {}
    for name, (command, extra, output) in _programs(context).items():
        peak = _peak_bytes(command, {**glibc.environ(), **extra})
        cap = peak // 3
        context.note(f"{name}_peak_bytes", peak)
        with contextlib.ExitStack() as undo:
            swap_mib = (2 * peak >> 20) + 512
            swap = undo.enter_context(context.work.swap_file(swap_mib))
            for turn in range(context.rounds("beyond")):
                for source, variant in v.rotated(sources, turn):
                    if name == "sqlite" and source == "spillway-file":
                        continue
                    context.progress(f"beyond: {name}, round {turn + 1}, {source}, cap {cap >> 20} MiB")
                    with context.failures(), contextlib.ExitStack() as while_running:
                        machine.settle()
                        if source == "swap":
                            while_running.enter_context(context.work.swap_on(swap))
                        own = {"LD_PRELOAD": variant.preload, **variant.environment} if variant.preload else {}
                        allowed = swap_mib << 20 if source == "swap" else "none"
                        outcome = v.run([str(WITH_MEMORY_CAP), str(cap), "--swap", str(allowed), "env",
                                         *(f"{key}={value}" for key, value in {**extra, **own}.items()), *command],
                                        glibc.environ(), timeout=context.settings["beyond"]["seconds"])
                        result = hashlib.sha256(output.read_bytes()).hexdigest() if output else outcome.stdout
                        first, value = expected.setdefault(name, (source, result))
                        if value != result:
                            raise v.Failed(f"{name}: {source} gave {result!r}, {first} gave {value!r}")
                        record("beyond", source, name, round=turn, seconds=outcome.seconds,
                               cpu_seconds=outcome.cpu_seconds, cap_bytes=cap)
