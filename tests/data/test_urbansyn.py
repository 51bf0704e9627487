"""UrbanSyn, from a drawn stand-in in its layout: train ids, 19 where no class is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from iapc_lib.classes import CITYSCAPES_TO_TRAIN, IGNORE
from iapc_lib.config.presets import load_config
from iapc_lib.data.images import read_label
from iapc_lib.data.layouts import DataError, source_records
from iapc_lib.data.miniature import draw_scene
from iapc_lib.pipeline import results, stages
from iapc_lib.pipeline.checking import check
from iapc_lib.runs.folder import open_run
from tests.conftest import PRESETS, tiny_overrides


@pytest.fixture
def changes(tmp_path, tiny_run):
    """Changes for `urbansyn.yaml`: eight drawn images in its layout, and a tiny target."""
    for folder in ("rgb", "ss"):
        (tmp_path / "urbansyn" / folder).mkdir(parents=True)
    for index in range(8):
        image, ids = draw_scene("gta5", "train", index, size=(64, 128))
        labels = CITYSCAPES_TO_TRAIN[ids]
        labels[labels == IGNORE] = 19
        Image.fromarray(image).save(tmp_path / "urbansyn" / "rgb" / f"rgb_{index + 1:04d}.png")
        Image.fromarray(labels).save(tmp_path / "urbansyn" / "ss" / f"ss_{index + 1:04d}.png")
    tiny = {
        key: value
        for key, value in tiny_overrides(tmp_path).items()
        if not key.startswith("miniature")
    }
    return tiny | {
        "source.root": str(tmp_path / "urbansyn"),
        "source.train": 6,
        "source.val": 2,
        "source_training.imagenet_weights": None,
        "hardware.workers": 0,
        "target.root": str(stages.data(tiny_run)["target"]),
    }


def test_a_network_is_trained_on_urbansyn_and_scored_at_home(changes, tmp_path):
    config = load_config(PRESETS / "urbansyn.yaml", overrides=changes)
    found = check(config, tmp_path / "run")
    assert not found.problems
    assert "source: 8 images found, the published data set has 7539" in found.notes
    train, home = source_records(config)
    assert [record.name for record in home] == ["rgb_0007.png", "rgb_0008.png"]
    _, ids = draw_scene("gta5", "train", 0, size=(64, 128))
    assert np.array_equal(read_label(train[0]), CITYSCAPES_TO_TRAIN[ids])
    run = open_run(PRESETS / "urbansyn.yaml", tmp_path / "run", 0, changes)
    stages.network_file(run, "source_only")
    assert results.source_val_scores(run)["images"] == 2


def test_an_unknown_id_is_refused(changes):
    train, _ = source_records(load_config(PRESETS / "urbansyn.yaml", overrides=changes))
    Image.fromarray(np.full((64, 128), 33, np.uint8)).save(train[0].label)
    with pytest.raises(DataError, match=r"ss_0001.png: unknown label ids \[33\]; urbansyn has 19"):
        read_label(train[0])
