"""A very small study on the emulated cluster: the batch graph as users run it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from tests.conftest import PRESETS, PROJECT, tiny_overrides
from tests.slurm.cluster import jobs

SCENARIOS = ("mini_gta5", "mini_synthia")
FINE, FAILING = ("bn_recomputed", "iapc"), "diverges"
SLURM = [
    "--profile=papermill_runs/profiles/slurm",
    "--slurm-status-command=squeue",
    "--slurm-init-seconds-before-status-checks=2",
    "--seconds-between-status-checks=2",
    "--latency-wait=5",
    "--retries=0",
    "--set-threads",
    "source_model=1",
    "variant=1",
    "--default-resources",
    "slurm_partition=two",
    "mem_mb=2000",
    "runtime=10",
]
"""The shipped profile, with what a small cluster without accounting and a hurried test want."""


@dataclass(frozen=True)
class Batch:
    """A study after Snakemake."""

    folder: Path
    status: int
    output: str

    def run(self, scenario: str, variant: str) -> Path:
        """Folder of one of its runs."""
        return self.folder / f"{scenario}-seed0-{variant}"


def run_study(
    folder: Path, data: Path, options: list[str], environment: dict[str, str] | None = None
) -> Batch:
    """Runs Snakemake on two scenarios, two variants, and one whose first update is not finite.

    Its working directory is a stand-in for the project's, so that it may run beside a study there.
    """
    folder.mkdir()
    for name in ("notebooks", "papermill_runs"):
        (folder / name).symlink_to(PROJECT / name)
    (folder / f"{FAILING}.yaml").write_text(
        "title: diverges\nrow: self_training\n"
        "overrides: {adaptation.optimizer.learning_rate: 1.0e+30}\n"
    )
    study = {
        "folder": str(folder / "study"),
        "scenarios": [str(PRESETS / f"{name}.yaml") for name in SCENARIOS],
        "seeds": [0],
        "variants": [*FINE, str(folder / f"{FAILING}.yaml")],
        "overrides": tiny_overrides(data),
        "gpu": 1,
        "mem_mb": 2000,
        "runtime": 10,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "snakemake", "-s", "papermill_runs/Snakefile"]
    command += ["--configfile", "study.yaml", *options]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Batch(folder / "study", done.returncode, done.stdout)
