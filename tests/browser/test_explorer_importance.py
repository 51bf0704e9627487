"""The importance explorer on a page: every control and click, against the library's answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from iapc_lib.classes import IGNORE, NAMES, colorize
from iapc_lib.explorers.importance.facts import (
    DEFINITIONS,
    correctness_picture,
    importance_of,
    shown_range,
)
from iapc_lib.explorers.parts import shade
from iapc_lib.method.importance import importance_map
from tests.browser.views import eventually, numbers

NOTEBOOK = "notebooks/explorers/importance.ipynb"


class Setting(NamedTuple):
    """What the controls say."""

    picture: int = 0
    definition: str = "logits"
    labelling: str = "source prediction"
    threshold: float = 0.3


SETTINGS = [
    Setting(),
    Setting(threshold=0.62),
    Setting(definition="probabilities", threshold=0.62),
    Setting(1, "first", threshold=0.4),
    Setting(1, "second", "pseudo-label", 0.85),
    Setting(0, "entropy", "pseudo-label", 0.2),
    Setting(0, "logits", "pseudo-label", 0.5),
]


def set_controls(view, gallery, setting: Setting) -> None:
    view.choose("picture", f"picture {setting.picture + 1}")
    view.choose("importance", DEFINITIONS[setting.definition])
    view.choose("labels", setting.labelling)
    view.slide("threshold", f"{setting.threshold:g}")


class Expected:
    """What the library says of a setting."""

    def __init__(self, gallery, setting: Setting):
        self.shown = gallery.pictures[setting.picture]
        self.logits = gallery.source_logits(setting.picture)
        self.labels = self.shown.pseudo_label
        if setting.labelling == "source prediction":
            self.labels = gallery.source.train_ids(self.logits.argmax(dim=0))
        if setting.definition == "entropy":
            self.importance = importance_of(self.logits, "entropy")
        else:
            self.importance = importance_map(self.logits[None], setting.definition)[0].numpy()
        self.kept = self.importance >= setting.threshold

    def shares(self) -> dict[str, list[float]]:
        """By class: pixels, and in per cent: kept, right of the kept and of the dropped ones."""
        known = (self.labels != IGNORE) & (self.shown.label != IGNORE)
        right = self.labels == self.shown.label
        rows = {"all classes": np.ones_like(known)}
        for train_id in np.unique(self.labels):
            name = "no class" if train_id == IGNORE else NAMES[train_id]
            rows[name] = self.labels == train_id
        found = {}
        for name, where in rows.items():
            found[name] = [where.sum(), 100 * self.kept[where].mean()]
            for judged in (where & known & self.kept, where & known & ~self.kept):
                found[name].append(100 * right[judged].mean() if judged.any() else np.nan)
        return found


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s.definition}-{s.threshold:g}")
def test_pictures_and_shares_follow_every_control(view, gallery, setting):
    set_controls(view, gallery, setting)
    expected = Expected(gallery, setting)
    name, definition = expected.shown.name, DEFINITIONS[setting.definition]
    pixels, colors, kept = (
        expected.shown.pixels,
        colorize(expected.labels),
        expected.kept[..., None],
    )
    view.picture(f"{name}: ").expect_pixels(np.where(kept, pixels, pixels // 4))
    prediction = view.picture(f"{setting.labelling} of {name}: ")
    prediction.expect_pixels(np.where(kept, colors, colors // 4))
    assert f" {1 - kept.mean():.1%} " in prediction.alt
    importance = view.picture(f"importance by {definition} of {name}")
    importance.expect_pixels(shade(expected.importance, *shown_range(expected.importance)))
    assert f"mean {expected.importance.mean():.2f}" in importance.alt
    view.picture(f"{setting.labelling} of {name}, right (blue)").expect_pixels(
        correctness_picture(expected.shown, expected.labels, expected.kept)
    )

    def look() -> None:
        rows = {cells[0]: cells[1:] for cells in view.table("labelled as")[1:]}
        assert rows.keys() == expected.shares().keys()
        for row, values in expected.shares().items():
            found = [np.nan if cell == "none" else float(cell.rstrip("%")) for cell in rows[row]]
            np.testing.assert_allclose(found, values, rtol=0, atol=0.051, err_msg=row)

    eventually(view.page, look)


def expect_pixel(view, expected: Expected, row: int, column: int, how: str, threshold: float):
    """Waits until the page explains this pixel, with the library's numbers."""
    leading = expected.logits[:, row, column].topk(2)
    probabilities = expected.logits[:, row, column].softmax(dim=0)

    def look() -> None:
        box = view.widget(f"pixel: row {row}, column {column}")
        text = box.inner_text()
        assert how in text
        rows = view.table("leading class")[1:]
        for rank, cells in enumerate(rows):
            channel = int(leading.indices[rank])
            assert cells[:2] == [f"{rank + 1}", NAMES[channel]]
            logit, probability = numbers(" ".join(cells[2:]))
            assert logit == pytest.approx(float(leading.values[rank]), rel=6e-3, abs=6e-4)
            assert probability == pytest.approx(float(probabilities[channel]), rel=6e-3, abs=6e-4)
        (formula,) = (line for line in text.splitlines() if line.startswith("I = 1 − z₍₂₎ / z₍₁₎"))
        value = expected.importance[row, column]
        assert numbers(formula)[-1] == pytest.approx(float(value), rel=6e-3, abs=6e-4)
        assert ("stays" in text) == (value >= threshold)
        for said, labels in (
            ("pseudo-label", expected.shown.pseudo_label),
            ("true class", expected.shown.label),
        ):
            train_id = labels[row, column]
            assert f"{said}: {'no class' if train_id == IGNORE else NAMES[train_id]}" in text

    eventually(view.page, look)


def test_a_click_and_the_mouse_explain_pixels(view, gallery):
    setting = Setting(1)
    set_controls(view, gallery, setting)
    expected = Expected(gallery, setting)
    image = view.picture(f"{expected.shown.name}: ")
    prediction = view.picture(f"source prediction of {expected.shown.name}: ")
    surest, least = (
        np.unravel_index(place, gallery.size)
        for place in (expected.importance.argmax(), expected.importance.argmin())
    )
    for picture, (row, column) in ((image, surest), (prediction, least), (image, (40, 100))):
        picture.click(row, column)
        view.page.mouse.move(0, 0)
        expect_pixel(view, expected, row, column, "picked", setting.threshold)
        assert image.cross() == prediction.cross() == (row, column)
    prediction.hover(10, 20)
    expect_pixel(view, expected, 10, 20, "under the mouse", setting.threshold)
    view.page.mouse.move(0, 0)
    expect_pixel(view, expected, 40, 100, "picked", setting.threshold)
    image.press("ArrowLeft", "Shift+ArrowUp")
    expect_pixel(view, expected, 30, 99, "picked", setting.threshold)


def test_sliders_move_with_the_keys(view, gallery):
    set_controls(view, gallery, Setting())
    view.press_until("threshold", "ArrowRight", "0.33")
    expected = Expected(gallery, Setting(threshold=0.33))
    pixels, kept = expected.shown.pixels, expected.kept[..., None]
    view.picture(f"{expected.shown.name}: ").expect_pixels(np.where(kept, pixels, pixels // 4))
