"""`pip install` of the folder, without a network, into a folder of its own. Not part of `make check`: it compiles for a minute."""
import pathlib
import subprocess
import sys
import tempfile

package = pathlib.Path(__file__).resolve().parent.parent
with tempfile.TemporaryDirectory() as target:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps", "--target", target, str(package)], check=True)
    subprocess.run([sys.executable, "-c", "import spillway; assert spillway.loads(spillway.dumps([1, 'x'])) == [1, 'x']"], check=True, env={"PYTHONPATH": target}, cwd=target)
print("1 passed, 0 failed")
