"""The batch graph itself: what it starts, what it starts again, and what it never deletes.

`iapc` and `papermill` are stand-ins here; the real ones run in tests/kills and tests/slurm.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import PRESETS, PROJECT

pytest.importorskip("snakemake")

IAPC = """() {
  while [ $# -gt 0 ]; do
    case "$1" in --out) out="$2";; --variant) variant="$(basename "$2" .yaml)";; esac; shift
  done
  echo "${variant:-source}" >> started.txt
  [ ! -e "broken_${variant:-source}" ] || return 2
  mkdir -p "$out/notebooks"
  echo scores > "$out/results.json"
  echo executed > "$out/notebooks/notebook.ipynb"
}"""
PAPERMILL = (
    '() { echo table >> started.txt; ls -d "$HOME"/study/*-*-* > "$(dirname "$2")/runs.csv"; }'
)


@pytest.fixture
def place(tmp_path) -> Path:
    """A stand-in for the project's folder, of an awkward name, with a study of two variants."""
    place = tmp_path / "a project"
    place.mkdir()
    for name in ("notebooks", "papermill_runs"):
        (place / name).symlink_to(PROJECT / name)
    (place / "mine.yaml").write_text("title: mine\nrow: iapc\noverrides: {adaptation.steps: 3}\n")
    study = {
        "folder": "~/study",
        "scenarios": [str(PRESETS / "mini_gta5.yaml")],
        "seeds": [0],
        "variants": ["tent", str(place / "mine.yaml")],
    }
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    return place


def snakemake(place: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "-s", "papermill_runs/Snakefile", "--cores", "1"]
    functions = {"BASH_FUNC_iapc%%": IAPC, "BASH_FUNC_papermill%%": PAPERMILL, "HOME": str(place)}
    return subprocess.run(
        [*command, "--configfile", "study.yaml", *options],
        cwd=place,
        env=os.environ | functions,
        capture_output=True,
        text=True,
    )


def started(place: Path) -> list[str]:
    """What has been started since the last look."""
    path = place / "started.txt"
    names = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return names


def test_what_failed_and_only_that_is_started_again(place):
    broken = place / "broken_tent"
    broken.touch()
    for expected in (["mine", "source", "table", "tent"], ["table", "tent"]):
        assert snakemake(place).returncode == 1
        assert sorted(started(place)) == expected  # the table of what there is
    broken.unlink()
    assert snakemake(place).returncode == 0
    assert started(place) == ["tent", "table"]
    tables = (place / "study" / "tables" / "runs.csv").read_text()
    assert "mini_gta5-seed0-tent" in tables and "mini_gta5-seed0-mine" in tables
    assert snakemake(place).returncode == 0
    assert started(place) == []


def test_refused_run_loses_nothing_and_is_refused_until_it_is_mended(place):
    assert snakemake(place).returncode == 0
    kept = [
        place / "study" / "mini_gta5-seed0-mine" / name
        for name in ("results.json", "notebooks/notebook.ipynb")
    ]
    times = [path.stat().st_mtime_ns for path in kept]
    variant = place / "mine.yaml"
    before = variant.read_text()
    variant.write_text(before.replace("3", "4"))
    refuses = place / "broken_mine"  # `iapc run` does: the folder is of other parameters
    refuses.touch()
    started(place)
    for _ in range(2):
        assert snakemake(place).returncode == 1
        assert sorted(started(place)) == ["mine", "table"]
        assert [path.stat().st_mtime_ns for path in kept] == times
        assert [path.read_text() for path in kept] == ["scores\n", "executed\n"]
    variant.write_text(before)
    refuses.unlink()
    assert snakemake(place).returncode == 0
    assert started(place) == ["mine", "table"]


def test_source_model_is_one_a_seed_and_shared(place):
    study = yaml.safe_load((place / "study.yaml").read_text())
    study |= {"seeds": [0, 7], "scenarios": [str(p) for p in PRESETS.glob("mini_*.yaml")]}
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    planned = snakemake(place, "-n").stdout
    counts = dict(line.split()[:2] for line in planned.splitlines() if len(line.split()) == 2)
    assert (counts["source_model"], counts["variant"], counts["table"]) == ("4", "8", "1")
    assert started(place) == []


def test_wrong_study_is_refused_by_name(place):
    study = "seeds: [0]\nfolder: x\nvariants: [ia]\n"
    for scenarios, message in (
        ("scenarios: [nix.yaml]", "nix.yaml: cannot be read"),
        ("", "study: 'scenarios' is missing"),  # not filled up from the miniature's
    ):
        (place / "study.yaml").write_text(study + scenarios)
        refused = snakemake(place)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
