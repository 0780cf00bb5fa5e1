"""The examples run as they are documented: on fewer rows here, on all of them in `make soak` (SPILLWAY_SOAK)."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import spillway
from pool_daemon import Daemon

source = pathlib.Path(__file__).resolve().parents[3]
examples = source / "examples/typed"
whole = bool(os.environ.get("SPILLWAY_SOAK"))


def snippets(language, after):
    """The programs of the README in a language, from a heading on."""
    text = (source / "README.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text[text.index(after):], re.DOTALL)


class Readme(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_here(self, *command):
        there = {**os.environ, "PYTHONPATH": str(pathlib.Path(spillway.__file__).resolve().parents[1])}
        got = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=600, env=there)
        self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
        return got.stdout

    def test_typed_buffers_from_both_languages(self):
        heading = "## Typed buffers"
        (pathlib.Path(self.folder) / "ann.cc").write_text(snippets("cpp", heading)[0])
        self.run_here("g++", "-std=c++20", "-O0", "-Wall", "-Werror", "-I", str(source / "include"), "ann.cc")
        self.assertEqual(self.run_here("./a.out"), "Ann\n")
        program = snippets("python", heading)[0].replace("5_000_000", "5_000")
        self.assertEqual(self.run_here(sys.executable, "-c", program), "Ann\n77\n")
        with open(self.folder + "/ann.spw", "rb") as f:
            self.assertEqual(f.read(), bytes(spillway.dumps(Person(id=1, name="Ann"))))

    def test_the_pool_and_the_store_from_python(self):
        daemon = Daemon("--memory-limit", "256M")
        self.addCleanup(daemon.stop)
        program = snippets("python", "## Python")[0].replace("10**8", "10**6").replace("connect()", f"connect({daemon.socket!r})")
        self.run_here(sys.executable, "-c", program + """
assert samples.sum() == 10**6 * (10**6 - 1) // 2
assert pool.get("acme/people")["name"] == ["Ann", None, "Bob"]
assert pool.get("acme/users")["user/99999"]["id"] == 99999 == len(users) - 1
assert store["ann"] == b"logged in"
""")


class Person(spillway.Record, name="acme.person"):
    id: int
    name: str


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
