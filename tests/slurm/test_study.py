"""A very small study on the emulated cluster: the batch graph as users run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
import yaml

from tests.conftest import PRESETS, PROJECT, tiny_overrides
from tests.slurm.cluster import NODES, jobs

SCENARIOS = ("mini_gta5", "mini_synthia")
FINE, FAILING = "iapc", "diverges"
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
    "runtime=60",
]
"""The shipped profile, with what a small cluster without accounting and a hurried test want."""


@dataclass(frozen=True)
class Batch:
    """A study after Snakemake."""

    folder: Path
    status: int

    def run(self, scenario: str, variant: str) -> Path:
        """Folder of one of its runs."""
        return self.folder / f"{scenario}-seed0-{variant}"


def run_study(
    folder: Path, data: Path, options: list[str], environment: dict[str, str], gpu: int
) -> Batch:
    """Runs Snakemake on two scenarios and two variants, one of which diverges.

    The working directory is a stand-in for the project's, so that it may run beside a study there.
    """
    folder.mkdir()
    for name in ("notebooks", "papermill_runs"):
        (folder / name).symlink_to(PROJECT / name)
    (folder / f"{FAILING}.yaml").write_text(
        "title: diverges\nrow: self_training\n"
        "overrides: {adaptation.optimizer.learning_rate: 1.0e+6}\n"
    )
    study = {
        "folder": str(folder / "study"),
        "scenarios": [str(PRESETS / f"{name}.yaml") for name in SCENARIOS],
        "seeds": [0],
        "variants": [FINE, str(folder / f"{FAILING}.yaml")],
        "overrides": tiny_overrides(data),
        "gpu": gpu,
        "mem_mb": 2000,
        "runtime": 60,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "snakemake", "-s", "papermill_runs/Snakefile"]
    command += ["--configfile", "study.yaml", *options]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as snakemake:
        try:
            print(snakemake.communicate()[0])  # pytest shows it where a test fails
        finally:
            with suppress(ProcessLookupError):  # unless interrupted, nothing runs any more
                os.killpg(snakemake.pid, signal.SIGTERM)
    return Batch(folder / "study", snakemake.returncode)


@pytest.fixture(scope="module")
def batches(slurm, tmp_path_factory) -> dict[str, Batch]:
    """The same study through Slurm, its jobs wanting a GPU each, and on this machine alone."""
    folder = tmp_path_factory.mktemp("batches")
    data = folder / "data"
    return {
        "slurm": run_study(folder / "slurm", data, SLURM, slurm, gpu=1),
        "local": run_study(folder / "local", data, ["--cores=2"], slurm, gpu=0),
    }


@pytest.mark.parametrize("where", ["slurm", "local"])
def test_a_failing_variant_stops_no_other_and_its_notebook_is_kept(batches, where):
    assert batches[where].status == 1
    for scenario in SCENARIOS:
        results = json.loads((batches[where].run(scenario, FINE) / "results.json").read_text())
        assert results["variant"]["name"] == FINE
        failed = batches[where].run(scenario, FAILING)
        assert not (failed / "results.json").exists()
        executed = nbformat.read(failed / "notebooks/07_variant.ipynb", as_version=4)
        outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
        (error,) = (output for output in outputs if output.output_type == "error")
        assert error.ename == "TrainingDiverged"
        assert re.search(r"adaptation_self_training: step \d+ is not finite", error.evalue)


def test_both_nodes_work_and_no_gpu_is_shared(batches, slurm):
    ran = [job for job in jobs(slurm) if not job.comment.startswith("rule_table")]
    assert Counter((job.comment.split("_wildcards_")[0], job.state) for job in ran) == {
        ("rule_source_model", "COMPLETED"): len(SCENARIOS),
        ("rule_variant", "COMPLETED"): len(SCENARIOS),
        ("rule_variant", "FAILED"): len(SCENARIOS),
    }
    assert {job.gpus for job in ran} == {"gres:gpu:1"}
    for node in NODES:
        times = sorted((job.start, job.end) for job in ran if job.node == node)
        assert times
        assert all(end <= start for (_, end), (start, _) in pairwise(times))


@pytest.mark.parametrize("name", ["means.csv", "classes.csv"])
def test_tables_are_those_of_the_same_study_without_slurm(batches, name):
    with_slurm, without = ((b.folder / "tables" / name).read_bytes() for b in batches.values())
    assert with_slurm == without
    assert all(scenario.encode() in with_slurm for scenario in SCENARIOS)


def test_what_failed_is_named_beside_the_tables(batches):
    problems = (batches["slurm"].folder / "tables/problems.csv").read_text()
    assert all(f"{scenario}-seed0-{FAILING}" in problems for scenario in SCENARIOS)
