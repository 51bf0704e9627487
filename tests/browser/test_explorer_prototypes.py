"""The prototypes explorer on a page: every control, click and box, against the library's answer."""

from __future__ import annotations

import numpy as np
import pytest

from iapc_lib.classes import IGNORE, NAMES, PALETTE, colorize
from iapc_lib.explorers.parts import class_name, shade
from iapc_lib.explorers.prototypes.facts import (
    Contrast,
    agreement_picture,
    pixel_facts,
    prototype_contrast,
    selection_picture,
)
from iapc_lib.explorers.prototypes.plane import Drawing, draw, project
from iapc_lib.explorers.terms import terms_seen
from iapc_lib.method.objective import TERMS
from tests.browser.views import eventually, numbers

NOTEBOOK = "notebooks/explorers/prototypes.ipynb"
KINDS = ("nearest prototype", "pseudo-label", "true class")


@pytest.fixture
def start(view, gallery) -> Contrast:
    """The first picture at the first step, nothing selected."""
    view.choose("picture", "picture 1")
    view.press("step", "Home")
    view.choose("colours", KINDS[0])
    view.root.get_by_role("button", name="clear the selection").click()
    contrast = prototype_contrast(gallery, 0, gallery.steps[0])
    view.picture(contrast.picture.name).expect_pixels(contrast.picture.pixels)
    return contrast


def drawing(contrast: Contrast, cells=None, kind: str = KINDS[0]) -> Drawing:
    """The plane, with these cells selected."""
    projected = project(contrast.features, contrast.prototypes[contrast.present])
    labels = dict(
        zip(
            KINDS,
            (contrast.nearest, contrast.picture.pseudo_label, contrast.picture.label),
            strict=True,
        )
    )[kind]
    labels = contrast.on_cells(labels)
    stars = contrast.train_ids[contrast.present]
    return draw(
        projected,
        np.where((labels == IGNORE)[:, None], 170, PALETTE[labels]),
        PALETTE[stars],
        [NAMES[train_id] for train_id in stars],
        None if cells is None else np.isin(np.arange(len(projected.points)), cells),
    )


def expect_labels(view, contrast: Contrast) -> None:
    name, agree = contrast.picture.name, contrast.agree
    assigned = view.picture(f"class of the nearest prototype in {name}")
    assigned.expect_pixels(colorize(contrast.nearest))
    agreement = view.picture(
        f"nearest prototype and pseudo-label agree in {agree.mean():.1%} of the pixels of {name}"
    )
    agreement.expect_pixels(agreement_picture(contrast))

    known, right = (
        contrast.picture.label != IGNORE,
        contrast.picture.pseudo_label == contrast.picture.label,
    )
    shares = [100 * right[known & where].mean() for where in (agree, ~agree)]

    def look() -> None:
        found = numbers(view.widget("Prototype and pseudo-label agree in").inner_text())
        assert found == pytest.approx([100 * agree.mean(), *shares], abs=0.051)

    eventually(view.page, look)


def expect_similarity(view, contrast: Contrast, name: str) -> None:
    values, low, high = contrast.similarity_map(NAMES.index(name))
    picture = view.picture(
        f"cosine similarity to the prototype of {name} from {low:.2f} (dark blue) to {high:.2f}"
    )
    picture.expect_pixels(shade(values, low, high))


def expect_pixel(view, gallery, contrast: Contrast, pixel: tuple[int, int]) -> None:
    """Waits until the page tells everything of this pixel."""
    facts, where = pixel_facts(contrast, pixel), f"pixel: row {pixel[0]}, column {pixel[1]},"

    def look() -> None:
        box = view.widget(where)
        cell = contrast.cells[pixel]
        row, column = divmod(cell, contrast.similarity.shape[2])
        assert f"in feature cell {row}, {column}" in box.inner_text()
        assert dict(view.table("these two")[1:]) == {
            "nearest prototype": class_name(facts.nearest),
            "pseudo-label": class_name(facts.pseudo_label),
            "these two": "agree" if facts.agree else "disagree",
            "student's prediction": class_name(facts.predicted),
            "true class": class_name(contrast.picture.label[pixel]),
        }
        bars = view.widget("cosine similarity to the prototype of")
        _, *found = view.rows(bars.locator("table"))
        present = contrast.present
        assert [name for name, _ in found] == [NAMES[t] for t in contrast.train_ids[present]]
        similarity = [float(value) for _, value in found]
        expected = contrast.similarity.flatten(1)[present, cell].tolist()
        assert similarity == pytest.approx(expected, abs=6e-4)
        assert bars.locator("b", has_text=class_name(facts.nearest)).count()
        expected = [
            [
                TERMS[term.name].replace("_", ""),
                f"{term.weight:g}",
                "yes" if term.seen else "no",
                term.why,
            ]
            for term in terms_seen(facts, gallery.losses)
        ]
        assert view.table("what it wants, or why not")[1:] == expected

    eventually(view.page, look)


def test_pictures_follow_picture_step_and_class(view, gallery, start):
    expect_labels(view, start)
    for picture, keys, step in (
        (0, ["End"], gallery.steps[-1]),
        (1, [], gallery.steps[-1]),
        (1, ["Home", "ArrowRight"], gallery.steps[1]),
    ):
        view.choose("picture", f"picture {picture + 1}")
        view.press("step", *keys)
        contrast = prototype_contrast(gallery, picture, step)
        view.picture(contrast.picture.name).expect_pixels(contrast.picture.pixels)
        expect_labels(view, contrast)
        assert view.readout("step") == str(step)
        absent = [NAMES[t] for t in contrast.train_ids[~contrast.present]]
        present = [NAMES[t] for t in contrast.train_ids[contrast.present]]
        for name in (present[0], present[-1], absent[0]):
            view.choose("similarity", name)
            expect_similarity(view, contrast, name)
        middle = tuple(side // 2 for side in gallery.size)
        view.picture(contrast.picture.name).click(*middle)
        expect_pixel(view, gallery, contrast, middle)


def test_clicks_and_keys_tell_of_pixels(view, gallery, start):
    image = view.picture(start.picture.name)
    others = [
        view.picture("class of the nearest prototype in "),
        view.picture("cosine similarity to the prototype of "),
        view.picture("nearest prototype and pseudo-label agree in "),
    ]
    agrees, differs = (np.argwhere(where)[7] for where in (start.agree, ~start.agree))
    for picture, pixel in zip([image, *others], (agrees, differs, (0, 0), (63, 127)), strict=True):
        pixel = tuple(map(int, pixel))
        picture.click(*pixel)
        expect_pixel(view, gallery, start, pixel)
        assert {shown.cross() for shown in (image, *others)} == {pixel}
    image.press("ArrowUp", "Shift+ArrowLeft")
    expect_pixel(view, gallery, start, (62, 117))


def test_the_plane_is_coloured_as_chosen_and_its_dots_pick_pixels(view, gallery, start):
    for kind in reversed(KINDS):
        view.choose("colours", kind)
        plane = view.picture(f"PCA of the student's features, coloured by {kind}, with")
        plane.expect_pixels(drawing(start, kind=kind).pixels)
    dots = drawing(start).dots
    # The dot farthest from all others: a click hits it and no other.
    apart = np.square(dots[:, None] - dots[None]).sum(axis=2)
    np.fill_diagonal(apart, apart.max())
    cell = int(apart.min(axis=1).argmax())
    plane.click(*dots[cell])
    pixel = tuple(start.middles[cell].tolist())
    expect_pixel(view, gallery, start, pixel)
    assert view.picture(start.picture.name).cross() == pixel
    view.picture(start.picture.name).click(5, 5)
    expect_pixel(view, gallery, start, (5, 5))
    assert plane.cross() == tuple(dots[start.cells[5, 5]].tolist())


def expect_selected(view, contrast: Contrast, cells: np.ndarray) -> None:
    """Waits until exactly these cells are marked in the picture, the plane and the sentence."""
    image = view.picture(f"{contrast.picture.name}, {len(cells)} feature cells selected")
    image.expect_pixels(selection_picture(contrast, cells))
    plane = view.picture("PCA of the student's features")
    plane.expect_pixels(drawing(contrast, cells).pixels)
    agree = contrast.agree[np.isin(contrast.cells, cells)].mean()

    def look() -> None:
        said = numbers(view.widget("cells are selected").inner_text())
        assert said[:2] == [len(cells), len(contrast.middles)]
        assert said[-1] == round(100 * agree)
        assert sum(said[2:-1]) == len(cells)

    eventually(view.page, look)


def test_a_box_selects_cells_in_picture_and_plane(view, gallery, start):
    image, plane = view.picture(start.picture.name), view.picture("PCA of the student's features")
    image.drag((10, 20), (30, 70))
    expect_selected(view, start, np.unique(start.cells[10:31, 20:71]))

    dots = drawing(start).dots
    top, left = np.quantile(dots, 0.2, axis=0).astype(int).tolist()
    bottom, right = np.quantile(dots, 0.7, axis=0).astype(int).tolist()
    plane.drag((top, left), (bottom, right))
    rows, columns = dots.T
    inside = (rows >= top) & (rows <= bottom) & (columns >= left) & (columns <= right)
    expect_selected(view, start, np.flatnonzero(inside))
    assert image.box() is None

    view.root.get_by_role("button", name="clear the selection").click()
    image.expect_pixels(start.picture.pixels)
    plane.expect_pixels(drawing(start).pixels)
    assert view.widget("No cells are selected").count() == 1
