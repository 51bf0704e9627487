"""What the loss playground says in words and tables, as HTML."""

import html
import math

import numpy as np

from iapc_lib.classes import NAMES
from iapc_lib.explorers.parts import block, swatch, table
from iapc_lib.explorers.playground.facts import CLASSES, PIXELS, LossReport, ToyPixels
from iapc_lib.explorers.terms import loss_symbol, terms_seen
from iapc_lib.method.settings import Losses

CLASS_NAMES = [NAMES[train_id] for train_id in CLASSES.train_ids]
NOT_FINITE = block(
    "<b>The objective is not finite, so no step can be taken: the importance divides by the source "
    "network's largest logit <i>s</i>, and that is 0 at a pixel.</b>"
)
CHOSEN = "background:#fff3c4;color:black"
"""CSS of the chosen pixel's row."""


def pixels_table(report: LossReport, chosen: int) -> str:
    """What student, source network and prototypes say of every pixel, a row each."""
    facts = report.pixels
    probabilities = report.probabilities.tolist()
    columns = {
        "pixel": [f"<b>{name}</b>" for name in PIXELS],
        "pseudo-label": [swatch(one.pseudo_label) for one in facts],
        "<i>I</i>": [one.importance for one in facts],
        "predicted": [swatch(one.predicted) for one in facts],
        f"<i>p</i> of {', '.join(CLASS_NAMES)}": [
            " ".join(f"{share:.2f}" for share in shares) for shares in probabilities
        ],
        "nearest prototype (cosine)": [
            f"{swatch(one.nearest)} ({cosine:.3f})"
            for one, cosine in zip(facts, report.similarity.amax(dim=1), strict=True)
        ],
        "agrees": ["yes" if one.agree else "no" for one in facts],
    }
    return table(columns, {"<i>I</i>": "{:.2f}".format}, styles={chosen: CHOSEN})


def losses_table(report: LossReport, losses: Losses) -> str:
    """Every loss: its mean over the pixels, its weight, and which pixels it sees."""
    seen = [terms_seen(facts, losses) for facts in report.pixels]
    sees = [
        " ".join(name for name, one in zip(PIXELS, of_term, strict=True) if one.seen) or "none"
        for of_term in zip(*seen, strict=True)
    ]
    terms = (*report.terms.values(), report.total)
    columns = {
        "loss": [*map(loss_symbol, report.terms), "objective"],
        "mean over the pixels": [term.value for term in terms[:-1]] + [None],
        "weight": [term.weight for term in terms[:-1]] + [None],
        "weighted": [term.weight * term.value for term in terms],
        "sees": [*sees, ""],
    }
    formats = dict.fromkeys(("mean over the pixels", "weighted"), "{:.4f}".format)
    formats["weight"] = "{:g}".format
    return table(columns, formats, styles={len(sees): "font-weight:bold"}, missing="")


def gradients_table(report: LossReport, losses: Losses, pixel: int) -> str:
    """The gradient of every weighted loss at one pixel, and what the loss wants of it.

    Bars of the gradients on logits have one scale, those on features another.
    """
    wanted = terms_seen(report.pixels[pixel], losses)
    terms = (*report.terms.values(), report.total)
    vectors = {
        tuple(f"&part; <i>z</i> {name}" for name in CLASS_NAMES): [t.logit_gradient for t in terms],
        ("&part; <i>f</i> x", "&part; <i>f</i> y"): [t.feature_gradient for t in terms],
    }
    columns, bars = {"": [*map(loss_symbol, report.terms), "<b>sum</b>"]}, {}
    for heads, gradients in vectors.items():
        nothing = [math.nan] * len(heads)
        values = np.array([nothing if g is None else g[pixel].tolist() for g in gradients])
        columns |= zip(heads, values.T, strict=True)
        longest = max(np.nanmax(np.abs(values)), 1e-12)
        bars |= dict.fromkeys(heads, (-longest, longest))
    step = "a step goes the opposite way, times the step size"
    columns["what the loss wants of this pixel"] = [*(html.escape(w.why) for w in wanted), step]
    made = table(
        columns,
        dict.fromkeys(bars, "{:+.4f}".format),
        bars,
        {place: "color:#767676" for place, one in enumerate(wanted) if not one.seen},
    )
    return f"<b>pixel {PIXELS[pixel]}: gradients of the weighted losses</b>{made}"


def plane_text(toy: ToyPixels, report: LossReport) -> str:
    """The feature plane in words, for those who cannot see it."""
    pixels = [
        f"{name} at ({x:.2f}, {y:.2f}) nearest to {NAMES[facts.nearest]}"
        for name, (x, y), facts in zip(PIXELS, toy.features.tolist(), report.pixels, strict=True)
    ]
    prototypes = [
        f"{name} at ({x:.2f}, {y:.2f})"
        for name, (x, y) in zip(CLASS_NAMES, toy.prototypes.tolist(), strict=True)
    ]
    return f"feature plane: pixels {'; '.join(pixels)}; prototypes {'; '.join(prototypes)}"
