"""The allocators and memory sources that are compared, and how a program is run with one of them."""
import ctypes
import dataclasses
import json
import os
import pathlib
import resource
import signal
import subprocess
import time

SPILLWAY = ("spillway-plain", "spillway-file", "spillway-managed")
LIBRARY_DIRS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


class Unavailable(Exception):
    """A variant or a section cannot be measured here; the text says why."""


def chosen(rows, known):
    """Those of the rows asked for (none: all) that a section knows."""
    if not rows:
        return list(known)
    mine = [row for row in known if row in rows]
    if not mine:
        raise Unavailable(f"none of the rows {', '.join(rows)} is one of {', '.join(known)}")
    return mine


class Failed(Exception):
    """A program failed, or measured something else than it was meant to."""


@dataclasses.dataclass
class Variant:
    name: str
    preload: str = ""          # what LD_PRELOAD gets
    environment: dict = dataclasses.field(default_factory=dict)

    def environ(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("SPILLWAY_", "EXM_")) and k != "LD_PRELOAD"}
        if self.preload:
            env["LD_PRELOAD"] = self.preload
        env.update(self.environment)
        return env

    def assert_used(self, allocator):
        """`allocator` is the file that malloc came from inside the measured program."""
        expected = os.path.realpath(self.preload) if self.preload else "libc.so.6"
        if not os.path.realpath(allocator).endswith(expected):
            raise Failed(f"{self.name}: malloc came from {allocator}, expected {expected}")


def _library(stem):
    for directory in LIBRARY_DIRS:
        for found in sorted(pathlib.Path(directory).glob(f"{stem}.so.*")):
            return str(found)
    return ""


def allocators(build, work):
    """All allocators that this machine has, and {name: reason} for the others. The second jemalloc is the control:
    its ratio to the first is what the machine's noise alone does."""
    spillway = os.path.realpath(f"{build}/lib/libspillway-preload.so")
    candidates = [
        Variant("glibc"),
        Variant("jemalloc", _library("libjemalloc")),
        Variant("mimalloc", _library("libmimalloc")),
        Variant("jemalloc-again", _library("libjemalloc")),
    ]
    passed_on = {k: v for k, v in os.environ.items() if k.startswith("SPILLWAY_")}  # trying out a setting
    for name in SPILLWAY:
        settings = {**passed_on, "SPILLWAY_BACKING": name.partition("-")[2], "SPILLWAY_DIR": str(work)}
        candidates.append(Variant(name, spillway, settings))
    have, missing = [], {}
    for variant in candidates:
        if variant.name == "glibc" or (variant.preload and os.path.exists(variant.preload)):
            have.append(variant)
        elif variant.name in SPILLWAY:
            missing[variant.name] = f"{spillway} is not built (run make)"
        else:
            missing[variant.name] = "its library is not installed (run make deps)"
    return have, missing


def rotated(variants, turn):
    """A B C, then B C A: interleaved, and no variant always comes after the same one."""
    turn %= max(1, len(variants))
    return variants[turn:] + variants[:turn]


_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def _end_with_parent():
    """In the child, before exec: SIGTERM when bench/run is killed. An orphan would hold swap and disturb later runs."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@dataclasses.dataclass
class Outcome:
    stdout: str
    seconds: float
    cpu_seconds: float


def run(command, env, timeout):
    """Runs the command to its end. Whatever happens, it does not outlive this call."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    with subprocess.Popen(command, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, preexec_fn=_end_with_parent) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException as error:
            process.terminate()  # scripts/with-memory-cap passes it on and removes its cgroup
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failed(f"{' '.join(map(str, command))}: not done after {timeout} s") from None
            raise
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        last = " | ".join(stderr.strip().splitlines()[-3:])
        raise Failed(f"{' '.join(map(str, command))}: exit status {process.returncode}: {last}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Outcome(stdout, seconds, cpu)


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
