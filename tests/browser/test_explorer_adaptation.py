"""The adaptation explorer on a page: every control and click, against the library's answer."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from iapc_lib.classes import IGNORE, NAMES, colorize
from iapc_lib.explorers.adaptation.facts import PictureAtStep, picture_at_step
from iapc_lib.explorers.adaptation.views import available_views, draw_view
from iapc_lib.explorers.gallery import Gallery, open_gallery
from iapc_lib.explorers.parts import class_name
from tests.browser.views import Picture, View, eventually, numbers

NOTEBOOK = "notebooks/explorers/adaptation.ipynb"

at_step = cache(picture_at_step)


@pytest.fixture(scope="module")
def plain(run) -> Gallery:
    """The other run of the notebook: self-training."""
    return open_gallery(run, method="self_training")


def set_controls(view: View, gallery: Gallery, picture: int, place: int) -> None:
    """Chooses a picture, and with the keys the step at this place of the gallery's steps."""
    view.choose("picture", f"picture {picture + 1}")
    view.press("step", "Home")
    view.press_until("step", "ArrowRight", str(gallery.steps[place]))


def student_picture(view: View, gallery: Gallery, picture: int, step: int) -> Picture:
    name = gallery.pictures[picture].name
    return view.picture(f"{name}: students' predictions: left IAPC, step {step}; ")


@pytest.mark.parametrize(("picture", "place"), [(0, 0), (0, 3), (1, -1)])
def test_predictions_and_numbers_follow_picture_and_step(view, gallery, plain, picture, place):
    place %= len(gallery.steps)
    step, shown = gallery.steps[place], gallery.pictures[picture]
    set_controls(view, gallery, picture, place)
    now, other = at_step(gallery, picture, step), at_step(plain, picture, step)
    students = student_picture(view, gallery, picture, step)
    students.expect_pixels(colorize(now.student))
    students.expect_pixels(colorize(other.student), right=True)
    view.picture(f"{shown.name}: memory network's prediction, step {step}").expect_pixels(
        colorize(now.memory)
    )
    assert view.readout("step") == str(step)
    columns = ([at_step(gallery, picture, 0)] if step else []) + [now, other]
    update = next((e for e in gallery.history if e["step"] == step and "loss" in e), {})

    def expect_numbers() -> None:
        expect_scores(view, columns, shown)
        expect_terms(view, now, update, step)
        expect_bars(view, columns)
        expect_charts(view, gallery, now, step)

    eventually(view.page, expect_numbers)


def expect_scores(view: View, columns: list[PictureAtStep], shown) -> None:
    rows = {cells[0]: cells[1:] for cells in view.table("pixels right (%)")}
    labelled, pseudo = shown.label != IGNORE, shown.pseudo_label != IGNORE
    for said, expected in (
        ("mIoU (%)", [one.miou for one in columns]),
        (
            "pixels right (%)",
            [100 * (one.student == shown.label)[labelled].mean() for one in columns],
        ),
        (
            "agrees with the pseudo-label (%)",
            [100 * (one.student == shown.pseudo_label)[pseudo].mean() for one in columns],
        ),
    ):
        assert [float(cell) for cell in rows[said]] == pytest.approx(expected, abs=0.051), said


def expect_terms(view: View, now: PictureAtStep, update: dict, step: int) -> None:
    (heads, *rows) = view.table("sum of the terms")
    columns = [now.terms, update] if update else [now.terms]
    assert heads[0] == f"objective, step {step}" and len(heads) == 1 + len(columns)
    names = [
        "loss",
        "importance_aware",
        "prototype_symmetric_label",
        "prototype_symmetric_similarity",
        "prototype_enhanced",
        "information_maximization",
        "importance",
        "agreement",
    ]
    assert len(rows) == len(names)
    for (_, *cells), name in zip(rows, names, strict=True):
        expected = [found[name] for found in columns]
        assert [float(cell) for cell in cells] == pytest.approx(expected, abs=2e-4), name


def expect_bars(view: View, columns: list[PictureAtStep]) -> None:
    _, *rows = view.table("IoU on this picture")
    assert {name for name, *_ in rows} == {NAMES[t] for one in columns for t in one.iou}
    for name, *cells in rows:
        expected = [one.iou.get(NAMES.index(name)) for one in columns]
        found = [None if cell == "absent" else float(cell) for cell in cells]
        assert found == [None if iou is None else pytest.approx(iou, abs=0.051) for iou in expected]


def expect_charts(view: View, gallery: Gallery, now: PictureAtStep, step: int) -> None:
    def of_iapc(title: str) -> float:
        chart = f'.widget-html-content svg[aria-label^="{title}; at step {step}: "]'
        label = view.root.locator(chart).get_attribute("aria-label")
        said = dict(part.rsplit(": ", 1) for part in label.split("; ")[1:])
        (value,) = (float(value) for name, value in said.items() if name.endswith("IAPC"))
        return value

    dev = {e["step"]: e["watched"]["dev_miou"] for e in gallery.history if "watched" in e}
    measured = dev[max(s for s in dev if s <= step)]
    assert of_iapc("mIoU on dev (%)") == pytest.approx(measured, rel=1e-3)
    assert of_iapc("mIoU of this picture (%)") == pytest.approx(now.miou, rel=1e-3)


def test_the_fourth_picture_shows_what_is_chosen(view, gallery, plain):
    step, shown = gallery.steps[2], gallery.pictures[1]
    set_controls(view, gallery, 1, 2)
    now, first, other = (
        at_step(gallery, 1, step),
        at_step(gallery, 1, 0),
        at_step(plain, 1, step),
    )
    for name in available_views(labelled=True, compared=True):
        view.choose("4th picture", name)
        pixels, text, _ = draw_view(name, shown, now, first, other)
        view.picture(text).expect_pixels(pixels)


def expect_pixel(view: View, gallery: Gallery, picture: int, pixel: tuple[int, int]) -> None:
    """Waits until the page tells the classes of this pixel at every step."""
    shown = gallery.pictures[picture]
    steps = [at_step(gallery, picture, step) for step in gallery.steps]

    def look() -> None:
        box = view.widget(f"pixel: row {pixel[0]}, column {pixel[1]}")
        text = " ".join(box.inner_text().split())
        assert f"pseudo-label {class_name(shown.pseudo_label[pixel])} " in text
        assert f" label {class_name(shown.label[pixel])} " in text
        assert view.rows(box.locator("table"))[1:] == [
            [str(each.step), NAMES[each.student[pixel]], NAMES[each.memory[pixel]]]
            for each in steps
        ]

    eventually(view.page, look)


def test_clicks_and_keys_tell_of_pixels(view, gallery):
    set_controls(view, gallery, 1, 1)
    step, name = gallery.steps[1], gallery.pictures[1].name
    view.choose("4th picture", "pseudo-label")
    student = student_picture(view, gallery, 1, step)
    pictures = [
        student,
        view.picture(f"{name}: memory network's prediction, step {step}"),
        view.picture(f"pseudo-label of {name}"),
    ]
    first, last = (at_step(gallery, 1, gallery.steps[place]).student for place in (0, -1))
    changed = tuple(map(int, np.argwhere(first != last)[0])) if (first != last).any() else (9, 9)
    for picture, pixel in zip(pictures, (changed, (60, 5), (0, 127)), strict=True):
        picture.click(*pixel)
        expect_pixel(view, gallery, 1, pixel)
        assert {each.cross() for each in pictures} == {pixel}
    student.press("ArrowDown", "Shift+ArrowLeft")
    expect_pixel(view, gallery, 1, (1, 117))


def test_the_swipe_compares_the_runs(view, gallery):
    set_controls(view, gallery, 0, 1)
    student = student_picture(view, gallery, 0, gallery.steps[1])
    right = student.stage.locator("img.iapc-right")

    def clipped(share: str) -> None:
        clip = right.evaluate("image => getComputedStyle(image).clipPath")
        # A mouse stands on whole pixels.
        assert numbers(clip)[-1] == pytest.approx(float(share.rstrip("%")), abs=0.3)

    seam = student.stage.locator(".iapc-seam").bounding_box()
    frame = student.stage.bounding_box()
    middle = (seam["x"] + seam["width"] / 2, seam["y"] + 5)
    student.page.mouse.move(*middle)
    student.page.mouse.down()
    student.page.mouse.move(frame["x"] + 0.75 * frame["width"], middle[1], steps=4)
    student.page.mouse.up()
    eventually(view.page, lambda: clipped("75%"))
    student.swipe().press("End")

    eventually(view.page, lambda: clipped("100%"))
    student.swipe().fill("0.25")
    eventually(view.page, lambda: clipped("25%"))


def test_play_goes_to_the_last_step(view, gallery):
    set_controls(view, gallery, 0, len(gallery.steps) - 3)
    view.root.locator(".widget-play button").first.click()
    last = gallery.steps[-1]
    student_picture(view, gallery, 0, last).expect_pixels(
        colorize(at_step(gallery, 0, last).student)
    )
    assert numbers(view.readout("step")) == [last]
