"""Programs whose data fits in memory: what a user pays who runs everything under Spillway.

Each prints a result that must be equal under every allocator; sort's output is compared once, outside the timing.
"""
import hashlib
import os
import pathlib
import shutil
import subprocess

from . import variants as v

# The system's Python, not one from a version manager: python3-numpy is installed for that one.
PYTHON = "/usr/bin/python3"

NUMPY = """
import numpy as np
rng = np.random.default_rng(1)
x = rng.random(6_000_000)
s = np.sort(x)
a = rng.random((1200, 1200))
m = a @ a
big = np.arange(16_000_000, dtype=np.float64)
picked = big[rng.integers(0, big.size, 6_000_000)]
for _ in range(20):
    x = np.sqrt(x * 1.000001 + 1.0)          # temporaries of 48 MB
print(repr(float(s[::1000].sum())), repr(float(np.trace(m))), repr(float(picked.sum())), repr(float(x.sum())))
"""

R = """
set.seed(1)
s <- sort(runif(4e6))
m <- matrix(rnorm(1200 * 900), ncol = 900)
q <- qr(m)
p <- crossprod(m)
d <- data.frame(g = sample(1000, 1e6, TRUE), v = runif(1e6))
t <- tapply(d$v, d$g, sum)
cat(format(c(s[1000], sum(s), abs(sum(qr.R(q)[1, ])), sum(p), sum(t)), digits = 12), "\\n")
"""

SQL = """
create table t(id integer primary key, name text, value real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 700000)
  insert into t select i, 'name-' || (i * 7919 % 700001), (i * 31 % 1009) / 7.0 from n;
create index by_name on t(name);
select count(*), round(sum(value), 3) from t;
select count(*), round(sum(a.value), 3) from t a join t b on b.name = 'name-' || a.id where a.id % 3 = 0;
select round(value), count(*) from t group by 1 order by 2 desc, 1 limit 3;
"""

TEXT_ROOTS = ("/usr/include", "/usr/share", "/usr/lib/python3", "/usr/lib/R", "/usr/lib/gcc")
TEXT_SUFFIXES = {".h", ".hpp", ".py", ".txt", ".html", ".pl", ".pm", ".c", ".rst", ".md", ".tex", ".po", ".R", ".xml",
                 ".js", ".css", ".json", ".csv", ".cc", ".cpp", ".cmake", ".m", ".el", ".vim"}


def collect_text(path, wanted_bytes):
    """Real text of this machine, in the order of its names, so that it is the same in every run."""
    size = 0
    with open(path, "wb") as out:
        for root in TEXT_ROOTS:
            for directory, subdirectories, names in os.walk(root):
                subdirectories.sort()
                for name in sorted(names):
                    file = pathlib.Path(directory, name)
                    if file.suffix not in TEXT_SUFFIXES or file.is_symlink():
                        continue
                    try:
                        data = file.read_bytes()
                    except OSError:
                        continue
                    out.write(data)
                    if not data.endswith(b"\n"):
                        out.write(b"\n")
                    size += len(data) + 1
                    if size >= wanted_bytes:
                        return size
    return size


def _programs(context):
    """{name: (command, environment, stdin)} of what is installed; skips are said."""
    wanted = v.chosen(context.rows, ("sort", "numpy", "R", "sqlite"))
    work = context.work.path
    programs = {}

    text = work / "text"
    size = collect_text(text, context.settings["fits"]["text_bytes"])
    context.note("sorted_text_bytes", size)
    programs["sort"] = (["sort", "-S", "1G", "--parallel=2", "-T", str(work), "-o", "/dev/null", str(text)],
                        {"LC_ALL": "C"})

    if subprocess.run([PYTHON, "-c", "import numpy"], capture_output=True, check=False).returncode == 0:
        (work / "program.py").write_text(NUMPY, encoding="utf-8")
        programs["numpy"] = ([PYTHON, str(work / "program.py")], {"OPENBLAS_NUM_THREADS": "2"})
    else:
        context.skip("fits numpy", "python3-numpy is not installed (run make deps)")

    if shutil.which("Rscript"):
        (work / "program.R").write_text(R, encoding="utf-8")
        programs["R"] = (["Rscript", "--vanilla", str(work / "program.R")],
                         {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"})
    else:
        context.skip("fits R", "Rscript is not installed (apt-get install r-base-core)")

    if shutil.which("sqlite3"):
        (work / "program.sql").write_text(SQL, encoding="utf-8")
        programs["sqlite"] = (["sqlite3", "-init", str(work / "program.sql"), ":memory:", ".quit"], {})
    else:
        context.skip("fits sqlite", "sqlite3 is not installed (apt-get install sqlite3)")
    return {name: how for name, how in programs.items() if name in wanted}


def _hash_of_sorted(command, env, work):
    out = work / "sorted"
    command = [str(out) if part == "/dev/null" else part for part in command]
    v.run(command, env, timeout=300)
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    out.unlink()
    return digest


def measure(context, record):
    expected = {}

    def check(program, variant, result):
        first, value = expected.setdefault(program, (variant.name, result))
        if value != result:
            raise v.Failed(f"{program}: {variant.name} gave {result!r}, {first} gave {value!r}")

    programs = _programs(context)
    if "sort" in programs:
        command, extra = programs["sort"]
        for variant in context.allocators:
            context.progress(f"fits: checking sort, {variant.name}")
            with context.failures():
                check("sort", variant, _hash_of_sorted(command, {**variant.environ(), **extra}, context.work.path))
    for turn in range(context.rounds("fits")):
        for name, (command, extra) in programs.items():
            for variant in v.rotated(context.allocators, turn):
                context.progress(f"fits: round {turn + 1}, {name}, {variant.name}")
                with context.failures():
                    outcome = v.run(command, {**variant.environ(), **extra}, timeout=300)
                    if name != "sort":
                        check(name, variant, outcome.stdout)
                    record("fits", variant.name, name, round=turn, seconds=outcome.seconds,
                           cpu_seconds=outcome.cpu_seconds)
