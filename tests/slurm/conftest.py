"""The emulated cluster for the Slurm tests.

They take minutes and root, so they run only when `make test-slurm` asks for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm import cluster

WANTED = "IAPC_SLURM_TESTS"
"""Environment variable that asks for these tests."""

if not os.environ.get(WANTED):
    collect_ignore_glob = ["test_*.py"]


def pytest_terminal_summary(terminalreporter) -> None:
    """Says in one line that the Slurm tests were left out, and why."""
    reason = cluster.why_not()
    if reason or not os.environ.get(WANTED):
        terminalreporter.write_line(
            f"Slurm tests skipped: {reason or 'only `make test-slurm` runs them'}."
        )


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """Environment in which two nodes of two CPUs and one pretended GPU each take jobs."""
    if reason := cluster.why_not():
        pytest.skip(reason)
    with cluster.two_nodes() as environment:
        yield environment
