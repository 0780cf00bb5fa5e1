"""`pip install` of the folder, without a network, into a folder of its own. Not part of `make check`: it compiles for most of a minute."""
import os
import pathlib
import subprocess
import sys
import tempfile

package = pathlib.Path(__file__).resolve().parent.parent
build = pathlib.Path(os.environ.get("SPILLWAY_BUILD", package.parent.parent / "build")).resolve()

TYPED = "import spillway; assert spillway.loads(spillway.dumps([1, 'x'])) == [1, 'x']"
POOL = """
import numpy, spillway
with spillway.connect() as pool:
    assert pool.get(pool.set(numpy.arange(10**6))).sum() == 10**6 * (10**6 - 1) // 2
"""
with tempfile.TemporaryDirectory() as target:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps", "--target", target, str(package)], check=True)
    subprocess.run([sys.executable, "-c", TYPED], check=True, env={"PYTHONPATH": target}, cwd=target)
    # The pool finds libspillway where it is told, and the daemon beside it.
    there = {"PYTHONPATH": target, "SPILLWAY_LIBRARY": str(build / "lib/libspillway.so"), "SPILLWAY_SOCKET": target + "/pool.sock",
             "SPILLWAY_POOL_SPILL_DIRS": target + "/spill", "SPILLWAY_POOL_IDLE_EXIT": "1"}
    subprocess.run([sys.executable, "-c", POOL], check=True, env=there, cwd=target)
print("1 passed, 0 failed")
