"""What notebooks look at: there for every kind of run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from iapc_lib import lessons
from iapc_lib.data.layouts import Record
from iapc_lib.method import network_input
from iapc_lib.pipeline import stages


def test_the_three_drawn_worlds_are_shown_with_their_labels(tiny_run):
    found = lessons.worlds(tiny_run)
    assert list(found) == ["GTA5-like", "Cityscapes-like", "SYNTHIA-like"]
    for scenes in found.values():
        assert len(scenes) == 2
        for image, truth in scenes:
            assert np.asarray(image).shape == (*truth.shape, 3) == (64, 128, 3)


def test_the_clearest_image_has_edges(tmp_path):
    records = []
    for name, contrast in (("fog", 20), ("clear", 200), ("night", 5)):
        pixels = np.zeros((32, 64, 3), np.uint8)
        pixels[::4] = contrast
        Image.fromarray(pixels).resize((256, 128), 0).save(tmp_path / f"{name}.png")
        records.append(Record(name, tmp_path / f"{name}.png", None, "folder"))
    assert lessons.clearest(records).name == "clear"


def test_a_short_source_training_leaves_nothing_behind_and_repeats(tiny_run):
    train = stages.labelled_source(tiny_run)[0]
    first, second = (lessons.short_source_training(tiny_run, train, steps=2) for _ in range(2))
    assert first.losses == second.losses and len(first.losses) == 2
    for one, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not tiny_run.path("states").exists() and not tiny_run.path("logs").exists()


def test_losses_scores_and_confusion_of_the_source_network(tiny_run):
    counts = lessons.dev_confusion(tiny_run)
    assert counts.shape == (19, 19) and counts.any()
    scored = lessons.home_and_abroad(tiny_run)
    assert all(0 <= scored[place]["miou"] <= 100 for place in ("at home", "abroad"))
    losses = lessons.source_losses(tiny_run)
    assert len(losses) == 1 and losses.iloc[0] > 0  # six updates, means of ten


@pytest.mark.parametrize("body", ["resnet", "mobilenet_v2"])
def test_convolutions_have_the_output_stride_of_the_network(tiny_run, body):
    from iapc_lib.networks.build import build_network

    model = tiny_run.config.model.model_copy(update={"body": body})
    network = build_network(3, model).initialize(0).eval()
    strides = [stride for _, stride, _ in lessons.convolutions(network)]
    assert np.prod(strides) == 8


def test_what_the_notebooks_on_adaptation_and_results_look_at(tiny_run):
    fidelity = tiny_run.config.fidelity
    first, second = (lessons.short_adaptation(tiny_run, fidelity, steps=1) for _ in range(2))
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert not tiny_run.path("states").exists() and not tiny_run.path("logs", "iapc.jsonl").exists()
    assert lessons.kept_weight(tiny_run).empty

    stages.network_file(tiny_run, "iapc")
    kept = lessons.kept_weight(tiny_run)
    assert kept.index[0] == 0 and kept.index[-1] == 6
    assert kept.loc[0, "student"] == kept.loc[0, "memory network"]
    way = (kept.loc[6] - kept.loc[0]).abs()
    assert way["student"] > way["memory network"] > 0

    history = [{"step": 0, "watched": {"dev_miou": 3.0}}, {"step": 0, "loss": 1.0}]
    curves, levels = lessons.dev_curves(tiny_run, {"iapc": history})
    assert curves["IAPC"].to_dict() == {0: 3.0}
    assert set(levels) == {"source only", "BatchNorm recomputed"}

    records, counts = lessons.sample_counts(tiny_run, ["source_only", "iapc"], number=1)
    assert len(records) == 1 and counts["IAPC"].shape == (1, 19, 19)
    names = tiny_run.config.class_set.names
    iou = pd.DataFrame(1.0, ["source only", "IAPC"], names)
    iou.loc["IAPC", "sky"] = 0.0
    name, called = lessons.largest_loss(iou, counts, "source only", "IAPC")
    assert name == "sky" and called.index[0] == "sky" and len(called) == 5
    nothing = {title: torch.zeros_like(number) for title, number in counts.items()}
    assert lessons.largest_loss(iou, nothing, "source only", "IAPC")[1].empty

    convolution, batches, statistics = lessons.first_batchnorm(tiny_run)
    maps = [convolution(network_input(batch)).transpose(0, 1).flatten(1) for batch in batches]
    means = torch.stack([values.mean(dim=1) for values in maps]).mean(dim=0)
    torch.testing.assert_close(statistics[: len(means)], means, rtol=1e-4, atol=1e-4)


def test_the_first_batches_are_those_of_the_first_updates(tiny_run):
    both = stages.first_batches(tiny_run, 2, images=2)
    alone = stages.first_batch(tiny_run, images=2)
    assert len(both) == 2 and all(torch.equal(both[0][name], alone[name]) for name in alone)
    whole = stages.first_batches(tiny_run, 2)
    for few, all_of_them in zip(both, whole, strict=True):
        assert all(torch.equal(few[name], all_of_them[name][:2]) for name in few)
    assert not torch.equal(both[0]["plain"], both[1]["plain"])


def test_frames_lie_where_the_views_were_cut(tiny_run):
    batch = stages.first_batch(tiny_run, 2)
    street = np.asarray(lessons.framed_views(tiny_run, 1))
    assert street.shape == (*tiny_run.config.views.image_size, 3)
    for name, color in (("plain", (255, 255, 0)), ("rescaled", (0, 255, 255))):
        rows, columns = (street == color).all(axis=-1).nonzero()
        frame = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        framed = street[frame].astype(int)
        view = Image.fromarray(batch[name][1].movedim(0, -1).numpy())
        if name == "plain":
            assert np.abs(np.subtract(framed.shape[:2], tiny_run.config.views.crop_size)).max() <= 2
        # Inside the frame is what the network sees, mirrored or not.
        seen = np.asarray(view.resize(framed.shape[1::-1]), int)
        inside = np.s_[5:-5, 5:-5]
        differences = [np.abs(framed - s)[inside].mean() for s in (seen, seen[:, ::-1])]
        assert min(differences) < 12 and max(differences) > 2 * min(differences)


def test_the_pair_that_notebooks_follow_is_the_first_that_is_named(tiny_run):
    counts = lessons.dev_confusion(tiny_run)
    names = tiny_run.config.class_set.names
    true, called = (names.index(name) for name in lessons.confused_pair(tiny_run))
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    assert true != called
    assert shares[true, called] == (shares - shares.diag().diag()).max()
