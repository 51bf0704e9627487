"""What the prototypes explorer says in words and tables, as HTML."""

import html
import math

import numpy as np

from iapc_lib.classes import IGNORE
from iapc_lib.explorers.parts import (
    block,
    class_name,
    color_scale,
    legend,
    percent,
    swatch,
    table,
)
from iapc_lib.explorers.prototypes.facts import Contrast
from iapc_lib.explorers.terms import PixelFacts, TermSeen, loss_symbol


def reading(contrast: Contrast) -> str:
    """What the second opinion is worth in this picture, in a sentence."""
    label, agree = contrast.picture.label, contrast.agree
    text = f"Prototype and pseudo-label agree in <b>{agree.mean():.1%}</b> of the pixels."
    if label is None:
        return text
    right, labelled = contrast.picture.pseudo_label == label, label != IGNORE
    there, elsewhere = (
        percent(right[labelled & where].mean() if (labelled & where).any() else math.nan)
        for where in (agree, ~agree)
    )
    return (
        f"{text} There <b>{there}</b> of the pseudo-labels are right, elsewhere <b>{elsewhere}</b>."
    )


def agreement_text(contrast: Contrast) -> str:
    """What the colours of the agreement mean."""
    return legend(f"agree, {contrast.agree.mean():.1%}", "disagree")


def similarity_text(name: str, present: bool, low: float, high: float) -> str:
    """What a similarity map shows, with its scale."""
    absent = "" if present else "<br>absent from this picture: its prototype is zero"
    return f"similarity to <b>{html.escape(name)}</b>, {color_scale(low, high)}{absent}"


def facts_table(contrast: Contrast, pixel: tuple[int, int], facts: PixelFacts) -> str:
    """The classes that a pixel (row, column) is given, a row each."""
    label = contrast.picture.label
    given = {
        "nearest prototype": swatch(facts.nearest),
        "pseudo-label": swatch(facts.pseudo_label),
        "these two": "<b>agree</b>" if facts.agree else "<b>disagree</b>",
        "student's prediction": swatch(facts.predicted),
        "true class": "not known, no labels" if label is None else swatch(label[pixel]),
    }
    cell = divmod(contrast.cells[pixel], contrast.similarity.shape[2])
    place = f"pixel: row {pixel[0]}, column {pixel[1]}"
    heading = f"<b>{place}</b>, in feature cell {cell[0]}, {cell[1]}"
    return block(heading + table({"": given.keys(), "class": given.values()}))


def similarity_bars(contrast: Contrast, pixel: tuple[int, int]) -> str:
    """A bar for every class that the picture shows, and the names of the others."""
    similarity = contrast.similarity.flatten(1)[:, contrast.cells[pixel]].numpy()
    present = contrast.present
    shown = contrast.train_ids[present]
    names = [f"<b>{swatch(t)}</b>" if t == contrast.nearest[pixel] else swatch(t) for t in shown]
    # Features behind a ReLU have no negative cosines, others may have; one scale for a picture.
    low = -1 if (contrast.similarity < 0).any() else 0
    bars = table(
        {"cosine similarity <br>to the prototype of": names, "": similarity[present]},
        {"": "{:.3f}".format},
        {"": (low, 1)},
    )
    if not present.all():
        absent = ", ".join(map(swatch, contrast.train_ids[~present]))
        bars += f"absent from this picture (zero prototype, similarity 0): {absent}"
    return block(bars, "21.5em")


def terms_table(terms: list[TermSeen]) -> str:
    """Which losses see a pixel, a row each."""
    columns = {
        "loss": [loss_symbol(term.name) for term in terms],
        "weight": [term.weight for term in terms],
        "sees it": ["yes" if term.seen else "no" for term in terms],
        "what it wants, or why not": [html.escape(term.why) for term in terms],
    }
    passed_by = {place: "color:#767676" for place, term in enumerate(terms) if not term.seen}
    return block(table(columns, {"weight": "{:g}".format}, styles=passed_by), "27em")


def selection_text(contrast: Contrast, cells: np.ndarray) -> str:
    """What the selected cells are; `cells` holds their numbers."""
    if not cells.size:
        return block("No cells are selected: drag a box in a picture or among the dots.")
    within = np.isin(contrast.cells, cells)
    counts = np.bincount(contrast.on_cells(contrast.nearest)[cells])
    order = [train_id for train_id in np.argsort(-counts, kind="stable") if counts[train_id]]
    named = ", ".join(f"{class_name(train_id)} {counts[train_id]}" for train_id in order)
    return block(
        f"<b>{cells.size} of {len(contrast.middles)} cells are selected</b>. Nearest prototype: "
        f"{named}. Prototype and pseudo-label agree in {contrast.agree[within].mean():.0%} of "
        "their pixels."
    )


def plane_text(note: str) -> str:
    """Caption of the plane: what it holds, and how to read it."""
    return block(
        f"PCA of {note}. Dots: cells of the student's feature map; diamonds: prototypes. "
        "Click a dot, or drag a box."
    )
