"""Ways of looking at a student's prediction: against label, pseudo-label, its start, another run."""

from __future__ import annotations

import html
from typing import NamedTuple

import numpy as np

from iapc_lib.classes import IGNORE, colorize
from iapc_lib.explorers.adaptation.facts import Look
from iapc_lib.explorers.gallery import Picture
from iapc_lib.explorers.parts import BLUE, ORANGE, blend, square


class View(NamedTuple):
    """A picture and what it shows."""

    pixels: np.ndarray
    """(H, W, 3) uint8 RGB."""
    text: str
    """Plain, for those who cannot see it, and as a title."""
    legend: str
    """HTML: what its colours mean."""


def available_views(labelled: bool, compared: bool) -> list[str]:
    """Names of the views.

    Args:
        labelled: whether the pictures have labels.
        compared: whether there is another run.
    """
    return [
        *(["label", "right and wrong", "mended and spoiled"] if labelled else []),
        "pseudo-label",
        "agreement with the pseudo-label",
        *(["difference of the two runs"] if compared else []),
    ]


def draw_view(
    name: str, picture: Picture, look: Look, first: Look, other: Look | None = None
) -> View:
    """Draws one of `available_views`.

    Args:
        name: of the view.
        picture: that was looked at.
        look: whose student is shown.
        first: the look at the start of the run, for `mended and spoiled`.
        other: the look of another run, for the difference.
    """
    if name in ("label", "pseudo-label"):
        labels = picture.label if name == "label" else picture.pseudo_label
        return View(colorize(labels), f"{name} of {picture.name}", name)
    if name == "right and wrong":
        among, meanings = picture.label != IGNORE, ("right", "wrong")
        blue, orange = right_and_wrong(picture, look)
    elif name == "mended and spoiled":
        among = picture.label != IGNORE
        meanings = (f"mended since step {first.step}", "spoiled")
        blue, orange = mended_and_spoiled(picture, first, look)
    elif name == "agreement with the pseudo-label":
        among, agree = picture.pseudo_label != IGNORE, look.student == picture.pseudo_label
        meanings = ("student and pseudo-label agree", "disagree")
        blue, orange = among & agree, among & ~agree
    else:
        agree = look.student == other.student
        among, meanings = np.ones_like(agree), ("the two students agree", "disagree")
        blue, orange = agree, ~agree
    return _marked(picture, blue, orange, among, meanings)


def right_and_wrong(picture: Picture, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Labelled pixels that the student gets right, and wrong: two (H, W) bool."""
    labelled, right = picture.label != IGNORE, look.student == picture.label
    return labelled & right, labelled & ~right


def mended_and_spoiled(picture: Picture, first: Look, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Labelled pixels that became right since the first look, and wrong: two (H, W) bool."""
    (was_right, was_wrong), (right, wrong) = (
        right_and_wrong(picture, each) for each in (first, look)
    )
    return was_wrong & right, was_right & wrong


def _marked(
    picture: Picture,
    blue: np.ndarray,
    orange: np.ndarray,
    among: np.ndarray,
    meanings: tuple[str, str],
) -> View:
    """The picture in grey with two kinds of pixels marked by colour.

    Args:
        picture: in grey.
        blue: (H, W) bool, the one kind.
        orange: (H, W) bool, the other.
        among: (H, W) bool, the pixels of which both are shares.
        meanings: of blue and orange.
    """
    pixels = np.repeat(picture.pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    said, legend = [], []
    for where, color, meaning in zip((blue, orange), (BLUE, ORANGE), meanings, strict=True):
        pixels = np.where(where[..., None], blend(pixels, np.array(color, np.uint8), 0.65), pixels)
        said.append(f"{meaning} {where.sum() / max(among.sum(), 1):.1%}")
        legend.append(square(color) + html.escape(said[-1]))
    text = f"{picture.name}: {said[0]} (blue), {said[1]} (orange)"
    return View(pixels, text, " &nbsp; ".join(legend))
