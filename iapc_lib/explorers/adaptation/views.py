"""Ways of looking at a student's prediction: against label, pseudo-label, its start, another run."""

import numpy as np

from iapc_lib.classes import IGNORE, colorize
from iapc_lib.explorers.adaptation.facts import PictureAtStep
from iapc_lib.explorers.gallery import Picture
from iapc_lib.explorers.parts import legend, marked


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
) -> tuple[np.ndarray, str, str]:
    """Draws one of `available_views`.

    Args:
        name: of the view.
        picture: that the students see.
        now: whose student is shown.
        first: at the start of the run, for `corrected and broken`.
        other: of another run, for the difference.

    Returns:
        (H, W, 3) uint8 RGB; what it shows, in plain text; HTML that says what its colours mean.
    """
    if name in ("label", "pseudo-label"):
        labels = picture.label if name == "label" else picture.pseudo_label
        return colorize(labels), f"{name} of {picture.name}", name
    if name == "right and wrong":
        among, blue = picture.label != IGNORE, now.student == picture.label
        orange, meanings = ~blue, ("right", "wrong")
    elif name == "corrected and broken":
        right, was_right = now.student == picture.label, first.student == picture.label
        among, blue, orange = picture.label != IGNORE, right & ~was_right, was_right & ~right
        meanings = (f"corrected since step {first.step}:", "broken")
    elif name == "agreement with the pseudo-label":
        among, blue = picture.pseudo_label != IGNORE, now.student == picture.pseudo_label
        orange, meanings = ~blue, ("student and pseudo-label agree", "disagree")
    else:
        blue = now.student == other.student
        among, orange = np.ones_like(blue), ~blue
        meanings = ("the two students agree", "disagree")

    blue, orange = among & blue, among & orange
    said = [
        f"{meaning} {where.sum() / max(among.sum(), 1):.1%}"
        for where, meaning in zip((blue, orange), meanings, strict=True)
    ]
    grey = np.repeat(picture.pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    text = f"{picture.name}: {said[0]} (blue), {said[1]} (orange)"
    return marked(grey, blue, orange), text, legend(*said)
