"""The examples run as they are documented, on fewer rows."""
import os
import subprocess
import sys
import unittest


class Examples(unittest.TestCase):
    def test_a_dictionary_built_once_is_shared_by_four_processes(self):
        script = os.path.join(os.path.dirname(__file__), "../../../examples/typed/shared_dictionary.py")
        got = subprocess.run([sys.executable, script, "100000"], capture_output=True, text=True, timeout=300)
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertEqual(got.stdout.count("every look-up right"), 4)


if __name__ == "__main__":
    unittest.main()
