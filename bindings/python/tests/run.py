"""Runs every test_*.py here with unittest and says `N passed, N failed` at the end."""
import pathlib
import sys
import unittest


def main() -> int:
    here = pathlib.Path(__file__).resolve().parent
    sys.path.insert(0, str(here))
    suite = unittest.defaultTestLoader.discover(str(here), top_level_dir=str(here))
    outcome = unittest.TextTestRunner(verbosity=1).run(suite)
    sys.stderr.flush()
    for test, reason in outcome.skipped:
        print(f"SKIPPED: {test.id()}: {reason}")
    failed = len(outcome.failures) + len(outcome.errors) + len(outcome.unexpectedSuccesses)
    print(f"{outcome.testsRun - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":  # workers that multiprocessing spawns import this file
    sys.exit(main())
