"""Ways of looking at a student's prediction: against label, pseudo-label, its start, another run."""

from __future__ import annotations

import html
from typing import NamedTuple

import numpy as np

from iapc_lib.classes import IGNORE, colorize
from iapc_lib.explorers.adaptation.facts import PictureAtStep
from iapc_lib.explorers.gallery import Picture
from iapc_lib.explorers.parts import BLUE, ORANGE, marked, square


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
        *(["label", "right and wrong", "corrected and broken"] if labelled else []),
        "pseudo-label",
        "agreement with the pseudo-label",
        *(["difference of the two runs"] if compared else []),
    ]


def draw_view(
    name: str,
    picture: Picture,
    now: PictureAtStep,
    first: PictureAtStep,
    other: PictureAtStep | None = None,
) -> View:
    """Draws one of `available_views`.

    Args:
        name: of the view.
        picture: that the students see.
        now: whose student is shown.
        first: at the start of the run, for `corrected and broken`.
        other: of another run, for the difference.
    """
    if name in ("label", "pseudo-label"):
        labels = picture.label if name == "label" else picture.pseudo_label
        return View(colorize(labels), f"{name} of {picture.name}", name)
    if name == "right and wrong":
        among, meanings = picture.label != IGNORE, ("right", "wrong")
        blue, orange = right_and_wrong(picture, now)
    elif name == "corrected and broken":
        among = picture.label != IGNORE
        meanings = (f"corrected since step {first.step}", "broken")
        blue, orange = corrected_and_broken(picture, first, now)
    elif name == "agreement with the pseudo-label":
        among, agree = picture.pseudo_label != IGNORE, now.student == picture.pseudo_label
        meanings = ("student and pseudo-label agree", "disagree")
        blue, orange = among & agree, among & ~agree
    else:
        agree = now.student == other.student
        among, meanings = np.ones_like(agree), ("the two students agree", "disagree")
        blue, orange = agree, ~agree

    grey = np.repeat(picture.pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    said = [
        f"{meaning} {where.sum() / max(among.sum(), 1):.1%}"
        for where, meaning in zip((blue, orange), meanings, strict=True)
    ]
    legend = " &nbsp; ".join(
        square(color) + html.escape(words)
        for color, words in zip((BLUE, ORANGE), said, strict=True)
    )
    text = f"{picture.name}: {said[0]} (blue), {said[1]} (orange)"
    return View(marked(grey, blue, orange), text, legend)


def right_and_wrong(picture: Picture, now: PictureAtStep) -> tuple[np.ndarray, np.ndarray]:
    """Labelled pixels that the student gets right, and wrong: two (H, W) bool."""
    labelled, right = picture.label != IGNORE, now.student == picture.label
    return labelled & right, labelled & ~right


def corrected_and_broken(
    picture: Picture, first: PictureAtStep, now: PictureAtStep
) -> tuple[np.ndarray, np.ndarray]:
    """Labelled pixels that became right since the first step, and wrong: two (H, W) bool."""
    was_right, was_wrong = right_and_wrong(picture, first)
    right, wrong = right_and_wrong(picture, now)
    return was_wrong & right, was_right & wrong
