"""The importance explorer and its page show what the library's own functions say."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from iapc_lib.classes import CAMVID_11, IGNORE, NAMES, colorize
from iapc_lib.config.sections import Hardware
from iapc_lib.explorers.gallery import Gallery, Picture
from iapc_lib.explorers.importance import words as text
from iapc_lib.explorers.importance.explorer import ImportanceExplorer
from iapc_lib.explorers.importance.facts import (
    DEFINITIONS,
    LABELLINGS,
    WIDEST,
    PixelImportance,
    class_shares,
    importance_of,
    labels_of,
    pixel_importance,
    shown_range,
)
from iapc_lib.explorers.parts import BLUE, COLORS, ORANGE, color_scale, shade, table
from iapc_lib.machine.device import prepare_machine
from iapc_lib.method.deeplab import DeepLabV2, upsample
from iapc_lib.method.importance import importance_map
from iapc_lib.method.losses import entropy_map
from iapc_lib.method.settings import Fidelity, Model
from iapc_lib.networks.ready import ReadyNetwork
from tests.conftest import noise
from tests.explorers.reading import expect_page, rows, shown, words

H, W = 48, 80
TRAIN_IDS = np.array(CAMVID_11.train_ids)
KINDS = ("logits", "probabilities", "first", "second", "none")


def a_picture(number: int, labelled: bool) -> Picture:
    """Blocks of colours, whose labels are blocks of classes; some pixels have none."""
    blocks = np.random.default_rng(number)
    known = np.array([*CAMVID_11.train_ids, IGNORE], np.uint8)

    def labels():
        return known[blocks.integers(0, 12, (6, 10))].repeat(8, axis=0).repeat(8, axis=1)

    pixels = np.asarray(noise(H, W).rotate(180 * number))
    return Picture(f"street {number}.png", pixels, labels(), labels() if labelled else None)


def a_gallery(labelled: bool = True, importance: str = "logits") -> Gallery:
    torch.manual_seed(0)
    network = DeepLabV2(11, Model(layers=(1, 1, 1, 1), base_width=8)).eval()
    for parameter in network.layer6.parameters():
        parameter.data *= 8  # or it would be sure of nothing
    return Gallery(
        "two streets",
        [a_picture(number, labelled) for number in range(2)],
        ReadyNetwork(network, CAMVID_11, prepare_machine(Hardware(device="cpu"))),
        fidelity=Fidelity(importance=importance),
    )


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return a_gallery()


@pytest.fixture
def explorer(gallery) -> ImportanceExplorer:
    return ImportanceExplorer(gallery)


def logits_of(*pixel: float) -> torch.Tensor:
    """A picture (3, 1, 1) of one pixel's logits."""
    return torch.tensor(pixel)[:, None, None]


# What is computed


@pytest.mark.parametrize("kind", KINDS)
def test_importance_is_the_librarys(gallery, kind):
    logits = gallery.source_logits(0)
    np.testing.assert_array_equal(
        importance_of(logits, kind), importance_map(logits[None], kind)[0]
    )


def test_entropy_is_turned_round_and_normalised():
    even, sure = logits_of(1.0, 1.0, 1.0), logits_of(60.0, 0.0, 0.0)
    assert importance_of(even, "entropy").item() == pytest.approx(0, abs=1e-4)
    assert importance_of(sure, "entropy").item() == 1
    halves = torch.tensor([0.5, 0.25, 0.25]).log()[:, None, None]
    expected = 1 - 1.5 * math.log(2) / math.log(3)
    assert importance_of(halves, "entropy").item() == pytest.approx(expected, abs=1e-4)


def test_every_definition_has_a_name():
    assert set(DEFINITIONS) == {*KINDS, "entropy"}


def test_range_is_0_to_1_unless_values_lie_beyond():
    inside = np.linspace(0.2, 0.7, 1000)
    assert shown_range(inside) == (0, 1)
    assert shown_range(np.append(inside, [1e6, np.inf, np.nan])) == (0, 1)  # a handful
    assert shown_range(np.linspace(-0.5, 1.5, 1001)) == pytest.approx((-0.5, 1.5))
    assert shown_range(np.linspace(-90, 90, 1001)) == WIDEST
    assert shown_range(np.full(4, np.nan)) == (0, 1)


def test_labels_are_the_prediction_or_the_pseudo_label(gallery):
    logits = gallery.source.forward(gallery._images(1)).logits
    expected = TRAIN_IDS[upsample(logits, (H, W))[0].argmax(dim=0)]
    np.testing.assert_array_equal(labels_of(gallery, 1, "source prediction"), expected)
    assert labels_of(gallery, 1, "pseudo-label") is gallery.pictures[1].pseudo_label


def test_shares_by_hand():
    labels = np.array([[0, 0, 0, 0], [2, 2, 10, IGNORE]], np.uint8)
    truth = np.array([[0, 2, 0, IGNORE], [2, 2, IGNORE, 0]], np.uint8)
    kept = np.array([[1, 1, 0, 1], [0, 0, 1, 0]], bool)
    whole, road, building, sky, nothing = class_shares(labels, kept, truth)
    # Judged are the three first pixels of row 0 and the two first of row 1.
    assert whole == (None, 8, 0.5, 1 / 2, 1.0)
    assert road == (0, 4, 0.75, 1 / 2, 1.0)
    assert building[:3] == (2, 2, 0.0) and math.isnan(building[3]) and building[4] == 1
    assert sky[:3] == (10, 1, 1.0) and math.isnan(sky[3]) and math.isnan(sky[4])
    assert nothing[:3] == (IGNORE, 1, 0.0) and math.isnan(nothing[4])
    unlabelled = class_shares(labels, kept, None)
    assert [share[:3] for share in unlabelled] == [
        share[:3] for share in (whole, road, building, sky, nothing)
    ]
    assert all(math.isnan(rate) for share in unlabelled for rate in share[3:])


@pytest.mark.parametrize("labelling", LABELLINGS)
def test_shares_are_counts_of_pixels(gallery, labelling):
    picture, labels = gallery.pictures[0], labels_of(gallery, 0, labelling)
    kept = importance_of(gallery.source_logits(0), "first") >= 0.3
    judged = (labels != IGNORE) & (picture.label != IGNORE)
    for share in class_shares(labels, kept, picture.label):
        own = np.ones((H, W), bool) if share.train_id is None else labels == share.train_id
        assert share.pixels == own.sum()
        assert share.kept == pytest.approx(kept[own].mean())
        for rate, stays in ((share.right_kept, kept), (share.right_dropped, ~kept)):
            where = own & judged & stays
            right = (labels == picture.label)[where]
            assert math.isnan(rate) if not where.any() else rate == pytest.approx(right.mean())


def test_a_pixels_numbers_are_those_of_the_maps(gallery):
    logits, pixel = gallery.source_logits(0), (5, 7)
    for kind in DEFINITIONS:
        importance = importance_of(logits, kind)
        facts = pixel_importance(gallery, 0, pixel, importance)
        order = logits[:, 5, 7].argsort(descending=True)[:2]
        assert facts.classes == tuple(TRAIN_IDS[order])
        assert facts.logits == tuple(logits[order, 5, 7].tolist())
        probabilities = logits.softmax(dim=0)[:, 5, 7]
        assert facts.probabilities == pytest.approx(probabilities[order].tolist())
        entropy = entropy_map(logits[None].log_softmax(dim=1))[0, 5, 7].item()
        assert facts.entropy == pytest.approx(entropy)
        assert facts.importance == importance[pixel]


# What is said


def facts(**changes) -> PixelImportance:
    made = PixelImportance((0, 2), (5.0, 2.0), (0.8, 0.1), 0.7, 0.6)
    return made._replace(**changes)


@pytest.mark.parametrize(
    ("definition", "importance", "lines"),
    [
        ("logits", 0.6, ["I = 1 − z₍₂₎ / z₍₁₎ = 1 − 2.000 / 5.000 = 0.600"]),
        ("probabilities", 0.875, ["I = 1 − p₍₂₎ / p₍₁₎ = 1 − 0.100 / 0.800 = 0.875"]),
        ("first", 0.8, ["I = p₍₁₎ = 0.800"]),
        ("second", 0.9, ["I = 1 − p₍₂₎ = 1 − 0.100 = 0.900"]),
        (
            "entropy",
            1 - 0.7 / math.log(11),
            [
                "H = −Σ p ln p = 0.700, of all 11 classes",
                "I = 1 − H / ln 11 = 1 − 0.700 / 2.398 = 0.708",
            ],
        ),
    ],
)
def test_formula_is_worked_out_with_the_pixels_numbers(definition, importance, lines):
    assert text.formula(facts(importance=importance), definition, 11) == lines


def test_odd_logit_ratios_are_explained():
    above = text.formula(facts(logits=(2.0, -1.0), importance=1.5), "logits", 11)
    assert above[0] == "I = 1 − z₍₂₎ / z₍₁₎ = 1 − (−1.000) / 2.000 = 1.500"
    assert above[1].startswith("Above 1")
    negative = text.formula(facts(logits=(-1.0, -4.0), importance=-3.0), "logits", 11)
    assert negative[0] == "I = 1 − z₍₂₎ / z₍₁₎ = 1 − (−4.000) / (−1.000) = −3.000"
    assert negative[1].startswith("Negative")


def test_decision_shows_the_comparison():
    assert text.decision(0.6, 0.3, True) == "I = 0.600 ≥ 0.30: stays"
    assert text.decision(-3.0, 0, False) == "I = −3.000 < 0.00: falls out"


def test_a_close_race_is_shown_with_the_digits_that_decide_it():
    close = facts(probabilities=(0.17139, 0.17072), importance=0.00391)
    lines = text.formula(close, "probabilities", 11)
    assert lines == ["I = 1 − p₍₂₎ / p₍₁₎ = 1 − 0.17072 / 0.17139 = 0.00391"]


def test_small_numbers_keep_their_digits():
    assert [text.number(value) for value in (0.0, 0.01234, -0.5, 12.3456)] == [
        "0.000",
        "0.0123",
        "−0.500",
        "12.346",
    ]


# The explorer


def expect_everything(explorer, picture, kind, labelling, threshold):
    """All pictures and numbers are those of the library for these settings."""
    seen, logits = explorer.gallery.pictures[picture], explorer.gallery.source_logits(picture)
    if kind == "entropy":
        entropy = entropy_map(logits[None].log_softmax(dim=1))[0].numpy()
        importance = np.clip(1 - entropy / np.log(11), 0, 1)
    else:
        importance = importance_map(logits[None], kind)[0].numpy()
    kept = importance >= threshold
    predicted = TRAIN_IDS[logits.argmax(dim=0)].astype(np.uint8)
    labels = predicted if labelling == "source prediction" else seen.pseudo_label

    def dark(pixels):
        return np.where(kept[..., None], pixels, pixels // 4)

    np.testing.assert_array_equal(shown(explorer.image), dark(seen.pixels))
    np.testing.assert_array_equal(shown(explorer.prediction), dark(colorize(labels)))
    low, high = shown_range(importance)
    difference = shown(explorer.importance).astype(int) - shade(importance, low, high)
    assert np.abs(difference).max() <= 3  # one step of the colour map, by rounding
    assert f"{kept.mean():.1%} of it stays" in words(explorer.captions[1].value)
    assert f"{1 - kept.mean():.1%} of its pixels fall out" in explorer.image.alt
    judged = (labels != IGNORE) & (seen.label != IGNORE)
    judged_right = (labels == seen.label)[judged & kept]
    assert judged_right.size  # or this test would see little
    right = judged_right.mean()
    assert f"{right:.1%} of those that stay are right" in explorer.correct.alt
    assert f"{right:.1%} right" in words(explorer.captions[3].value)
    table = {row[0]: row[1:] for row in rows(explorer.shares.value)[1:]}
    assert set(table) == {"all classes", *map(name_of, np.unique(labels))}
    for name, cells in table.items():
        own = np.array([name_of(t) == name for t in range(256)])[labels] | (name == "all classes")
        wanted = [str(own.sum()), f"{kept[own].mean():.1%}"]
        for stays in (kept, ~kept):
            of = (labels == seen.label)[own & judged & stays]
            wanted.append(f"{of.mean():.1%}" if of.size else "none")
        assert cells == wanted, name


def name_of(train_id: int) -> str:
    return NAMES[train_id] if train_id < len(NAMES) else "no class"


def test_opens_with_the_runs_own_definition():
    explorer = ImportanceExplorer(a_gallery(importance="second"))
    assert explorer.definition.value == "second"
    expect_everything(explorer, 0, "second", "source prediction", 0.3)


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_every_control_changes_pictures_and_numbers(explorer, kind):
    expect_everything(explorer, 0, "logits", "source prediction", 0.3)
    explorer.definition.value = kind
    expect_everything(explorer, 0, kind, "source prediction", 0.3)
    explorer.threshold.value = 0.1
    expect_everything(explorer, 0, kind, "source prediction", 0.1)
    explorer.picture.value = 1
    expect_everything(explorer, 1, kind, "source prediction", 0.1)
    explorer.labelling.value = "pseudo-label"
    expect_everything(explorer, 1, kind, "pseudo-label", 0.1)
    assert DEFINITIONS[kind] in explorer.importance.alt
    assert explorer.prediction.alt.startswith("pseudo-label of street 1.png")


def test_threshold_0_keeps_all_of_a_bounded_importance_and_1_next_to_nothing(explorer):
    explorer.definition.value = "probabilities"
    explorer.threshold.value = 0
    assert explorer.kept.all()
    np.testing.assert_array_equal(shown(explorer.image), explorer.shown.pixels)
    assert rows(explorer.shares.value)[1][-1] == "none"
    explorer.threshold.value = 1
    assert not explorer.kept.any()
    assert "none of those that stay are right" in explorer.correct.alt


def test_colours_say_what_is_right(gallery, explorer):
    explorer.threshold.value = 0
    labels, truth = labels_of(gallery, 0, "source prediction"), gallery.pictures[0].label
    found = shown(explorer.correct).astype(int)
    known = (truth != IGNORE) & explorer.kept
    for where, color in (
        (known & (labels == truth), BLUE),
        (known & (labels != truth), ORANGE),
    ):
        assert where.any()
        expected = 0.3 * gallery.pictures[0].pixels[where] + 0.7 * np.array(color)
        np.testing.assert_allclose(found[where], expected, atol=0.51)
    unknown = (truth == IGNORE) & explorer.kept
    np.testing.assert_array_equal(found[unknown], gallery.pictures[0].pixels[unknown])


def test_a_logit_ratio_beyond_0_to_1_widens_map_and_slider():
    gallery = a_gallery()
    logits = torch.zeros(11, H, W)
    logits[0], logits[1] = 5.0, 2.0  # 0.6
    logits[:, :10] = -4.0
    logits[0, :10] = -1.0  # 1 - 4 / 1 = -3
    logits[:, 10:20] = -1.0
    logits[0, 10:20] = 2.0  # 1 + 1 / 2 = 1.5
    gallery.source_logits = lambda picture: logits
    explorer = ImportanceExplorer(gallery)
    assert (explorer.threshold.min, explorer.threshold.max) == (-1, 1.5)
    caption = words(explorer.captions[2].value)
    assert "-1.00" in caption and "1.50" in caption
    assert f"{10 / H:.1%} above 1, {10 / H:.1%} below 0" in caption
    assert explorer.kept[10:].all() and not explorer.kept[:10].any()
    explorer.threshold.value = 1.2
    assert explorer.kept[10:20].all() and not explorer.kept[20:].any()
    explorer.image.picked = [0, 0]
    assert "1 − (−4.000) / (−1.000) = −3.000 Negative" in words(explorer.pixel.value)
    explorer.image.picked = [12, 0]
    assert "1 − (−1.000) / 2.000 = 1.500 Above 1" in words(explorer.pixel.value)
    explorer.definition.value = "first"
    assert (explorer.threshold.min, explorer.threshold.max) == (0, 1)
    assert explorer.threshold.value == 1  # as far as the slider goes
    np.testing.assert_array_equal(explorer.kept, explorer.values >= 1)


def test_picking_in_one_picture_marks_all_and_explains(gallery, explorer):
    logits = gallery.source_logits(0)
    for number, picture in enumerate(explorer.pictures):
        row, column = 3 + number, 11
        picture.picked = [row, column]
        assert all(other.picked == [row, column] for other in explorer.pictures)
        said = words(explorer.pixel.value)
        assert f"row {row}, column {column} , picked" in said
        first, second = logits[:, row, column].topk(2).values.tolist()
        importance = importance_map(logits[None])[0, row, column].item()
        digits = re.search(r"I = 1 − z₍₂₎ / z₍₁₎ = 1 − (\S+) / (\S+) = (\S+)", said).groups()
        numbers = [float(number.strip("()").replace("−", "-")) for number in digits]
        assert numbers == pytest.approx([second, first, importance], abs=6e-4)
        order = logits[:, row, column].argsort(descending=True)[:2]
        _, (_, name, *_), (_, other, *_) = rows(explorer.pixel.value)
        assert (name, other) == tuple(NAMES[t] for t in TRAIN_IDS[order])
        assert f"pseudo-label: {name_of(gallery.pictures[0].pseudo_label[row, column])}" in said
        assert f"true class: {name_of(gallery.pictures[0].label[row, column])}" in said
        assert ("stays" in said) == bool(explorer.kept[row, column])


def test_the_mouse_is_followed_and_the_picked_pixel_comes_back(explorer):
    explorer.image.picked = [1, 2]
    explorer.prediction.hovered = [30, 40]
    assert "row 30, column 40 , under the mouse" in words(explorer.pixel.value)
    explorer.threshold.value = 0.7
    assert "row 30, column 40 , under the mouse" in words(explorer.pixel.value)
    explorer.importance.hovered = [31, 40]
    explorer.prediction.hovered = []  # told late
    assert "row 31, column 40 , under the mouse" in words(explorer.pixel.value)
    explorer.importance.hovered = []
    assert "row 1, column 2 , picked" in words(explorer.pixel.value)
    explorer.image.hovered = [5, 5]
    explorer.image.picked = [6, 6]  # by an arrow key, while the mouse rests
    assert "row 6, column 6 , picked" in words(explorer.pixel.value)
    explorer.image.picked = []
    assert explorer.pixel.value == ""


def test_without_labels_it_says_so_and_shows_the_rest():
    explorer = ImportanceExplorer(a_gallery(labelled=False))
    assert text.NO_LABELS in explorer.shares.value
    assert "right of those" not in explorer.shares.value
    assert "true class: not known, no labels" in words(explorer.pixel.value)
    assert explorer.frames[3].layout.display == "none" and not explorer.correct.png
    labels = labels_of(explorer.gallery, 0, "source prediction")
    for name, pixels, share in rows(explorer.shares.value)[1:]:
        own = np.array([name_of(t) == name for t in range(256)])[labels]
        own |= name == "all classes"
        assert (pixels, share) == (str(own.sum()), f"{explorer.kept[own].mean():.1%}")


def test_every_picture_says_what_it_shows(explorer):
    for picture, what in zip(
        explorer.pictures,
        ("street 0.png", "source prediction of street 0.png", "importance by logit ratio", "right"),
        strict=True,
    ):
        assert what in picture.alt


def test_names_are_escaped():
    gallery = a_gallery()
    gallery.title = "<b>"
    assert "&lt;b&gt;" in ImportanceExplorer(gallery).note.value


# Parts


def test_bars_run_from_0_to_the_value():
    def ends(values, low, high):
        """Where bars begin and end, in per cent of their cell, of which 40 on the left hold them."""
        made = table({"a": values}, {"a": str}, {"a": (low, high)})
        return [float(end) for end in re.findall(rf"{COLORS[0]} ([\d.]+)% ([\d.]+)%", made)[0]]

    assert ends([0.25], 0, 1) == [0, 10]
    assert ends([-0.5], -1, 1) == [10, 20]
    assert ends([math.nan, 3.0], np.array([-1, -6]), np.array([1, 6])) == [20, 30]


def test_numbers_of_a_table_are_formatted_and_those_that_are_missing_said():
    columns = {"<i>a</i>": [0.5, math.nan, None], "b": ["x", "y", "z"]}
    made = table(columns, {"<i>a</i>": "{:.1f}".format}, styles={1: "color:red"}, missing="no")
    assert rows(made) == [["a", "b"], ["0.5", "x"], ["no", "y"], ["no", "z"]]
    assert "<i>a</i>" in made
    assert re.findall('<tr style="([^"]*)"', made) == ["", "", "color:red", ""]


def test_colour_scale_has_the_maps_colours():
    scale = color_scale(-0.5, 2)
    assert words(scale) == "-0.50 2.00"
    ends = shade(np.array([[0.0, 1.0]]))[0]
    assert f"right,rgb{tuple(ends[0].tolist())}" in scale
    assert f"rgb{tuple(ends[1].tolist())})" in scale


# The static twin


def test_page_shows_what_the_explorer_shows(gallery):
    explorer = ImportanceExplorer(
        gallery, picture=1, definition="probabilities", labelling="pseudo-label", threshold=0.2,
        pixel=(7, 9),
    )  # fmt: skip
    expect_everything(explorer, 1, "probabilities", "pseudo-label", 0.2)
    said = expect_page(explorer, explorer.pictures)
    for wanted in (
        gallery.title,
        "picture: picture 2",
        "importance: probability ratio (paper)",
        "threshold: 0.2",
        "pixel: row 7, column 9 , picked",
        words(explorer.shares.value),
        *(words(caption.value) for caption in explorer.captions),
    ):
        assert wanted in said
    # The cross is drawn into every picture, and its middle is left free.
    scale = explorer.image.marked().shape[1] // W
    for picture in explorer.pictures:
        found, bare = picture.marked(), shown(picture).repeat(scale, 0).repeat(scale, 1)
        rows_, columns = np.nonzero((found != bare).any(axis=2))
        assert [rows_.mean() / scale, columns.mean() / scale] == pytest.approx([7.5, 9.5], abs=0.3)
        assert (found[7 * scale : 8 * scale, 9 * scale : 10 * scale] == shown(picture)[7, 9]).all()


def test_page_without_labels_says_so():
    explorer = ImportanceExplorer(a_gallery(labelled=False))
    assert text.NO_LABELS in expect_page(explorer, explorer.pictures[:3])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"definition": "guess"}, "'guess': there are logit ratio (published code), probability"),
        ({"labelling": "truth"}, "'truth': there are source prediction, pseudo-label"),
        ({"picture": 7}, "picture 7: there are 0: street 0.png, 1: street 1.png"),
        ({"pixel": (H, 0)}, f"have {H} rows and {W} columns"),
        ({"threshold": 3}, "threshold 3: it goes from -1 to 2"),
        ({"definition": "first", "threshold": 1.5}, "threshold 1.5: it goes from 0 to 1"),
    ],
)
def test_what_there_is_not_is_refused(gallery, wrong, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        ImportanceExplorer(gallery, **wrong)
