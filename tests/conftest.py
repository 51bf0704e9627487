"""A very small setting of everything, for tests that need a whole run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iapc_lib.runs import Run, open_run

PROJECT = Path(__file__).resolve().parents[1]
PRESETS = PROJECT / "papermill_runs"


def tiny_overrides(data_folder: Path) -> dict:
    """Changes that turn a miniature preset into a run of seconds."""
    return {
        "miniature.folder": str(data_folder),
        "miniature.size": [64, 128],
        "miniature.source_train": 6,
        "miniature.source_val": 2,
        "miniature.target_train": 5,
        "miniature.target_dev": 2,
        "miniature.target_val": 2,
        "model.base_width": 8,
        "source_training.steps": 6,
        "source_training.batch_size": 2,
        "source_training.image_size": [64, 128],
        "source_training.crop_size": [48, 96],
        "pseudo_labels.image_size": [64, 128],
        "views.image_size": [64, 128],
        "views.crop_size": [48, 96],
        "views.clean_size": [64, 128],
        "adaptation.steps": 6,
        "adaptation.batch_size": 2,
        "evaluation.image_size": [64, 128],
        "evaluation.bn_batch_size": 2,
        "hardware.device": "cpu",
    }


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory) -> Path:
    """Where the tiny worlds are drawn, once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def tiny_run(tmp_path, data_folder) -> Run:
    """An empty run folder of the tiny miniature GTA5 setting."""
    return open_run(PRESETS / "mini_gta5.yaml", tmp_path / "run", 0, tiny_overrides(data_folder))


@pytest.fixture(autouse=True)
def _repeatable():
    torch.manual_seed(0)
