"""What the loss playground says in words and tables, as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from torch import Tensor

from iapc_lib.classes import NAMES
from iapc_lib.explorers.parts import bar_cell, swatch
from iapc_lib.explorers.playground.facts import CLASSES, PIXELS, Handful, Verdict, facts_of
from iapc_lib.explorers.terms import loss_symbol, terms_seen
from iapc_lib.method.settings import Losses

CLASS_NAMES = [NAMES[train_id] for train_id in CLASSES.train_ids]


NOT_FINITE = (
    '<div style="line-height:1.3"><b>The objective is not finite, so no step can be taken: the '
    "importance divides by the source network's largest logit <i>s</i>, and that is 0 at a "
    "pixel.</b></div>"
)


CHOSEN = "background:#fff3c4;color:black"


_HEAD = '<th style="text-align:left;padding-right:0.8em;white-space:nowrap"'


def _table(heads: str, rows: Sequence[str]) -> str:
    style = "line-height:1.35;border-collapse:collapse"
    return f'<table style="{style}"><tr>{heads}</tr>{"".join(rows)}</table>'


def _cells(values: Sequence[str]) -> str:
    return "".join(f'<td style="padding-right:0.8em">{value}</td>' for value in values)


def pixels_table(handful: Handful, verdict: Verdict, chosen: int) -> str:
    """What student, source network and prototypes say of every pixel, a row each."""
    rows = []
    for pixel, name in enumerate(PIXELS):
        facts = facts_of(handful, verdict, pixel)
        shares = " ".join(f"{share:.2f}" for share in verdict.probabilities[pixel])
        cells = [
            f"<b>{name}</b>",
            swatch(facts.pseudo_label),
            f"{facts.importance:.2f}",
            swatch(facts.predicted),
            shares,
            f"{swatch(facts.nearest)} ({max(facts.similarity):.3f})",
            "yes" if facts.agree else "no",
        ]
        style = f' style="{CHOSEN}"' if pixel == chosen else ""
        rows.append(f"<tr{style}>{_cells(cells)}</tr>")
    titles = ("pixel", "pseudo-label", "<i>I</i>", "predicted", f"<i>p</i> of {', '.join(CLASS_NAMES)}",
              "nearest prototype (cosine)", "agrees")  # fmt: skip
    return _table("".join(f"{_HEAD}>{title}</th>" for title in titles), rows)


def losses_table(handful: Handful, verdict: Verdict, losses: Losses) -> str:
    """Every loss: its mean over the pixels, its weight, and which pixels it sees."""
    seen = [terms_seen(facts_of(handful, verdict, p), losses) for p in range(len(PIXELS))]
    rows = []
    for number, (name, term) in enumerate(verdict.terms.items()):
        sees = [PIXELS[pixel] for pixel, terms in enumerate(seen) if terms[number].seen]
        value = term.weight * term.value
        cells = [loss_symbol(name), f"{term.value:.4f}", f"{term.weight:g}", f"{value:.4f}"]
        rows.append(f"<tr>{_cells([*cells, ' '.join(sees) or 'none'])}</tr>")
    total = ["<b>objective</b>", "", "", f"<b>{verdict.total:.4f}</b>", ""]
    titles = ("loss", "mean over the pixels", "weight", "weighted", "sees")
    return _table(
        "".join(f"{_HEAD}>{title}</th>" for title in titles), [*rows, f"<tr>{_cells(total)}</tr>"]
    )


def _gradient_cells(logits: Tensor | None, features: Tensor | None) -> str:
    """A bar and a number for every component; bars are scaled within each of the two vectors."""
    cells = []
    for vector, number in ((logits, len(CLASS_NAMES)), (features, 2)):
        if vector is None:
            cells.append(f'<td colspan="{2 * number}" style="color:#767676">none</td>')
            continue
        largest = max(float(vector.abs().max()), 1e-12)
        for value in vector.tolist():
            style = 'style="text-align:right;padding:0 0.7em 0 0.2em"'
            cells.append(
                f"{bar_cell(value, (-largest, largest), '3em')}<td {style}>{value:+.4f}</td>"
            )
    return "".join(cells)


def gradients_table(handful: Handful, verdict: Verdict, losses: Losses, pixel: int) -> str:
    """The gradient of every weighted loss at one pixel, and what the loss wants of it."""
    wanted = terms_seen(facts_of(handful, verdict, pixel), losses)
    rows = []
    for (name, term), seen in zip(verdict.terms.items(), wanted, strict=True):
        vectors = (term.logit_gradient, term.feature_gradient)
        cells = _gradient_cells(*(None if v is None else v[pixel] for v in vectors))
        gray = "" if seen.seen else "color:#767676;"
        why = f'<td style="{gray}min-width:15em">{html.escape(seen.why)}</td>'
        rows.append(f'<tr style="vertical-align:top"><td>{loss_symbol(name)}</td>{cells}{why}</tr>')
    cells = _gradient_cells(verdict.logit_gradient[pixel], verdict.feature_gradient[pixel])
    rows.append(
        f"<tr><td><b>sum</b></td>{cells}<td>a step goes the opposite way, times the step size</td></tr>"
    )
    names = [f"<i>z</i> {name}" for name in CLASS_NAMES] + ["<i>f</i> x", "<i>f</i> y"]
    heads = "".join(f'{_HEAD} colspan="2">&part; {name}</th>' for name in names)
    return (
        f"<b>pixel {PIXELS[pixel]}: gradients of the weighted losses</b>"
        f"{_table(f'{_HEAD}></th>{heads}{_HEAD}>what the loss wants of this pixel</th>', rows)}"
    )


def plane_text(handful: Handful, verdict: Verdict) -> str:
    """The feature plane in words, for those who cannot see it."""
    pixels = [
        f"{name} at ({x:.2f}, {y:.2f}) nearest to {CLASS_NAMES[verdict.nearest[number]]}"
        for number, (name, (x, y)) in enumerate(zip(PIXELS, handful.features.tolist(), strict=True))
    ]
    prototypes = [
        f"{name} at ({x:.2f}, {y:.2f})"
        for name, (x, y) in zip(CLASS_NAMES, handful.prototypes.tolist(), strict=True)
    ]
    return f"feature plane: pixels {'; '.join(pixels)}; prototypes {'; '.join(prototypes)}"
