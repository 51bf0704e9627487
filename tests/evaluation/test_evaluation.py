"""Scores equal those of the Cityscapes benchmark's own script."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from PIL import Image

from iapc_lib.classes import ALL_19, CLASS_SETS, CLASSES, SYNTHIA_16
from iapc_lib.data.images import read_label, to_channels
from iapc_lib.data.layouts import Record
from iapc_lib.evaluation.scores import count_pairs, scores
from iapc_lib.evaluation.tables import iou_table, unlabelled_table


@pytest.fixture(scope="module")
def benchmark():
    """The evaluation of `cityscapesscripts`; it uses a name that numpy 2.4 took away."""
    vars(np).setdefault("in1d", np.isin)
    return importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")


def street(seed: int, ids: list[int]) -> np.ndarray:
    """A label map of blocks, (48, 96) uint8."""
    blocks = np.random.default_rng(seed).choice(ids, (12, 24)).astype(np.uint8)
    return blocks.repeat(4, axis=0).repeat(4, axis=1)


def test_scores_equal_the_benchmarks_own(tmp_path, benchmark):
    label_ids = [c.cityscapes_id for c in CLASSES]
    never, predicted_only = label_ids[16], label_ids[14]  # train, truck
    truth_ids = [i for i in range(34) if i not in (never, predicted_only)]
    counts, predictions, truths = torch.zeros(19, 19, dtype=torch.int64), [], []
    for index in range(3):
        truth = street(index, truth_ids)
        guess = street(index + 10, [i for i in label_ids if i != never])
        mostly_right = np.random.default_rng(index + 20).random(truth.shape) < 0.6
        guess = np.where(mostly_right & np.isin(truth, label_ids), truth, guess).astype(np.uint8)
        names = [tmp_path / f"a_{index}_{kind}.png" for kind in ("gtFine_labelIds", "prediction")]
        for name, values in zip(names, (truth, guess), strict=True):
            Image.fromarray(values).save(name)
        Image.fromarray(truth.astype(np.uint16)).save(
            tmp_path / f"a_{index}_gtFine_instanceIds.png"
        )
        truths.append(str(names[0]))
        predictions.append(str(names[1]))
        maps = [read_label(Record("a", name, name, "cityscapes")) for name in names]
        counts += count_pairs(*(to_channels(m, ALL_19) for m in maps), 19)

    benchmark.args.quiet = True
    theirs = benchmark.evaluateImgLists(predictions, truths, benchmark.args)
    ours = scores(counts, ALL_19)
    assert ours["miou"] == pytest.approx(100 * theirs["averageScoreClasses"], abs=1e-6)
    for name, value in ours["iou"].items():
        expected = theirs["classScores"][name]
        if value is None:
            assert name == "train" and math.isnan(expected)
        else:
            assert value == pytest.approx(100 * expected, abs=1e-6)
    assert ours["iou"]["truck"] == 0  # predicted, but nowhere: a mistake, not an absence
    for number, subset in CLASS_SETS.items():
        known = [ours["iou"][name] for name in subset.names if ours["iou"][name] is not None]
        assert ours[f"miou_{number}"] == pytest.approx(np.mean(known))


def test_the_class_sets_are_the_benchmarks_by_name():
    missing = {
        number: set(ALL_19.names) - set(subset.names) for number, subset in CLASS_SETS.items()
    }
    assert missing == {
        19: set(),
        16: {"terrain", "truck", "train"},
        13: {"terrain", "truck", "train", "wall", "fence", "pole"},
        11: {"terrain", "truck", "train", "wall", "bus", "motorcycle", "bicycle", "traffic light"},
    }


def test_sixteen_classes_leave_out_pixels_of_the_other_three():
    truth = np.array([[0, 9, 14, 18]], np.uint8)  # road, terrain, truck, bicycle
    labels = to_channels(truth, SYNTHIA_16)
    assert labels.tolist() == [[0, 255, 255, 15]]
    found = scores(count_pairs(labels, torch.tensor([[0, 8, 8, 15]]), 16), SYNTHIA_16)
    assert found["miou_19"] is None
    assert found["miou"] == found["miou_16"] == found["miou_13"] == 100
    assert found["iou"]["vegetation"] is None  # only predicted where nothing is counted


def test_no_pixel_at_all_is_no_score():
    assert scores(torch.zeros(19, 19), ALL_19)["miou"] is None


def test_without_labels_the_table_has_its_rows_and_no_number():
    names = ["road", "car"]
    made = {"classes": names, "variant": None, "scores": {}, "unlabelled": {"source_only": {}}}
    table = iou_table(made)
    assert list(table.columns) == ["mIoU", *names] and list(table.index) == ["source only"]
    assert table.isna().all(axis=None)
    made["scores"] = {"iapc": {"miou": 30.0, "iou": {"road": 60.0, "car": None}}}
    assert iou_table(made).loc["IAPC", ["mIoU", "road"]].tolist() == [30, 60]


def test_table_without_labels_has_the_variants_title():
    results = {"variant": {"title": "sharper"}, "unlabelled": {"iapc": {"mean_entropy": 1.0}}}
    assert unlabelled_table(results).index.tolist() == ["sharper"]
