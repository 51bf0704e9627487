"""Says that these tests, which take minutes, run only when `make test-kills` asks for them."""

from __future__ import annotations

import os

WANTED = "IAPC_KILL_TESTS"
"""Environment variable that asks for these tests."""

if not os.environ.get(WANTED):
    collect_ignore_glob = ["test_*.py"]


def pytest_terminal_summary(terminalreporter) -> None:
    if not os.environ.get(WANTED):
        terminalreporter.write_line("Tests of killed batches skipped: `make test-kills` runs them.")
