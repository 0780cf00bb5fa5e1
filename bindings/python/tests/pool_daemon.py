"""A daemon of its own for a test, in a folder that goes with it."""
import os
import pathlib
import subprocess
import tempfile
import time

import spillway

build = pathlib.Path(os.environ.get("SPILLWAY_BUILD", pathlib.Path(__file__).resolve().parents[3] / "build"))


class Daemon:
    def __init__(self, *flags: str) -> None:
        self.folder = tempfile.TemporaryDirectory(dir="/var/tmp", prefix="spillway-python-")
        self.socket = os.path.join(self.folder.name, "pool.sock")
        self.log = open(os.path.join(self.folder.name, "log"), "w+")
        self.process = subprocess.Popen([str(build / "bin/spillwayd"), "--socket", self.socket, "--spill-dirs", os.path.join(self.folder.name, "spill"), *flags],
                                        stderr=self.log, stdout=self.log, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        while True:
            try:
                spillway.connect(self.socket, start=False).close()
                return
            except spillway.UnavailableError:
                if self.process.poll() is not None:
                    self.log.seek(0)
                    raise RuntimeError("the daemon ended: " + self.log.read()) from None
                time.sleep(0.01)

    def connect(self) -> spillway.Pool:
        return spillway.connect(self.socket, start=False)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()
