"""The adaptation explorer and its static twin show what the library's own functions say."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from iapc_lib.classes import IGNORE, colorize
from iapc_lib.data.images import to_tensor
from iapc_lib.evaluation.scores import predict_labels
from iapc_lib.explorers.adaptation import facts as trajectory
from iapc_lib.explorers.adaptation.explorer import AdaptationExplorer
from iapc_lib.explorers.adaptation.facts import look_at, nearest_step, picture_scores
from iapc_lib.explorers.adaptation.views import available_views, draw_view
from iapc_lib.explorers.gallery import Gallery, open_gallery
from iapc_lib.explorers.line_chart import Curve, line_chart
from iapc_lib.explorers.parts import class_name
from iapc_lib.explorers.terms import TERM_NAMES
from iapc_lib.figures.explore_adaptation import adaptation_view
from iapc_lib.files import read_json
from iapc_lib.method.objective import iapc_losses
from iapc_lib.method.step import Networks
from iapc_lib.networks.checkpoints import load_network
from iapc_lib.runs.folder import Run, open_run
from tests.conftest import PRESETS, tiny_overrides


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


def shown(picture, right: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 that a `PixelImage` shows."""
    return np.asarray(Image.open(io.BytesIO(picture.right_png if right else picture.png)))


def student_labels(run: Run, gallery: Gallery, method: str, picture: int, step: int):
    """Train ids (H, W) of a snapshot, by the library's own prediction."""
    path = run.path("snapshots", method, f"student_{step:06d}.safetensors")
    image = to_tensor(gallery.pictures[picture].pixels)[None]
    network = load_network(path, run.config)[0]
    channels = predict_labels(run.machine, network, image, gallery.size)[0].numpy()
    return gallery.classes.train_id_of_channel[channels]


def test_look_has_the_students_prediction_and_its_scores(run, gallery):
    for step in gallery.steps:
        look, picture = look_at(gallery, 1, step), gallery.pictures[1]
        assert (look.student == student_labels(run, gallery, "iapc", 1, step)).all()
        known = picture.label != IGNORE
        right = (look.student == picture.label)[known].mean()
        assert look.right == pytest.approx(right)
        assert look.agreement == pytest.approx((look.student == picture.pseudo_label).mean())
    assert (look_at(gallery, 1, 0).student != look.student).any()


def test_scores_are_intersection_over_union(gallery):
    picture = gallery.pictures[0]
    miou, iou = picture_scores(gallery, picture.pseudo_label, picture.label)
    known, values = picture.label != IGNORE, {}
    for train_id in gallery.classes.train_ids:
        true, found = (
            labels[known] == train_id for labels in (picture.label, picture.pseudo_label)
        )
        if (true | found).any():
            values[train_id] = 100 * (true & found).sum() / (true | found).sum()
    assert iou == pytest.approx(values)
    assert miou == pytest.approx(np.mean(list(values.values())))


def test_terms_are_those_of_an_update_with_this_picture_alone(run, gallery):
    step = gallery.steps[-1]
    networks = Networks(gallery.source, run.machine)
    for name in ("student", "memory"):
        path = run.path("snapshots", "iapc", f"{name}_{step:06d}.safetensors")
        getattr(networks, name).load_state_dict(load_network(path)[0].state_dict())
    picture = gallery.pictures[0]
    image = to_tensor(picture.pixels)[None]
    labels = gallery.classes.channel_of_train_id[picture.pseudo_label].astype(np.int64)
    with torch.no_grad():
        outputs = [
            run.machine.forward(network, image)
            for network in (networks.student, networks.memory, networks.source)
        ]
        terms = iapc_losses(
            outputs[0],
            outputs[1],
            outputs[2].logits,
            torch.from_numpy(labels)[None],
            torch.ones(len(gallery.classes)),
            run.config.losses,
            run.config.fidelity,
        )
    found = look_at(gallery, 0, step).terms
    assert found["loss"] == pytest.approx(float(terms.total), rel=1e-4)
    for name, value in terms.weighted.items():
        assert found[name] == pytest.approx(float(value), rel=1e-4), name
    assert found["importance"] == pytest.approx(float(terms.importance.mean()), rel=1e-4)
    assert found["agreement"] == pytest.approx(float(terms.agreement.float().mean()), abs=1e-4)


def test_history_is_read_as_it_was_written(run, gallery):
    history = read_json(run.path("history_iapc.json"))
    losses = [entry["loss"] for entry in history if "loss" in entry]
    curve = trajectory.loss_curve(gallery.history)
    assert [step for step, _ in curve] == list(range(6))
    assert curve[3][1] == pytest.approx(np.mean(losses[:4]))
    assert trajectory.update_at(gallery.history, 2)["loss"] == losses[2]
    assert trajectory.update_at(gallery.history, 6) == {}  # the end makes no update
    measured = [(e["step"], e["watched"]["dev_miou"]) for e in history if "watched" in e]
    assert trajectory.dev_curve(gallery.history) == measured
    assert trajectory.dev_curve([{"step": 0, "watched": {}}]) == []


def test_explorer_follows_its_controls(run, gallery):
    explorer = AdaptationExplorer(gallery)
    explorer.step.value = gallery.steps[-1]
    look = look_at(gallery, 0, gallery.steps[-1])
    assert (shown(explorer.student) == colorize(look.student)).all()
    assert (shown(explorer.memory) == colorize(look.memory)).all()
    assert (shown(explorer.viewed) == colorize(gallery.pictures[0].label)).all()
    for number in (look.miou, 100 * look.right, 100 * look.agreement):
        assert f">{number:.1f}<" in explorer.scores.value
    assert f"{look.terms['loss']:.4f}" in explorer.terms.value
    assert f"at step {gallery.steps[-1]}: " in explorer.charts.value
    assert explorer.play.value == len(gallery.steps) - 1

    explorer.picture.value, explorer.step.value = 1, gallery.steps[2]
    look = look_at(gallery, 1, gallery.steps[2])
    assert (shown(explorer.image) == gallery.pictures[1].pixels).all()
    assert (shown(explorer.student) == colorize(look.student)).all()
    update = trajectory.update_at(gallery.history, gallery.steps[2])
    assert f"{update['importance_aware']:.4f}" in explorer.terms.value
    assert gallery.pictures[1].name in explorer.student.alt
    assert f"step {gallery.steps[2]}" in explorer.student.alt
    assert explorer.progress.layout.visibility == "hidden"


@pytest.mark.parametrize("name", ["right and wrong", "mended and spoiled", "pseudo-label",
                                  "agreement with the pseudo-label"])  # fmt: skip
def test_views_mark_the_right_pixels(gallery, name):
    explorer = AdaptationExplorer(gallery)
    explorer.step.value, explorer.view.value = gallery.steps[-1], name
    picture, first, look = gallery.pictures[0], explorer.looks[0], explorer.look
    pixels, known = shown(explorer.viewed), picture.label != IGNORE
    if name == "pseudo-label":
        assert (pixels == colorize(picture.pseudo_label)).all()
        return
    right, was_right = look.student == picture.label, first.student == picture.label
    agree = look.student == picture.pseudo_label
    blue, orange = {
        "right and wrong": (known & right, known & ~right),
        "mended and spoiled": (known & right & ~was_right, known & was_right & ~right),
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
    rows = explorer.pixel.value.split("<tr>")[2:]
    assert len(rows) == len(gallery.steps)
    for row, (step, look) in zip(rows, explorer.looks.items(), strict=True):
        assert f">{step}<" in row
        names = [class_name(labels[5, 7]) for labels in (look.student, look.memory)]
        assert row.index(names[0]) <= row.rindex(names[1])


def test_two_runs_are_compared_with_a_swipe(run, gallery, plain):
    assert plain.steps == gallery.steps
    explorer = AdaptationExplorer(gallery, plain)
    explorer.step.value = step = gallery.steps[-1]
    other = student_labels(run, plain, "self_training", 0, step)
    assert (shown(explorer.student, right=True) == colorize(other)).all()
    assert (shown(explorer.student) == colorize(explorer.look.student)).all()
    assert f"right other run, step {step}" in explorer.student.alt
    explorer.view.value = "difference of the two runs"
    differ = (other != explorer.look.student).mean()
    assert f"{differ:.1%} (orange)" in explorer.viewed.alt
    assert f"other run: {trajectory.dev_curve(plain.history)[-1][1]:.4g}" in explorer.charts.value
    assert f"{look_at(plain, 0, step).miou:.1f}" in explorer.scores.value


def test_other_run_may_have_kept_other_steps(gallery, plain):
    sparse = replace(plain, steps=(0, gallery.steps[-1]))
    explorer = AdaptationExplorer(gallery, sparse)
    explorer.step.value = gallery.steps[1]
    assert explorer.other_look.step == 0
    assert nearest_step((0, 10, 20), 5) == 0
    assert nearest_step((0, 10, 20), 16) == 20


def test_self_training_says_that_it_has_no_memory(plain):
    explorer = AdaptationExplorer(plain)
    explorer.step.value = plain.steps[1]
    assert "no memory network" in explorer.captions[2].value
    assert (shown(explorer.memory) == colorize(plain.pictures[0].pseudo_label)).all()
    assert "memory network" not in explorer.pixel.value
    update = trajectory.update_at(plain.history, plain.steps[1])
    assert f"{update['loss']:.4f}" in explorer.terms.value
    assert "this picture" not in explorer.terms.value


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
    look = look_at(blind, 0, blind.steps[-1])
    assert (look.miou, look.iou, look.right) == (None, {}, None)
    explorer = AdaptationExplorer(blind)
    assert explorer.view.options == ("pseudo-label", "agreement with the pseudo-label")
    assert "no labels, hence no score" in explorer.scores.value
    assert "mIoU" not in explorer.scores.value + explorer.charts.value
    assert explorer.bars.value == ""
    assert "agrees with the pseudo-label" in explorer.scores.value
    figure = adaptation_view(blind)
    assert "no labels, hence no score" in {axes.get_title() for axes in all_axes(figure)}
    plt.close(figure)


def test_only_the_start_without_snapshots(gallery):
    start = replace(gallery, steps=(0,), load_moment=None)
    explorer = AdaptationExplorer(start)
    assert explorer.step.disabled
    assert explorer.play.disabled
    assert (shown(explorer.student) == colorize(look_at(gallery, 0, 0).student)).all()


def test_damaged_snapshot_is_named_and_the_rest_is_shown(run, gallery, tmp_path):
    copied = open_run(run.config, tmp_path / "run")
    shutil.copytree(run.folder, copied.folder, dirs_exist_ok=True)
    damaged = gallery.steps[2]
    copied.path("snapshots", "iapc", f"student_{damaged:06d}.safetensors").write_bytes(b"nothing")
    explorer = AdaptationExplorer(open_gallery(copied))
    assert f"step {damaged}: " in explorer.status.value
    assert f"student_{damaged:06d}.safetensors" in explorer.status.value
    assert damaged not in explorer.looks
    explorer.step.value = damaged
    assert all("cannot be shown" in caption.value for caption in explorer.captions)
    assert explorer.scores.value == ""
    explorer.step.value = gallery.steps[1]
    assert (
        shown(explorer.student) == colorize(look_at(gallery, 0, gallery.steps[1]).student)
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


def all_axes(figure) -> list[plt.Axes]:
    return [axes for part in (figure, *figure.subfigs) for axes in part.axes]


def test_static_twin_shows_the_same(gallery, plain):
    step = gallery.steps[2]
    figure = adaptation_view(gallery, plain, picture=1, step=step, view="right and wrong")
    look, other = look_at(gallery, 1, step), look_at(plain, 1, step)
    drawn = {axes.get_title(): axes for axes in all_axes(figure)}
    for title, labels in (
        (f"student, step {step}", look.student),
        (f"memory network, step {step}", look.memory),
        (f"other run's student, step {step}", other.student),
    ):
        assert (drawn[title].images[0].get_array() == colorize(labels)).all()
    marked = draw_view("right and wrong", gallery.pictures[1], look, look)
    assert any(
        axes.images and np.array_equal(axes.images[0].get_array(), marked.pixels)
        for axes in drawn.values()
    )
    bars = [bar.get_width() for bar in drawn[f"weighted loss terms, step {step}"].patches]
    assert bars[:5] == pytest.approx([look.terms[name] for name in TERM_NAMES])
    (line,) = [li for li in drawn["mIoU (%)"].lines if li.get_label() == "dev, this run"]
    assert list(zip(*line.get_data(), strict=True)) == trajectory.dev_curve(gallery.history)
    plt.close(figure)


def test_static_twin_names_what_there_is(gallery):
    with pytest.raises(ValueError, match="step 77: the run kept 0, 1, 2"):
        adaptation_view(gallery, step=77)
    with pytest.raises(ValueError, match="view 'nothing': there are label"):
        adaptation_view(gallery, view="nothing")
    assert available_views(False, True)[-1] == "difference of the two runs"
