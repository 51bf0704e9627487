"""The adaptation explorer and its page show what the library's own functions say."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from iapc_lib.classes import IGNORE, colorize
from iapc_lib.data.images import to_tensor
from iapc_lib.explorers.adaptation.explorer import AdaptationExplorer
from iapc_lib.explorers.adaptation.facts import (
    loss_curve,
    nearest_step,
    picture_at_step,
    picture_scores,
    update_at,
)
from iapc_lib.explorers.gallery import Gallery, open_gallery
from iapc_lib.explorers.line_chart import Curve, line_chart
from iapc_lib.explorers.parts import class_name
from iapc_lib.files import read_json
from iapc_lib.method.objective import iapc_losses
from iapc_lib.method.prototypes import memory_prototypes
from iapc_lib.networks.checkpoints import load_ready
from iapc_lib.rows import ROWS
from iapc_lib.runs.folder import Run, open_run
from iapc_lib.training.monitor import dev_curve
from tests.conftest import PRESETS, tiny_overrides
from tests.explorers.reading import expect_page, rows, shown, words

ADAPTED = [name for name, row in ROWS.items() if row.update]


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_folder) -> Run:
    """A tiny run whose networks have moved visibly within six updates."""
    torch.manual_seed(0)
    return open_run(
        PRESETS / "mini_gta5.yaml",
        tmp_path_factory.mktemp("explorer") / "run",
        0,
        tiny_overrides(data_folder)
        | {
            "adaptation.snapshots": True,
            "adaptation.optimizer.name": "adamw",
            "adaptation.optimizer.learning_rate": 0.01,
            "adaptation.optimizer.warmup_steps": 0,
        },
    )


@pytest.fixture(scope="module")
def gallery(run) -> Gallery:
    return open_gallery(run)


@pytest.fixture(scope="module")
def plain(run) -> Gallery:
    """The same pictures with plain self-training, which has no memory network."""
    return open_gallery(run, method="self_training")


def snapshot(run: Run, row: str, name: str, step: int):
    """A network of the run, as it was kept."""
    path = run.path("snapshots", row, f"{name}_{step:06d}.safetensors")
    return load_ready(path, run.machine, run.config)


def student_labels(run: Run, gallery: Gallery, row: str, picture: int, step: int):
    """Train ids (H, W) of a snapshot, by the library's own prediction."""
    image = to_tensor(gallery.pictures[picture].pixels)[None]
    return snapshot(run, row, "student", step).predict_train_ids(image, gallery.size)[0]


def test_a_picture_at_a_step_has_the_students_prediction_and_its_scores(run, gallery):
    for step in gallery.steps:
        now, picture = picture_at_step(gallery, 1, step), gallery.pictures[1]
        assert (now.student == student_labels(run, gallery, "iapc", 1, step)).all()
        known = picture.label != IGNORE
        right = (now.student == picture.label)[known].mean()
        assert now.right == pytest.approx(right)
        assert now.agreement == pytest.approx((now.student == picture.pseudo_label).mean())
    assert (picture_at_step(gallery, 1, 0).student != now.student).any()


def test_scores_are_intersection_over_union(gallery):
    picture = gallery.pictures[0]
    miou, iou = picture_scores(gallery, picture.pseudo_label, picture.label)
    known, values = picture.label != IGNORE, {}
    for train_id in gallery.source.classes.train_ids:
        true, found = (
            labels[known] == train_id for labels in (picture.label, picture.pseudo_label)
        )
        if (true | found).any():
            values[train_id] = 100 * (true & found).sum() / (true | found).sum()
    assert iou == pytest.approx(values)
    assert miou == pytest.approx(np.mean(list(values.values())))


def test_terms_are_those_of_an_update_with_this_picture_alone(run, gallery):
    step, picture = gallery.steps[-1], gallery.pictures[0]
    image = to_tensor(picture.pixels)[None]
    labels = gallery.source.classes.channel_of_train_id[picture.pseudo_label].astype(np.int64)
    student, memory = (snapshot(run, "iapc", name, step) for name in ("student", "memory"))
    for ready in (student, memory):
        ready.network.train()
    with torch.no_grad():
        terms = iapc_losses(
            student.forward(image),
            memory_prototypes(memory.forward(image), gallery.size),
            gallery.source.forward(image).logits,
            torch.from_numpy(labels)[None],
            torch.ones(len(gallery.source.classes)),
            run.config.losses,
            run.config.fidelity,
        )
    found = picture_at_step(gallery, 0, step).terms
    assert found["loss"] == pytest.approx(float(terms.total), rel=1e-4)
    for name, value in terms.weighted.items():
        assert found[name] == pytest.approx(float(value), rel=1e-4), name
    assert found["importance"] == pytest.approx(float(terms.importance.mean()), rel=1e-4)
    assert found["agreement"] == pytest.approx(float(terms.agreement.float().mean()), abs=1e-4)


def test_history_is_read_as_it_was_written(run, gallery):
    history = read_json(run.path("history_iapc.json"))
    losses = [entry["loss"] for entry in history if "loss" in entry]
    curve = loss_curve(gallery.history)
    assert [step for step, _ in curve] == list(range(6))
    assert curve[3][1] == pytest.approx(np.mean(losses[:4]))
    assert update_at(gallery.history, 2)["loss"] == losses[2]
    assert update_at(gallery.history, 6) == {}  # the end makes no update
    measured = [(e["step"], e["watched"]["dev_miou"]) for e in history if "watched" in e]
    assert dev_curve(gallery.history) == measured
    assert dev_curve([{"step": 0, "watched": {}}]) == []


def test_explorer_follows_its_controls(run, gallery):
    explorer = AdaptationExplorer(gallery)
    explorer.step.value = gallery.steps[-1]
    now = picture_at_step(gallery, 0, gallery.steps[-1])
    assert (shown(explorer.student) == colorize(now.student)).all()
    assert (shown(explorer.memory) == colorize(now.memory)).all()
    assert (shown(explorer.viewed) == colorize(gallery.pictures[0].label)).all()
    for number in (now.miou, 100 * now.right, 100 * now.agreement):
        assert f" {number:.1f}" in words(explorer.scores.value)
    assert f"{now.terms['loss']:.4f}" in explorer.terms.value
    assert f"at step {gallery.steps[-1]}: " in explorer.charts.value
    assert explorer.play.value == len(gallery.steps) - 1

    explorer.picture.value, explorer.step.value = 1, gallery.steps[2]
    now = picture_at_step(gallery, 1, gallery.steps[2])
    assert (shown(explorer.image) == gallery.pictures[1].pixels).all()
    assert (shown(explorer.student) == colorize(now.student)).all()
    update = update_at(gallery.history, gallery.steps[2])
    assert f"{update['importance_aware']:.4f}" in explorer.terms.value
    assert gallery.pictures[1].name in explorer.student.alt
    assert f"step {gallery.steps[2]}" in explorer.student.alt
    assert explorer.status.value == ""


@pytest.mark.parametrize("name", ["right and wrong", "corrected and broken", "pseudo-label",
                                  "agreement with the pseudo-label"])  # fmt: skip
def test_views_mark_the_right_pixels(gallery, name):
    explorer = AdaptationExplorer(gallery)
    explorer.step.value, explorer.view.value = gallery.steps[-1], name
    picture, first, now = gallery.pictures[0], explorer.by_step[0], explorer.now
    pixels, known = shown(explorer.viewed), picture.label != IGNORE
    if name == "pseudo-label":
        assert (pixels == colorize(picture.pseudo_label)).all()
        return
    right, was_right = now.student == picture.label, first.student == picture.label
    agree = now.student == picture.pseudo_label
    blue, orange = {
        "right and wrong": (known & right, known & ~right),
        "corrected and broken": (known & right & ~was_right, known & was_right & ~right),
        "agreement with the pseudo-label": (agree, ~agree),
    }[name]
    red, blueness = pixels[..., 0].astype(int), pixels[..., 2].astype(int)
    assert (blueness[blue] > red[blue] + 20).all()
    assert (red[orange] > blueness[orange] + 20).all()
    assert (red == blueness)[~blue & ~orange].all()
    among = known.sum() if name != "agreement with the pseudo-label" else known.size
    assert f"{blue.sum() / among:.1%}" in explorer.captions[3].value
    assert f"{orange.sum() / among:.1%} (orange)" in explorer.viewed.alt


def test_pixel_is_followed_through_the_steps(gallery):
    explorer = AdaptationExplorer(gallery)
    explorer.viewed.picked = [5, 7]
    assert explorer.image.picked == explorer.student.picked == [5, 7]
    heads, *found = rows(explorer.pixel.value)
    assert heads == ["step", "student", "memory network"]
    assert found == [
        [str(step), class_name(now.student[5, 7]), class_name(now.memory[5, 7])]
        for step, now in explorer.by_step.items()
    ]


def test_two_runs_are_compared_with_a_swipe(run, gallery, plain):
    assert plain.steps == gallery.steps
    explorer = AdaptationExplorer(gallery, plain)
    explorer.step.value = step = gallery.steps[-1]
    other = student_labels(run, plain, "self_training", 0, step)
    assert (shown(explorer.student, right=True) == colorize(other)).all()
    assert (shown(explorer.student) == colorize(explorer.now.student)).all()
    assert f"right self-training, step {step}" in explorer.student.alt
    explorer.view.value = "difference of the two runs"
    differ = (other != explorer.now.student).mean()
    assert f"{differ:.1%} (orange)" in explorer.viewed.alt
    assert f"self-training: {dev_curve(plain.history)[-1][1]:.4g}" in explorer.charts.value
    assert f"{picture_at_step(plain, 0, step).miou:.1f}" in explorer.scores.value


def test_other_run_may_have_kept_other_steps(gallery, plain):
    sparse = replace(plain, steps=(0, gallery.steps[-1]))
    explorer = AdaptationExplorer(gallery, sparse)
    explorer.step.value = gallery.steps[1]
    assert explorer.other_now.step == 0
    assert nearest_step((0, 10, 20), 5) == 0
    assert nearest_step((0, 10, 20), 16) == 20


@pytest.mark.parametrize("name", ADAPTED)
def test_every_adapted_row_is_shown_at_every_step(run, name):
    row, gallery = ROWS[name], open_gallery(run, method=name, number=1)
    assert row.title in gallery.title and len(gallery.steps) == 7
    explorer = AdaptationExplorer(gallery)
    assert explorer.failures == {} and explorer.status.value == ""
    for step in gallery.steps:
        explorer.step.value = step
        labels = student_labels(run, gallery, name, 0, step) if step else explorer.now.student
        assert (shown(explorer.student) == colorize(labels)).all()
        heads, *terms = rows(explorer.terms.value) or [[]]
        update = update_at(gallery.history, step)
        if row.memory:
            said = words(explorer.captions[2].value)
            assert said == f"memory network's prediction, step {step}"
            assert len(terms) == 8 and "this picture" in heads
        else:
            # No memory network, no objective of five terms: what this row never had is not shown.
            said = f"pseudo-label ({row.title} has no memory network)"
            assert said in words(explorer.captions[2].value)
            assert "memory network" not in explorer.pixel.value + explorer.terms.value
            assert terms == ([["loss", f"{update['loss']:.4f}"]] if update else [])
            picture = gallery.pictures[0]
            assert (shown(explorer.memory) == colorize(picture.pseudo_label)).all()
    note = f"{row.title} learns from {row.learns_from}"
    assert (note in " ".join(gallery.notes)) != row.memory


@pytest.mark.parametrize("name", [*(name for name in ROWS if name not in ADAPTED), "nothing"])
def test_rows_that_nothing_adapts_are_refused(run, name):
    with pytest.raises(ValueError, match=f"row '{name}': nothing is adapted there.* tent, "):
        open_gallery(run, method=name)


def test_other_pictures_are_refused(gallery):
    fewer = replace(gallery, title="another run", pictures=gallery.pictures[1:])
    with pytest.raises(ValueError, match="another run shows other pictures than mini_gta5"):
        AdaptationExplorer(gallery, fewer)


def unlabelled(gallery: Gallery) -> Gallery:
    pictures = [replace(picture, label=None) for picture in gallery.pictures]
    history = [e | {"watched": {}} if "watched" in e else e for e in gallery.history]
    return replace(gallery, pictures=pictures, history=history, notes=["no labels"])


def test_no_score_is_invented_without_labels(gallery):
    blind = unlabelled(gallery)
    now = picture_at_step(blind, 0, blind.steps[-1])
    assert (now.miou, now.iou, now.right) == (None, {}, None)
    explorer = AdaptationExplorer(blind)
    assert explorer.view.options == ("pseudo-label", "agreement with the pseudo-label")
    assert "no labels, hence no score" in explorer.scores.value
    assert "mIoU" not in explorer.scores.value + explorer.charts.value
    assert explorer.bars.value == ""
    assert "agrees with the pseudo-label" in explorer.scores.value


def test_only_the_start_without_snapshots(gallery):
    start = replace(gallery, steps=(0,), load_snapshot=None)
    explorer = AdaptationExplorer(start)
    assert explorer.step.disabled
    assert explorer.play.disabled
    assert (shown(explorer.student) == colorize(picture_at_step(gallery, 0, 0).student)).all()


def test_damaged_snapshot_is_named_and_the_rest_is_shown(run, gallery, tmp_path):
    copied = open_run(run.config, tmp_path / "run")
    shutil.copytree(run.folder, copied.folder, dirs_exist_ok=True)
    damaged = gallery.steps[2]
    copied.path("snapshots", "iapc", f"student_{damaged:06d}.safetensors").write_bytes(b"nothing")
    explorer = AdaptationExplorer(open_gallery(copied))
    assert f"step {damaged}: " in explorer.status.value
    assert f"student_{damaged:06d}.safetensors" in explorer.status.value
    assert damaged not in explorer.by_step
    explorer.step.value = damaged
    assert all("cannot be shown" in caption.value for caption in explorer.captions)
    assert explorer.scores.value == ""
    explorer.step.value = gallery.steps[1]
    assert (
        shown(explorer.student) == colorize(picture_at_step(gallery, 0, gallery.steps[1]).student)
    ).all()


def test_line_chart_marks_and_says_the_value():
    curve = Curve("dev <1>", [(0, 1.0), (10, 3.0), (20, 2.0)], "#123456", dots=True)
    drawn = line_chart("mIoU (%)", [curve], 10)
    assert 'aria-label="mIoU (%); at step 10: dev &lt;1&gt;: 3"' in drawn
    assert drawn.count("<circle") == 3
    assert "dev &lt;1&gt;: 3</text>" in drawn
    late = Curve("late", [(10, 1.0)], "#000")
    assert "late: not known here" in line_chart("loss", [late], 5)
    assert line_chart("loss", [Curve("none", [], "#000")], 0) == ""


def test_page_shows_what_the_explorer_shows(gallery, plain):
    step = gallery.steps[2]
    explorer = AdaptationExplorer(
        gallery, plain, picture=1, step=step, view="right and wrong", pixel=(5, 7)
    )
    explorer.student.split = 0.25
    said = expect_page(explorer, explorer.pictures)
    for part in (explorer.scores, explorer.terms, explorer.charts, explorer.pixel, explorer.bars):
        assert words(part.value) in said
    assert f"step: {step}" in said and "4th picture: right and wrong" in said
    assert gallery.title in said and plain.title in said
    # Both sides of the swipe, parted where it stands; the cross lies elsewhere.
    marked, width = explorer.student.marked(), gallery.size[1]
    scale = marked.shape[1] // width
    found, border = marked[::scale, ::scale], width // 4
    now, other = (colorize(one.student) for one in (explorer.now, explorer.other_now))
    assert (found[30:, : border - 1] == now[30:, : border - 1]).all()
    assert (found[30:, border] == 255).all()  # the seam
    assert (found[30:, border + 1 :] == other[30:, border + 1 :]).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"step": 77}, "step 77: there are 0, 1, 2"),
        ({"view": "nothing"}, "4th picture 'nothing': there are label, right and wrong"),
        ({"view": "difference of the two runs"}, "there are label"),
    ],
)
def test_what_there_is_not_is_refused(gallery, wrong, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        AdaptationExplorer(gallery, **wrong)
