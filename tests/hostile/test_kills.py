"""A run is killed inside every kind of write, and goes on to the same networks and scores.

The kill is an exception that nobody catches, before the new file is in place; what a real kill
leaves behind, an unfinished temporary, is left. `tests/kills` kills real processes.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from iapc_lib import files
from iapc_lib.pipeline import results
from iapc_lib.runs.folder import open_run
from iapc_lib.training import saved_state
from tests.conftest import PRESETS, tiny_overrides

KINDS = [
    r"run\.json",
    r"source\.safetensors",
    r"source\.json",
    r"history_source\.json",
    r"stages/source_network\.json",
    r"adapted_bn_recomputed\.safetensors",
    r"pseudo_labels/made_from\.txt",
    r"pseudo_labels/.*\.png",
    r"stages/pseudo_labels\.json",
    r"states/source_training\.pt",
    r"states/adaptation_iapc\.pt",
    r"predictions/.*\.png",
    r"snapshots/.*\.safetensors",
    r"snapshots/.*\.json",
    r"history_iapc\.json",
    r"adapted\.safetensors",
    r"adapted\.json",
    r"stages/adaptation_iapc\.json",
    r"true_labels/.*\.png",
    r"stages/scores_iapc_val\.json",
    r"results\.json",
]


OFTEN = [kind for kind in KINDS if ".*" in kind or kind.startswith("states")]
"""Written more than once: killed at the third of them, too."""


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def overrides(tmp_path_factory) -> dict[str, Any]:
    return tiny_overrides(tmp_path_factory.mktemp("data")) | {
        "adaptation.steps": 4,
        "source_training.steps": 4,
        "adaptation.methods": ["self_training", "iapc", "oracle"],
        "adaptation.snapshots": True,
    }


def made(folder: Path, overrides: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Scores and networks of the run in a folder."""
    run = open_run(PRESETS / "mini_gta5.yaml", folder, 0, overrides)
    scores = results.run_results(run)["scores"]
    networks = files.visible_files(folder, "*.safetensors")
    return scores, {path.name: path.read_bytes() for path in networks}


@pytest.fixture(scope="module")
def undisturbed(overrides, tmp_path_factory):
    return made(tmp_path_factory.mktemp("runs") / "run", overrides)


@pytest.mark.parametrize(
    ("kind", "place"), [*((kind, 0) for kind in KINDS), *((kind, 2) for kind in OFTEN)]
)
def test_killed_at_a_write_it_goes_on(kind, place, undisturbed, overrides, tmp_path, monkeypatch):
    folder, seen = tmp_path / "run", []
    for pause in ("SAVE_EVERY_SECONDS", "SAVE_PAUSE"):
        monkeypatch.setattr(saved_state, pause, 0)
    real = files.os.replace

    def replace(temporary, path):
        if re.fullmatch(kind, Path(path).relative_to(folder).as_posix()):
            seen.append(path)
            if len(seen) == place + 1:
                Path(temporary).with_name(f"{files.TEMPORARY}left{Path(path).suffix}").write_text(
                    ""
                )
                raise Killed
        real(temporary, path)

    with monkeypatch.context() as killing:
        killing.setattr(files.os, "replace", replace)
        with contextlib.suppress(Killed):
            made(folder, overrides)
    assert len(seen) == place + 1, "nothing of this kind is written"
    assert made(folder, overrides) == undisturbed
