"""A very small setting of everything, for tests that need a whole run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from iapc_lib.runs.folder import Run, open_run

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
        "source.checkpoint": None,
        "model.body": "resnet",
        "model.layers": [1, 1, 1, 1],
        "model.base_width": 8,
        "source_training.imagenet_weights": None,
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
        "adaptation.optimizer.name": "sgd",
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


def noise(height: int, width: int, mode: str = "RGB") -> Image.Image:
    """A picture of random blocks."""
    pixels = np.random.default_rng(height).integers(0, 256, (-(-height // 8), -(-width // 8), 3))
    image = Image.fromarray(pixels.astype(np.uint8)).resize((width, height), 0)
    return image.convert(mode)


@pytest.fixture
def photographs(tmp_path):
    """Twelve images that are fine and eight that are not: (folder, {name: reason})."""
    folder = tmp_path / "photo graphs"
    (folder / "näh").mkdir(parents=True)
    for number in range(6):
        noise(24 + number, 40).save(folder / "näh" / f"{number}.jpg")
    for mode, suffix in (("L", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpg")):
        noise(32, 48, "RGB").convert(mode).save(folder / f"{mode}.{suffix}")
    Image.fromarray(np.full((20, 30), 40000, np.uint16)).save(folder / "16.png")
    noise(1, 1).save(folder / "1x1.png")
    (folder / "empty.png").write_bytes(b"")
    whole = (folder / "L.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not an image")
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.png").mkdir()
    (folder / "line\nbreak.png").write_text("no image")
    Image.new("1", (20_000, 10_000)).save(folder / "huge.png")
    reasons = {
        "empty.png": "is empty",
        "truncated.png": "cannot be read as an image",
        "text.png": "of no known kind",
        "dangling.png": "is a link to a file that is not there",
        "folder.png": "is a folder that holds no image",
        r"line\nbreak.png": "of no known kind",
        "huge.png": "megapixels",
    }
    if os.geteuid() != 0:
        noise(9, 9).save(folder / "secret.png")
        (folder / "secret.png").chmod(0)
        reasons["secret.png"] = "may not be read"
    return folder, reasons


@pytest.fixture(autouse=True)
def _repeatable():
    torch.manual_seed(0)
