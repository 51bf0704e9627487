"""A very small study that is killed three times on the way, against one that is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.conftest import PRESETS, PROJECT, tiny_overrides

SNAKEMAKE = [sys.executable, "-m", "snakemake", "-s", "papermill_runs/Snakefile"]
SNAKEMAKE += ["--configfile", "study.yaml", "--cores", "2"]
WAIT_SECONDS = 1800
"""For something to happen in a batch."""


def begin(folder: Path, data: Path) -> None:
    """A stand-in for the project's folder, with 2 scenarios x 2 seeds x 3 variants to run."""
    folder.mkdir()
    for name in ("notebooks", "papermill_runs"):
        (folder / name).symlink_to(PROJECT / name)
    study = {
        "folder": "study",
        "scenarios": [str(PRESETS / f"mini_{world}.yaml") for world in ("gta5", "synthia")],
        "seeds": [0, 1],
        "variants": ["source_only", "tent", "ia_pe"],
        "overrides": {**tiny_overrides(data), "adaptation.snapshots": False},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))


def start(folder: Path) -> subprocess.Popen:
    log = (folder / "log.txt").open("a")
    return subprocess.Popen(SNAKEMAKE, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def wait_for(batch: subprocess.Popen, done: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not done():
        assert batch.poll() is None, f"ended with status {batch.returncode}; see log.txt"
        assert time.monotonic() < end
        time.sleep(0.2)


def found(folder: Path, pattern: str) -> list[Path]:
    return list((folder / "study").glob(pattern))


def finished_stages(folder: Path) -> dict[Path, int]:
    """Record of every finished stage -> when it was written."""
    records = [p for p in found(folder, "*/stages/*.json") if not p.name.startswith("notebook")]
    return {path: path.stat().st_mtime_ns for path in records}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Of the study that was left alone, and of the one that was killed; both are finished."""
    place = tmp_path_factory.mktemp("kills")
    alone, killed = place / "alone", place / "killed"
    begin(alone, place / "data")
    with start(alone) as batch:
        assert batch.wait() == 0, (alone / "log.txt").read_text()[-3000:]

    begin(killed, place / "data")
    moments = (
        (lambda: found(killed, "*/stages/source_network.json"), True),
        (lambda: len(found(killed, "*/results.json")) >= 2, False),
        (lambda: len(found(killed, "*/results.json")) >= 7, True),
    )
    stages: dict[Path, int] = {}
    for done, jobs_too in moments:
        batch = start(killed)
        wait_for(batch, done)
        # Snakemake alone: its jobs live on, and the next start has to get along with them.
        (os.killpg if jobs_too else os.kill)(batch.pid, signal.SIGKILL)
        batch.wait()
        stages |= finished_stages(killed)
        subprocess.run([*SNAKEMAKE, "--unlock"], cwd=killed, check=True, capture_output=True)
    with start(killed) as batch:
        assert batch.wait() == 0, (killed / "log.txt").read_text()[-3000:]
    assert stages.items() <= finished_stages(killed).items()  # nothing was made twice
    return alone, killed


@pytest.mark.parametrize("name", ["means", "classes", "differences_to_source_only"])
def test_tables_are_the_same(folders, name):
    first, second = ((f / "study" / "tables" / f"{name}.csv").read_bytes() for f in folders)
    assert first == second


def test_every_run_is_there_with_the_same_scores(folders):
    first, second = (pd.read_csv(f / "study" / "tables" / "runs.csv") for f in folders)
    assert len(first) == 12
    pd.testing.assert_frame_equal(first.drop(columns="time"), second.drop(columns="time"))
