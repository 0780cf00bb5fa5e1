"""The state of the machine that a benchmark changes, and puts back: read-ahead, swap, work files.

Everything changed is an object with an undo: a context manager here, and a line in the work directory's journal, so
that a run that was killed outright is undone by the next one.
"""
import contextlib
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile

PREFIX = "spillway-bench-"


def is_root():
    return os.geteuid() == 0


def read(path):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def mounted_type(directory):
    found = subprocess.run(["stat", "-f", "-c", "%T", directory], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def default_work_parent():
    """The first of /var/tmp and /tmp that is on a disk: a tmpfs would measure memory."""
    for directory in ("/var/tmp", "/tmp"):
        if os.path.isdir(directory) and mounted_type(directory) != "tmpfs":
            return directory
    raise SystemExit("bench/run: /var/tmp and /tmp are both tmpfs: name a directory on a disk with --dir")


def queue_of(directory):
    """The sysfs queue directory of the block device that holds the directory, or None."""
    device = os.stat(directory).st_dev
    node = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for candidate in (node / "queue", node.resolve().parent / "queue"):  # a partition's queue is the disk's
        if candidate.is_dir():
            return candidate
    return None


def facts(directory):
    queue = queue_of(directory)
    cpu = [line.split(":")[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    memory = next((line.split()[1] for line in read("/proc/meminfo").splitlines() if line.startswith("MemTotal")), "0")
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "cpu": cpu[0] if cpu else platform.machine(),
        "memory_mib": int(memory) // 1024,
        "file_system": mounted_type(directory),
        "read_ahead_kb": int(read(queue / "read_ahead_kb") or 0) if queue else None,
        "rotational": read(queue / "rotational") if queue else None,
        "transparent_hugepage": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "swappiness": read("/proc/sys/vm/swappiness"),
        "page_cluster": read("/proc/sys/vm/page-cluster"),
    }


def settle():
    """What the previous program left in memory must not be charged to, or speed up, the next one."""
    os.sync()
    if is_root():
        with contextlib.suppress(OSError):
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")


def _start_time(pid):
    stat = read(f"/proc/{pid}/stat")
    return stat.rpartition(")")[2].split()[19] if stat else ""


class Work:
    """A directory for everything a run writes. Its journal tells a later run what to put back if this one is killed."""

    def __init__(self, parent):
        for old in pathlib.Path(parent).glob(PREFIX + "*"):
            self._undo_if_dead(old)
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._journal = {"pid": os.getpid(), "start_time": _start_time(os.getpid()), "restore": {}, "swap": []}
        self._write_journal()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def _write_journal(self):
        (self.path / "journal.json").write_text(json.dumps(self._journal), encoding="utf-8")

    @staticmethod
    def _undo_if_dead(directory):
        try:
            journal = json.loads((directory / "journal.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return  # being made right now, or not ours to judge
        if _start_time(journal["pid"]) == journal["start_time"]:
            return
        for path, value in journal["restore"].items():
            with contextlib.suppress(OSError):
                pathlib.Path(path).write_text(value, encoding="ascii")
        for path in journal["swap"]:
            off = subprocess.run(["swapoff", path], capture_output=True, text=True, check=False)
            if off.returncode != 0:  # then the journal must stay, for the next run to try again
                print(f"bench/run: a killed run left swap on: {off.stderr.strip()}", file=sys.stderr)
                return
        shutil.rmtree(directory, ignore_errors=True)

    @contextlib.contextmanager
    def read_ahead(self, kib):
        """Sets the device's read-ahead for a while. None, or what it is already: nothing is changed."""
        queue = queue_of(self.path)
        setting = queue / "read_ahead_kb" if queue else None
        before = read(setting) if setting else ""
        if kib is None or before == str(kib):
            yield
            return
        self._journal["restore"][str(setting)] = before
        self._write_journal()
        try:
            setting.write_text(str(kib), encoding="ascii")
            yield
        finally:
            setting.write_text(before, encoding="ascii")
            del self._journal["restore"][str(setting)]
            self._write_journal()

    @contextlib.contextmanager
    def swap_file(self, mib):
        """A swap file; use swap_on() around each program that may swap, so that no other program can."""
        path = self.path / "swap"
        made = subprocess.run(["fallocate", "-l", f"{mib}M", path], stderr=subprocess.DEVNULL, check=False)
        if made.returncode != 0:
            subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={mib}", "status=none"], check=True)
        path.chmod(0o600)
        subprocess.run(["mkswap", path], check=True, stdout=subprocess.DEVNULL)
        try:
            yield path
        finally:
            path.unlink()

    @contextlib.contextmanager
    def swap_on(self, path):
        self._journal["swap"].append(str(path))
        self._write_journal()
        try:
            subprocess.run(["swapon", path], check=True)
            yield
        finally:
            subprocess.run(["swapoff", path], check=True)
            self._journal["swap"].remove(str(path))
            self._write_journal()


class Stopped(BaseException):
    """A signal asked us to end: unwinding puts everything back."""


def stop_on_signals():
    def stop(number, _):
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # a second one must not cut the undoing short
        raise Stopped(number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
