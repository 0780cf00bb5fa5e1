"""The examples run as they are documented: on fewer rows here, on all of them in `make soak` (SPILLWAY_SOAK)."""
import os
import pathlib
import re
import subprocess
import sys
import unittest

from pool_daemon import Daemon

examples = pathlib.Path(__file__).resolve().parents[3] / "examples/typed"
whole = bool(os.environ.get("SPILLWAY_SOAK"))


class Examples(unittest.TestCase):
    def run_with(self, daemon, script, *arguments):
        self.addCleanup(daemon.stop)
        got = subprocess.run([sys.executable, str(examples / script), *arguments], capture_output=True, text=True, timeout=1800,
                             env={**os.environ, "SPILLWAY_SOCKET": daemon.socket})
        self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
        return got.stdout

    def test_a_dictionary_built_once_is_shared_by_four_processes(self):
        said = self.run_with(Daemon("--memory-limit", "2G"), "shared_dictionary.py", str(5_000_000 if whole else 200_000))
        self.assertIn("all right", said)
        size = float(re.search(r"rows, ([\d.]+) MiB", said).group(1))
        together = float(re.search(r"together: ([\d.]+) MiB", said).group(1))
        # A twentieth, and what connecting and looking up takes in each interpreter (measured: 1.2 MiB).
        self.assertLess(together, 1.05 * size + 4 * 3, said)
        if whole:
            self.assertLess(together, 1.1 * size, said)

    def test_a_table_larger_than_memory_is_scanned_by_numpy_from_spilled_objects(self):
        said = self.run_with(Daemon("--memory-limit", "64M"), "table_beyond_memory.py", "80" if whole else "24")
        self.assertIn("the sum is right", said)
        size, in_memory, written = (int(n) for n in re.findall(r"(\d+) MiB", said))
        self.assertGreater(size, 120)
        self.assertLessEqual(in_memory, 64)
        self.assertGreaterEqual(written, size - 64)


if __name__ == "__main__":
    unittest.main()
